"""How to train: one value, and the learning rate that follows from it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.datasets import usual_augment
from scarlet_zoo.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How to train: stochastic gradient descent with Nesterov momentum, cosine with warm-up.

    The defaults are ours, for small pictures.

    Attributes:
        epochs: passes over the training part.
        max_steps: stop after so many steps of the schedule, which stays that of all epochs.
        batch_size: pictures of a step, over all processes.
        lr: highest learning rate.
        warmup: share of the steps in which it rises from 0; then it falls to 0 along a cosine.
        momentum: of the descent.
        weight_decay: of weights with two dimensions or more; biases and norms have none.
        label_smoothing: share of the target spread over all classes.
        ema: decay of the averaged weights that are kept in the end; 0 keeps the last ones.
        clip_norm: largest norm of a step's gradient; 0 does not clip.
        augment: what is done to training images: ``usual`` for what suits the data, see
            :func:`scarlet_zoo.data.datasets.usual_augment`; None leaves them as they are.
        precision: ``no`` (float32), ``bf16`` or ``fp16``.
        checkpoint_every: steps between checkpoints.
        workers: processes that load pictures; 0 loads them in this one.
        seed: of everything random.
        threads: of torch on a CPU; 0 leaves it to torch.
        tensorboard: also write TensorBoard's event files.
    """

    epochs: int = 10
    max_steps: int | None = None
    batch_size: int = 128
    lr: float = 0.1
    warmup: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    ema: float = 0.0
    clip_norm: float = 0.0
    augment: Augment | Literal["usual"] | None = "usual"
    precision: str = "no"
    checkpoint_every: int = 500
    workers: int = 0
    seed: int = 0
    threads: int = 0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "checkpoint_every", "lr"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"training: got {name} {getattr(self, name)}, wanted more than 0")
        if self.max_steps is not None and self.max_steps < 1:
            raise TrainingError(f"training: got max_steps {self.max_steps}, wanted 1 or more")
        if self.precision not in ("no", "bf16", "fp16"):
            raise TrainingError(f"training: got precision {self.precision!r}, wanted no, bf16 or fp16")

    def for_data(self, name: str) -> TrainSettings:
        """The same for a data set by name or folder, with its usual augmentation where that is asked for."""
        return replace(self, augment=usual_augment(name)) if self.augment == "usual" else self

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Of a step: linear from 0 over the warm-up, then half a cosine down to 0 (SGDR, arXiv 1608.03983, eq. 5)."""
    warmup = round(settings.warmup * steps)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
