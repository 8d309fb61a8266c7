"""What comes out of a training, and what can be told of it while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from scarlet_zoo.inference.right_answers import Accuracy


@dataclass(frozen=True)
class Seen:
    """What can be told of a training while it runs.

    Attributes:
        step: number of steps done.
        last: number of steps in all; smaller than planned once early stopping has ended the training.
        loss: loss of the last step.
        top1: validation accuracies so far, in percent.
        images: number of validation images; 0 where there is no validation.
    """

    step: int
    last: int
    loss: float
    top1: tuple[float, ...]
    images: int = 0

    @property
    def accuracy(self) -> Accuracy | None:
        """The last validation accuracy."""
        return accuracy_of(self.top1[-1], self.images) if self.top1 else None

    def __str__(self) -> str:
        validated = self.accuracy
        said = f", {validated.percent:.1f} % of {validated.images:,}" if validated else ""
        return f"loss {self.loss:.3f}{said}"


Watch = Callable[[Seen], None]


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        state: the trained weights; the averaged ones if the settings have ``ema``, those of the best epoch if they
            have ``patience``.
        steps: number of steps, over all sessions.
        seconds: wall-clock time of these steps.
        core_seconds: processor time of these steps in this process.
        top1: validation accuracy in percent after each epoch, for a network.
        epoch: number of the epoch whose weights these are, from 1; 0 where none was validated.
        accuracy: its validation accuracy; None where none was validated.
        stopped_early: whether training stopped because no epoch was better.
        loss: mean loss of the last epoch's steps; NaN where their log is not here.
        hardware: the processor or accelerator of the last session.
    """

    state: dict[str, Tensor]
    steps: int
    seconds: float
    core_seconds: float
    top1: tuple[float, ...]
    epoch: int
    accuracy: Accuracy | None
    stopped_early: bool
    loss: float
    hardware: str


def accuracy_of(top1: float, images: int) -> Accuracy:
    """Return the accuracy that a percentage of so many images stands for."""
    return Accuracy(round(top1 * images / 100), images)
