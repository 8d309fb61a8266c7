"""Verbs that train networks: supernet train, train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, progress_bar
from scarlet_zoo.cli.former_flags import taking
from scarlet_zoo.cli.options import (
    BatchSize,
    Data,
    DataDir,
    Held,
    Json,
    Name,
    Out,
    Pictures,
    Rate,
    Seed,
    Space,
    SpaceOrNone,
    StrategyOrNone,
    SupernetFile,
    TorchThreads,
    TrainInputSize,
    apply_only,
)
from scarlet_zoo.cli.shared import with_shared_options
from scarlet_zoo.errors import TrainingError

if TYPE_CHECKING:
    from scarlet_zoo.training.run import DataPlan
    from scarlet_zoo.training.settings import TrainSettings

Epochs = Annotated[int, typer.Option(min=1, help="Number of passes over the training images.")]
MaxSteps = Annotated[
    int | None, typer.Option(min=1, help="Largest number of training steps; all epochs when left out.")
]
CheckpointEvery = Annotated[int, typer.Option(min=1, help="Number of steps between checkpoints.", metavar="STEPS")]
Decay = Annotated[float, typer.Option(min=0, help="Weight decay of the optimizer.")]
Smoothing = Annotated[
    float, typer.Option(min=0, max=1, help="Label smoothing: probability that is spread over all classes.")
]
Ema = Annotated[
    float,
    typer.Option(min=0, max=0.99999, help="Decay of the exponential moving average of weights; 0 turns averaging off."),
]
_AUGMENTATION = (
    "Augmentation of the training images: usual, none, small (shift, flip), photo (random resized crop, flip) or "
    "inception (smaller crops, colour jitter); with randaugment, trivialaugment or autoaugment added; and settings "
    "such as crop=0.2,color-jitter=0.4,erase=0.25,vflip=1 or auto=POLICY (timm's --aa), all separated by commas. "
    "docs/training.md lists them."
)
Augmentation = Annotated[
    list[str] | None,
    typer.Option("--augment", help=_AUGMENTATION, metavar="NAME|NAME=VALUE,...", show_default=False),
]
Erase = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Share of training images with a random rectangle blanked out; 0 when left out.",
        show_default=False,
    ),
]
Crop = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=1,
        help="Smallest share of a training image's area that a random crop covers; when left out, 1 (no crop) for "
        "inputs of up to 64 pixels and 0.35 for larger ones.",
        show_default=False,
    ),
]
Mixup = Annotated[
    float, typer.Option("--mixup", min=0, help="Alpha of mixup, which blends pairs of images; 0 turns it off.")
]
CutMix = Annotated[
    float,
    typer.Option(
        "--cutmix",
        min=0,
        help="Alpha of CutMix, which puts a part of one image into another; 0 turns it off. With "
        "--mixup too, each step draws one of the two.",
    ),
]
MixupProb = Annotated[
    float | None,
    typer.Option(
        "--mixup-prob",
        min=0,
        max=1,
        help="Probability that a step's images are mixed; 1 when left out.",
        show_default=False,
    ),
]
Balance = Annotated[
    str,
    typer.Option(
        "--balance",
        help="What is done for classes of uneven size: none, loss (weights the loss by class) or sampling (draws all "
        "classes equally often).",
    ),
]
CacheLimit = Annotated[
    float | None,
    typer.Option(
        "--cache-limit",
        min=0,
        help="Largest size in GB of the files in the cache folder that hold decoded images; with 0 images are decoded "
        "whenever they are needed; 8 when left out.",
        metavar="GB",
        show_default=False,
    ),
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
Board = Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard event files.")]

Options = Annotated[
    list[str] | None,
    typer.Option("--option", help="Option of the strategy. It may be given several times.", metavar="NAME=VALUE"),
]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options that both kinds of training share: the data, the duration and the method."""

    data: Data
    data_dir: DataDir = None
    validation: Held = None
    pictures: Pictures = None
    max_steps: MaxSteps = None
    checkpoint_every: CheckpointEvery = 500
    batch_size: BatchSize = 128
    lr: Rate = 0.1
    weight_decay: Decay = 5e-4
    label_smoothing: Smoothing = 0.1
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

    @property
    def images(self) -> DataPlan:
        """The data set that the options select."""
        from scarlet_zoo.training.run import DataPlan

        limit = {} if self.cache_limit is None else {"cache_gb": self.cache_limit}
        return DataPlan(name=self.data, folder=self.data_dir, validation=self.validation, images=self.pictures, **limit)

    def settings(self, **own: Any) -> TrainSettings:
        """The settings of a training, with settings ``own`` that only one verb has."""
        from scarlet_zoo.data.augmentations import augment_plan
        from scarlet_zoo.training.settings import TrainSettings

        apply_only(bool(self.mixup or self.cutmix), "--mixup and --cutmix", mixup_prob=self.mixup_prob)
        plan = augment_plan(self.augment or (), erase=self.erase, crop=self.crop)
        mixed = 1.0 if self.mixup_prob is None else self.mixup_prob
        return TrainSettings(
            max_steps=self.max_steps, checkpoint_every=self.checkpoint_every, batch_size=self.batch_size, lr=self.lr,
            weight_decay=self.weight_decay, label_smoothing=self.label_smoothing, augment=plan, mixup=self.mixup,
            cutmix=self.cutmix, mixup_prob=mixed, balance=self.balance, precision=self.mixed_precision,
            workers=self.loaders, seed=self.seed, threads=self.threads, tensorboard=self.tensorboard, **own,
        )  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    group = typer.Typer(help="Train a weight-sharing supernet.", no_args_is_help=True)
    former = {"--precision": "--mixed-precision", "--workers": "--loaders"}
    group.command("train", cls=taking(former))(train_supernet_of_space)
    app.add_typer(group, name="supernet")
    app.command("train", cls=taking(former))(train_network)


