"""The interface between the training loop and what it trains: a learner defines the loss and the events of a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.balance import LOSS, class_weights
from scarlet_zoo.data.datasets import ImageData
from scarlet_zoo.training.settings import TrainSettings, learning_rate


@dataclass(frozen=True)
class StepBatch:
    """The images of one step in one process.

    Attributes:
        step: number of the step, from 0.
        views: the augmented images, a tensor (N, C, H, W) for each of the learner's views.
        targets: class indices (N,), or the share of each class (N, classes) if the images are mixed.
    """

    step: int
    views: tuple[Tensor, ...]
    targets: Tensor

    @property
    def images(self) -> Tensor:
        """The first view."""
        return self.views[0]


@dataclass(frozen=True)
class LossTerm:
    """One term of a step's loss, from one path.

    The loop takes the gradient of a term before it asks for the next one. So only one path's activations are in
    memory, however many paths run in a step.

    Attributes:
        name: the kind of loss, such as ``cross_entropy``.
        loss: a scalar; None for a path that has run without learning.
        arch: the architecture that has run; None for a network that is not of a search space.
    """

    name: str
    loss: Tensor | None
    arch: Arch | None


@dataclass(frozen=True)
class Course:
    """The facts of a training that its learner may use.

    Attributes:
        settings: how the model is trained.
        data: the data set that it is trained on.
        steps: number of steps of the whole schedule.
        per_epoch: number of steps of an epoch.
        out: folder of the run.
        device: device of the model.
        mean: averages a tensor over all processes.
        gather: joins a tensor (N, ...) of each process to one (processes * N, ...).
        shared: calls a function in the main process only and returns its result in every process.
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
    """A model and how it learns: which paths run in a step, their loss, and what happens before and after.

    Everything depends only on the step's number, the weights and :meth:`state_dict`, so that a run that was killed
    continues to the same result.

    Args:
        model: the module whose parameters are trained.

    Attributes:
        views: number of independent augmentations of each image of a step.
        traced: whether the log of steps lists the tensors that each step has changed.
        validated: whether the validation accuracy is measured after each epoch.
        course: the training; set by :meth:`set_up`.
        criterion: cross-entropy with the label smoothing and the class weights of the settings; set by :meth:`set_up`.
    """

    views: int = 1
    traced: bool = False
    validated: bool = False
    course: Course

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def set_up(self, course: Course) -> None:
        """Prepare for a training; called once, when the model is on its device."""
        self.course = course
        weight = None
        if course.settings.balance == LOSS:
            weight = class_weights(course.data.part("train").targets, len(course.data.classes)).to(course.device)
        self.criterion = nn.CrossEntropyLoss(weight, label_smoothing=course.settings.label_smoothing)

    def augment(self, asked: Augment | None) -> Augment | None:
        """Return the augmentation of the training images, given the one of the settings; None for no augmentation."""
        return asked

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return learning_rate(step, self.course.steps, self.course.settings)

    def begin(self, step: int) -> bool:  # noqa: ARG002
        """Prepare a step; return True to reset the optimiser and the averaged weights before it."""
        return False

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """Run the step's paths one after the other and yield the terms of the loss.

        Args:
            model: :attr:`model`, wrapped for distributed training where there are several processes.
            batch: the images of the step.
        """
        raise NotImplementedError

    def end(self, step: int) -> None:
        """Run after the weights have been updated and before the step is saved."""

    def identity(self) -> dict[str, str]:
        """Return what must be unchanged for a run to continue, besides settings and data."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold besides weights and optimiser: tensors, numbers and text."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the :meth:`state_dict` of a checkpoint."""

    def result(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return those of the trained tensors that are the result of the training."""
        return state


class NetworkLearner(Learner):
    """Trains one network by cross-entropy."""

    validated = True

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """Yield the cross-entropy of the batch, the only term."""
        loss = self.criterion(model(batch.images), batch.targets)
        yield LossTerm("cross_entropy", loss, getattr(self.model, "arch", None))

    def identity(self) -> dict[str, str]:
        """Return the network's identity string, or its class name if it has none."""
        arch = getattr(self.model, "arch", None)
        return {"network": str(arch or type(self.model).__name__)}
