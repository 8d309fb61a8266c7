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
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.training.class_loss import ClassLoss
from scarlet_zoo.training.freezing import freeze, head_names, train_mode
from scarlet_zoo.training.optimizer import layer_scales
from scarlet_zoo.training.settings import TrainSettings, learning_rate
from scarlet_zoo.training.teacher import AnyTeacher


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
        is_static: whether every step runs the same operations on tensors of one device, whatever its images are.
        course: the training; set by :meth:`set_up`.
        criterion: cross-entropy with the label smoothing and the class weights of the settings; set by :meth:`set_up`.
    """

    views: int = 1
    traced: bool = False
    validated: bool = False
    is_static: bool = False
    course: Course

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def set_up(self, course: Course) -> None:
        """Prepare for a training; called once, when the model is on its device."""
        self.course = course
        weight = None
        if course.settings.balance == LOSS:
            weight = class_weights(course.data.part("train").targets, len(course.data.classes)).to(course.device)
        self.criterion = ClassLoss(weight, course.settings.label_smoothing)

    def scales(self) -> Mapping[str, float]:
        """Return the learning rate of parameters by name over that of the step; 1 for those that are left out."""
        return {}

    def train_mode(self) -> None:
        """Set the model to train mode, before the first step and after each validation."""
        self.model.train()

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

    def before_update(self, step: int) -> None:
        """Change the gradients of a step after they were clipped; nothing by default."""

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
    """Trains one network by cross-entropy, and from a teacher's answers where there is one.

    Args:
        model: the network.
        settings: give what is frozen, and the learning rates of its parts; nothing of both when left out.
        teacher: the teacher, and the network's own preprocessing.
        label: the network's name, for errors.

    Raises:
        TrainingError: the part of the network that is to be frozen does not exist.
    """

    validated = True

    def __init__(
        self,
        model: nn.Module,
        settings: TrainSettings | None = None,
        teacher: tuple[AnyTeacher, Preprocessing] | None = None,
        label: str = "",
    ) -> None:
        super().__init__(model)
        self._settings, self._teacher = settings or TrainSettings(), teacher
        self.is_static = teacher is None or teacher[0].is_torch
        freeze(model, self._settings.freeze, label or type(model).__name__)
        if self._settings.head_lr is not None and not head_names(model):
            raise TrainingError(f"network {label!r}: does not say what its classifier is, so it takes no head_lr")

    def set_up(self, course: Course) -> None:
        """Prepare for a training; moves the teacher to the model's device."""
        super().set_up(course)
        if self._teacher is not None:
            self._teacher[0].to(course.device)

    def scales(self) -> Mapping[str, float]:
        """Return the factors of the layers' and the classifier's learning rates."""
        how = self._settings
        scales = layer_scales(self.model, how.layer_decay)
        if how.head_lr is not None:
            scales |= dict.fromkeys(head_names(self.model), how.head_lr / how.lr)
        return scales

    def train_mode(self) -> None:
        """Set the network to train mode, except for what is frozen."""
        if self._settings.freeze is None:
            self.model.train()
        else:
            train_mode(self.model)

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """Yield the loss of the batch, the only term: cross-entropy, mixed with the teacher's where there is one.

        The teacher's part is the Kullback-Leibler divergence of the softened answers, times the temperature squared,
        so that its gradient does not shrink with the temperature (arXiv 1503.02531, section 2). The weight of a class
        holds for both parts, see :class:`scarlet_zoo.training.class_loss.ClassLoss`.
        """
        logits = model(batch.images)
        loss, how = self.criterion(logits, batch.targets), self._settings.teacher
        if self._teacher is not None and how is not None:
            network, feed = self._teacher
            taught = (network.logits(batch.images, feed) / how.temperature).log_softmax(1)
            own = (logits.float() / how.temperature).log_softmax(1)
            apart = nn.functional.kl_div(own, taught, reduction="none", log_target=True).sum(1)
            apart = self.criterion.weighted_mean(apart, batch.targets)
            loss = (1 - how.weight) * loss + how.weight * how.temperature**2 * apart
        yield LossTerm("cross_entropy", loss, getattr(self.model, "arch", None))

    def identity(self) -> dict[str, str]:
        """Return the network's identity string, or its class name if it has none, and the teacher's digest."""
        arch = getattr(self.model, "arch", None)
        taught = {"teacher_sha256": self._teacher[0].sha256} if self._teacher is not None else {}
        return {"network": str(arch or type(self.model).__name__), **taught}
