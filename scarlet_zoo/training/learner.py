"""What the training loop trains, and every decision that is not the loop's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.datasets import ImageData
from scarlet_zoo.training.settings import TrainSettings, learning_rate


@dataclass(frozen=True)
class StepBatch:
    """The pictures of one step in one process.

    Attributes:
        step: its number, from 0.
        views: the pictures (N, C, H, W), altered at random as often as the learner asks for.
        targets: class indices (N,).
    """

    step: int
    views: tuple[Tensor, ...]
    targets: Tensor

    @property
    def images(self) -> Tensor:
        """The first view."""
        return self.views[0]


@dataclass(frozen=True)
class Term:
    """A part of a step's loss; the loop takes its gradient before it asks for the next part.

    So one path's activations are held at a time, however many paths run in a step.

    Attributes:
        name: what it is, such as ``cross_entropy``.
        loss: a scalar; None where a path has run without being learned from.
        arch: the architecture that has run; None for a network of another family.
    """

    name: str
    loss: Tensor | None
    arch: Arch | None


@dataclass(frozen=True)
class Course:
    """What a learner may know of its training.

    Attributes:
        settings: how it trains.
        data: with what.
        steps: of the whole schedule.
        per_epoch: steps of an epoch.
        out: folder of the run.
        device: where the model is.
        mean: of a tensor over all processes.
        gather: a tensor (N, ...) of each process, as one (processes * N, ...).
        shared: a value of the main process, which alone computes it, in every process.
    """

    settings: TrainSettings
    data: ImageData
    steps: int
    per_epoch: int
    out: Path
    device: Any = "cpu"
    mean: Callable[[Tensor], Tensor] = field(default=lambda tensor: tensor)
    gather: Callable[[Tensor], Tensor] = field(default=lambda tensor: tensor)
    shared: Callable[[Callable[[], Any]], Any] = field(default=lambda make: make())


class Learner:
    """What is trained: who runs in a step, what the loss is, and what happens around it.

    All of it is a function of the step's number, the weights and :meth:`state_dict`, so that a run that
    was killed goes on as if nothing had been.

    Args:
        model: the module whose parameters are trained.

    Attributes:
        views: how often each picture of a step is altered anew.
        traced: whether each step tells which tensors it has changed.
        validated: whether its accuracy is taken after each epoch.
        course, criterion: the training, and cross-entropy as its settings smooth it, from :meth:`set_up` on.
    """

    views: int = 1
    traced: bool = False
    validated: bool = False
    course: Course

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def set_up(self, course: Course) -> None:
        """Take in what the training is; called once, when the model is where it will be trained."""
        self.course = course
        self.criterion = nn.CrossEntropyLoss(label_smoothing=course.settings.label_smoothing)

    def augment(self, asked: Augment | None) -> Augment | None:
        """What is done to training images, given what the settings ask for."""
        return asked

    def learning_rate(self, step: int) -> float:
        """Of a step."""
        return learning_rate(step, self.course.steps, self.course.settings)

    def begin(self, step: int) -> bool:  # noqa: ARG002
        """What happens before a step; whether optimiser and averaged weights are to forget all before it."""
        return False

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[Term]:
        """Run the step's paths, one after the other.

        Args:
            model: :attr:`model`, wrapped where there are several processes.
            batch: its pictures.
        """
        raise NotImplementedError

    def end(self, step: int) -> None:
        """What happens when the weights have been updated, before the step is saved."""

    def identity(self) -> dict[str, str]:
        """What must be the same for a run to be continued, besides settings and data."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold besides weights and optimiser: tensors, numbers and text."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint's :meth:`state_dict`."""

    def result(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What of the trained tensors is kept when all steps are done."""
        return state


class NetworkLearner(Learner):
    """One network, by cross-entropy."""

    validated = True

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[Term]:
        """The one loss."""
        loss = self.criterion(model(batch.images), batch.targets)
        yield Term("cross_entropy", loss, getattr(self.model, "arch", None))

    def identity(self) -> dict[str, str]:
        """The network."""
        arch = getattr(self.model, "arch", None)
        return {"network": str(arch or type(self.model).__name__)}