@with_shared_options
def train_supernet_of_space(
    out: Out,
    how: TrainingOptions,
    space: Space = "scarlet-mini",
    as_json: Json = False,
    strategy: StrategyOrNone = None,
    option: Options = None,
    skip: Annotated[
        str | None,
        typer.Option(
            help="Stabilizer on skip connections: identity, orthogonal or kaiming (its initialisation), or plain (no "
            "stabilizer); the strategy's own when left out."
        ),
    ] = None,
    epochs: Epochs = 10,
) -> None:
    """Train the weight-sharing supernet of a search space.

    Writes supernet.safetensors and steps.jsonl. Running the same command again continues the run. Without --strategy,
    the strategy is scarlet with plain skips.
    """
    from scarlet_zoo.nas.train_supernet import train_supernet

    options = given_options(option)
    with progress_bar("train") as progress:
        trained = train_supernet(space, data=how.images, out=out, settings=how.settings(epochs=epochs),
                                 strategy=strategy, skip=skip, options=options, progress=progress)  # fmt: skip
    _print_report(trained.to_dict(), as_json)


@with_shared_options
def train_network(
    name: Name,
    out: Out,
    how: TrainingOptions,
    as_json: Json = False,
    supernet: SupernetFile = None,
    space: SpaceOrNone = None,
    input_size: TrainInputSize = None,
    epochs: Epochs = 20,
    ema: Ema = 0.998,
) -> None:
    """Train one network, from scratch or from a supernet.

    Writes model.safetensors and run.json. Running the same command again continues the run. With --supernet, training
    starts from the supernet's weights. --space gives the search space of an identity string, if it is not a registered
    one.
    """
    from scarlet_zoo.arch.architecture import is_identity_string
    from scarlet_zoo.arch.spaces import find_space
    from scarlet_zoo.training.train_network import train

    apply_only(supernet is None and is_identity_string(name), "an identity string without --supernet", space=space)
    declared = find_space(space) if space else None
    with progress_bar("train") as progress:
        trained = train(name, data=how.images, out=out, settings=how.settings(epochs=epochs, ema=ema),
                        supernet=supernet, space=declared, input_size=input_size, progress=progress)  # fmt: skip
    _print_report(trained.to_dict(), as_json)


def given_options(texts: list[str] | None) -> dict[str, str]:
    """Parse NAME=VALUE texts to options by name."""
    pairs_given = [text.partition("=") for text in texts or []]
    wrong = next((name for name, mark, _ in pairs_given if not mark), None)
    if wrong is not None:
        raise TrainingError(f"option {wrong!r}: wanted NAME=VALUE")
    return {name: value for name, _, value in pairs_given}


def _print_report(report: dict[str, Any], as_json: bool) -> None:
    def render(console: Console) -> None:
        shown = {key: value for key, value in report.items() if not isinstance(value, (dict, list))}
        console.print(pairs(shown.items()))

    emit(as_json, report, render)
