"""The settings of a training and its learning rate schedule."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.augmentations import AugmentPlan
from scarlet_zoo.data.balance import NONE, check_balance
from scarlet_zoo.data.datasets import ImageData
from scarlet_zoo.data.mixing import Mixing
from scarlet_zoo.errors import TrainingError

_UNKNOWN_SIZE = (32, 32)  # of data that somebody else opened, for a network of the zoo


SGD_RATE, ADAPTIVE_RATE = 0.1, 0.001
_SGD = ("sgd", "momentum", "nesterov")
BACKBONE = "backbone"
FAST, TORCH = LAYERS = ("fast", "torch")
_NETWORKS_ONLY = ("layer_decay", "head_lr", "freeze", "patience", "teacher")


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The network whose answers a training learns from (knowledge distillation, arXiv 1503.02531).

    Attributes:
        network: a name, as for :func:`scarlet_zoo.models.loading.load_network`, or a file that
            :func:`scarlet_zoo.load` opens, or a weights file of a training; or several, which teach together.
        weights: weights of a name; a file holds its own.
        weight: share of the loss that compares with the teacher; the rest compares with the labels.
        temperature: by which both networks' logits are divided before they are compared.
    """

    network: str | tuple[str, ...]
    weights: str = "pretrained"
    weight: float = 0.5
    temperature: float = 4.0

    def __post_init__(self) -> None:
        if not self.network:
            raise TrainingError("training: got a teacher without a network, wanted one or more")
        if not 0 < self.weight <= 1:
            raise TrainingError(f"training: got teacher weight {self.weight}, wanted more than 0 and at most 1")
        if not self.temperature > 0:
            raise TrainingError(f"training: got teacher temperature {self.temperature}, wanted more than 0")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of a training: an optimiser, SGD with Nesterov momentum by default, and a cosine schedule with warm-up.

    The defaults are ours and meant for small images.

    Attributes:
        epochs: passes over the training part.
        max_steps: number of steps after which training stops; the schedule remains that of all epochs.
        batch_size: images of a step, all processes together.
        lr: highest learning rate.
        warmup: share of the steps in which the learning rate rises from 0; then it falls to 0 along a cosine.
        opt: name of an optimiser of timm, such as ``sgd``, ``adamw`` or ``rmsprop``.
        momentum: momentum of optimisers that have one.
        layer_decay: factor of the learning rate from each layer to the one before it; 1 for the same everywhere.
        head_lr: highest learning rate of the classifier; ``lr`` when None.
        freeze: what is not trained: ``backbone``, all but the classifier, or a number: the stem and so many groups of
            layers after it, in timm's order. Frozen batch norms keep their statistics.
        weight_decay: weight decay of tensors with two or more dimensions; biases and norms have none.
        label_smoothing: share of the target that is spread over all classes.
        ema: decay of the exponential moving average of the weights, which is the result; 0 gives the last weights.
        patience: number of epochs without a better validation accuracy after which training stops; the result is the
            best epoch's weights. 0 trains all epochs, and the result is the last epoch's.
        teacher: the network to learn from, besides the labels.
        clip_norm: largest norm of a step's gradient; 0 for no clipping.
        augment: augmentation of the training images; ``usual`` is the one that suits the data, see
            :func:`scarlet_zoo.data.augmentations.usual_augment`; a plan is one that may build on it; None is no
            augmentation.
        mixup: alpha of mixup, see :class:`scarlet_zoo.data.mixing.Mixing`; 0 for none.
        cutmix: alpha of CutMix; 0 for none.
        mixup_prob: probability that the images of a step are mixed, if ``mixup`` or ``cutmix`` is given.
        balance: what is done for classes of uneven size: ``none``; ``loss`` weights the loss of each class by the
            inverse of its number of images; ``sampling`` draws all classes equally often.
        precision: ``no`` (float32), ``bf16`` or ``fp16``.
        checkpoint_every: number of steps between checkpoints.
        workers: number of processes that load images; 0 loads them in the training process.
        seed: seed of all random numbers.
        threads: torch's threads on a CPU; 0 for torch's default.
        tensorboard: whether TensorBoard's event files are written too.
        layers: ``fast`` uses our layers on CPUs where numba is installed (:mod:`scarlet_zoo.training.fast_layers`),
            with the same results within rounding; ``torch`` uses torch's everywhere.
    """

    epochs: int = 10
    max_steps: int | None = None
    batch_size: int = 128
    lr: float = 0.1
    warmup: float = 0.1
    opt: str = "sgd"
    momentum: float = 0.9
    layer_decay: float = 1.0
    head_lr: float | None = None
    freeze: int | str | None = None
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    ema: float = 0.0
    patience: int = 0
    teacher: Teacher | None = None
    clip_norm: float = 0.0
    augment: Augment | AugmentPlan | Literal["usual"] | None = "usual"
    mixup: float = 0.0
    cutmix: float = 0.0
    mixup_prob: float = 1.0
    balance: str = NONE
    precision: str = "no"
    checkpoint_every: int = 500
    workers: int = 0
    seed: int = 0
    threads: int = 0
    tensorboard: bool = False
    layers: str = FAST

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "checkpoint_every", "lr"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"training: got {name} {getattr(self, name)}, wanted more than 0")
        if self.max_steps is not None and self.max_steps < 1:
            raise TrainingError(f"training: got max_steps {self.max_steps}, wanted 1 or more")
        if self.head_lr is not None and not self.head_lr > 0:
            raise TrainingError(f"training: got head_lr {self.head_lr}, wanted more than 0")
        for name, most in (("warmup", 1.0), ("momentum", 0.9999), ("layer_decay", 1.0), ("label_smoothing", 1.0)):
            if not 0 <= getattr(self, name) <= most or (name == "layer_decay" and self.layer_decay == 0):
                raise TrainingError(f"training: got {name} {getattr(self, name)}, wanted 0 to {most:g}")
        if self.patience < 0:
            raise TrainingError(f"training: got patience {self.patience}, wanted 0 or more")
        self._check_choices()
        self.mixing.check()
        check_balance(self.balance)

    def _check_choices(self) -> None:
        if self.freeze not in (None, BACKBONE) and (not isinstance(self.freeze, int) or self.freeze < 0):
            raise TrainingError(f"training: got freeze {self.freeze!r}, wanted backbone or a number of layer groups")
        if self.precision not in ("no", "bf16", "fp16"):
            raise TrainingError(f"training: got precision {self.precision!r}, wanted no, bf16 or fp16")
        if self.layers not in LAYERS:
            raise TrainingError(f"training: got layers {self.layers!r}, wanted {' or '.join(LAYERS)}")

    def for_supernet(self) -> TrainSettings:
        """Return these settings, if a supernet can be trained by them.

        Raises:
            TrainingError: a setting is for networks only; the message names it.
        """
        for name in _NETWORKS_ONLY:
            value = getattr(self, name)
            if value != getattr(TrainSettings, name):
                raise TrainingError(f"supernet: got {name} {value}, which is for the training of a network only")
        return self

    def for_data(self, data: ImageData) -> TrainSettings:
        """Return these settings for a data set, with ``usual`` or a plan replaced by its augmentation."""
        plan = AugmentPlan() if self.augment == "usual" else self.augment
        if not isinstance(plan, AugmentPlan):
            return self
        size = data.preprocessing.size if data.preprocessing is not None else _UNKNOWN_SIZE
        return replace(self, augment=plan.for_data(data.name, size))

    @property
    def mixing(self) -> Mixing:
        """How the images of a step are mixed."""
        return Mixing(self.mixup, self.cutmix, self.mixup_prob)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)


def usual_rate(opt: str, *, pretrained: bool) -> float:
    """Return the highest learning rate where none is given.

    It is 0.1 for SGD, for other optimisers 0.001, and a tenth of it for a network whose weights are trained already.
    """
    rate = SGD_RATE if opt.lower() in _SGD else ADAPTIVE_RATE
    return rate / 10 if pretrained else rate


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Return the learning rate of a step.

    It rises linearly from 0 during the warm-up, then falls along half a cosine to 0 (SGDR, arXiv 1608.03983, eq. 5).

    Args:
        step: number of the step, from 0.
        steps: number of steps of the schedule.
        settings: give the highest learning rate and the share of the warm-up.
    """
    warmup = round(settings.warmup * steps)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
