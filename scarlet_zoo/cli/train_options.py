"""The options of the verbs that train: which images, how long, and by which method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scarlet_zoo.cli.image_options import (
    Augmentation,
    Balance,
    CacheLimit,
    Crop,
    CutMix,
    Erase,
    Mixup,
    MixupProb,
)
from scarlet_zoo.cli.options import (
    BATCH_SIZE,
    Data,
    DataDir,
    Held,
    Pictures,
    Plot,
    Seed,
    SkipBroken,
    TorchThreads,
    ValidationData,
    apply_only,
)
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.utils.reading import whole_number

if TYPE_CHECKING:
    from scarlet_zoo.training.run import DataPlan
    from scarlet_zoo.training.settings import TrainSettings
    from scarlet_zoo.training.usual_length import Length

Epochs = Annotated[int | None, typer.Option(min=1, help="Number of passes over the training images.")]
BatchSizeOrUsual = Annotated[
    int | None, typer.Option("--batch-size", min=1, help=BATCH_SIZE, show_default="128, smaller for few images")
]
MaxSteps = Annotated[
    int | None, typer.Option(min=1, help="Largest number of training steps; all epochs when left out.")
]
CheckpointEvery = Annotated[int, typer.Option(min=1, help="Number of steps between checkpoints.", metavar="STEPS")]
RateOrUsual = Annotated[float | None, typer.Option("--lr", help="Peak learning rate.", show_default=False)]
Optimizer = Annotated[
    str,
    typer.Option(
        "--opt",
        help="Optimizer: sgd, adamw, rmsprop, or another name of timm's. Without --lr the peak learning rate is 0.1 "
        "for sgd and 0.001 for others, and a tenth of it where training starts from trained weights.",
        metavar="NAME",
    ),
]
Momentum = Annotated[
    float, typer.Option(min=0, max=0.9999, help="Momentum of an optimizer that has one, such as sgd or rmsprop.")
]
Warmup = Annotated[
    float, typer.Option(min=0, max=1, help="Share of the steps in which the learning rate rises to its peak.")
]
Patience = Annotated[
    int,
    typer.Option(
        min=0,
        help="Number of epochs without a better validation accuracy after which training stops, with the weights of "
        "the best epoch; 0 trains all epochs and gives those of the last.",
        metavar="EPOCHS",
    ),
]
LayerDecay = Annotated[
    float,
    typer.Option(
        min=0.01, max=1, help="Factor of the learning rate from each layer to the one before it; 1 is the same for all."
    ),
]
HeadRate = Annotated[
    float | None,
    typer.Option("--head-lr", help="Peak learning rate of the classifier; that of the other layers when left out."),
]
Freeze = Annotated[
    str | None,
    typer.Option(
        help="What is not trained: backbone (all but the classifier), or a number: the stem and so many stages after "
        "it (of a transformer, blocks).",
        metavar="backbone|N",
    ),
]
TeacherNames = Annotated[
    list[str] | None,
    typer.Option(
        "--teacher",
        help="Trained network to learn from besides the labels (knowledge distillation): a name, a file that 'train' "
        "or 'export' wrote, or NAME=FILE for another weights file. Given several times, the networks teach together.",
        metavar="NAME|FILE",
    ),
]
TeacherWeight = Annotated[
    float | None,
    typer.Option(help="Share of the loss that compares with the teacher; 0.5 when left out.", show_default=False),
]
TeacherTemperature = Annotated[
    float | None,
    typer.Option(
        help="Temperature that softens the answers of teacher and network; 4 when left out.", show_default=False
    ),
]
ContinueFrom = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a finished run of the same network, whose result the training starts from, with a new "
        "optimizer and a whole schedule.",
        metavar="FOLDER",
    ),
]
Decay = Annotated[float, typer.Option(min=0, help="Weight decay of the optimizer.")]
Smoothing = Annotated[
    float, typer.Option(min=0, max=1, help="Label smoothing: probability that is spread over all classes.")
]
Ema = Annotated[
    float,
    typer.Option(min=0, max=0.99999, help="Decay of the exponential moving average of weights; 0 turns averaging off."),
]
ClipNorm = Annotated[
    float, typer.Option(min=0, help="Largest norm of a step's gradient, to which longer ones are shortened; 0 for any.")
]
MixedPrecision = Annotated[
    str, typer.Option("--mixed-precision", help="Mixed precision: no, bf16 or fp16; on a CPU, no is usually fastest.")
]
Loaders = Annotated[
    int,
    typer.Option(
        "--loaders", min=0, help="Number of processes that load images; with 0 the training process loads them."
    ),
]
Layers = Annotated[
    str,
    typer.Option(
        help="fast: layers that train faster on CPUs, with the same results within rounding; torch: torch's own."
    ),
]
Board = Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard event files.")]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options that both kinds of training share: the data, the duration and the method."""

    data: Data
    data_dir: DataDir = None
    validation: Held = None
    validation_data: ValidationData = None
    pictures: Pictures = None
    skip_broken: SkipBroken = False
    max_steps: MaxSteps = None
    checkpoint_every: CheckpointEvery = 500
    batch_size: BatchSizeOrUsual = None
    opt: Optimizer = "sgd"
    lr: RateOrUsual = None
    momentum: Momentum = 0.9
    warmup: Warmup = 0.1
    weight_decay: Decay = 5e-4
    label_smoothing: Smoothing = 0.1
    clip_norm: ClipNorm = 0.0
    augment: Augmentation = None
    erase: Erase = None
    crop: Crop = None
    mixup: Mixup = 0.0
    cutmix: CutMix = 0.0
    mixup_prob: MixupProb = None
    balance: Balance = "none"
    cache_limit: CacheLimit = None
    mixed_precision: MixedPrecision = "no"
    loaders: Loaders = 0
    seed: Seed = 0
    threads: TorchThreads = 0
    tensorboard: Board = False
    layers: Layers = "fast"
    plot: Plot = None

    @property
    def images(self) -> DataPlan:
        """The data set that the options select."""
        from scarlet_zoo.training.run import DataPlan

        plan = DataPlan(name=self.data, folder=self.data_dir, validation=self.validation,
                        validation_data=self.validation_data, images=self.pictures,
                        skip_broken=self.skip_broken)  # fmt: skip
        return plan if self.cache_limit is None else replace(plan, cache_gb=self.cache_limit)

    def settings(self, length: Length, *, pretrained: bool, **own: Any) -> TrainSettings:
        """The settings of a training, with settings ``own`` that only one verb has.

        Args:
            length: its epochs and batch size.
            pretrained: whether the training starts from trained weights.
            own: the settings of the verb.
        """
        from scarlet_zoo.data.augmentations import augment_plan
        from scarlet_zoo.training.settings import TrainSettings, usual_rate

        apply_only(bool(self.mixup or self.cutmix), "--mixup and --cutmix", mixup_prob=self.mixup_prob)
        plan = augment_plan(self.augment or (), erase=self.erase, crop=self.crop)
        return TrainSettings(
            max_steps=self.max_steps, checkpoint_every=self.checkpoint_every, epochs=length.epochs,
            batch_size=length.batch_size, opt=self.opt,
            lr=usual_rate(self.opt, pretrained=pretrained) if self.lr is None else self.lr,
            momentum=self.momentum, warmup=self.warmup, weight_decay=self.weight_decay, clip_norm=self.clip_norm,
            label_smoothing=self.label_smoothing, augment=plan, mixup=self.mixup, cutmix=self.cutmix,
            mixup_prob=1.0 if self.mixup_prob is None else self.mixup_prob, balance=self.balance,
            precision=self.mixed_precision, workers=self.loaders, seed=self.seed, threads=self.threads,
            tensorboard=self.tensorboard, layers=self.layers, **own,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(TrainingOptions):
    """Options of the training of one network."""

    patience: Patience = 0
    layer_decay: LayerDecay = 1.0
    head_lr: HeadRate = None
    freeze: Freeze = None
    teacher: TeacherNames = None
    teacher_weight: TeacherWeight = None
    teacher_temperature: TeacherTemperature = None

    def of_network(self, length: Length, *, pretrained: bool, **own: Any) -> TrainSettings:
        """The settings of the training of a network of some length, with settings ``own``."""
        from scarlet_zoo.training.settings import BACKBONE, Teacher

        asked = {"weight": self.teacher_weight, "temperature": self.teacher_temperature}
        apply_only(bool(self.teacher), "--teacher", **{f"teacher_{key}": asked[key] for key in asked})
        given: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
        names = tuple(self.teacher or ())
        teacher = Teacher(network=names if len(names) > 1 else names[0], **given) if names else None
        frozen = self.freeze
        if frozen not in (None, BACKBONE) and whole_number(str(frozen)) is None:
            raise TrainingError(f"--freeze {frozen}: wanted {BACKBONE} or a number of stages")
        return self.settings(
            length, pretrained=pretrained, patience=self.patience, layer_decay=self.layer_decay, head_lr=self.head_lr,
            freeze=frozen if frozen in (None, BACKBONE) else int(str(frozen)), teacher=teacher, **own,
        )  # fmt: skip
