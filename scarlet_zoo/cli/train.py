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
    SkipBroken,
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
Erase = Annotated[
    float, typer.Option(min=0, max=1, help="Share of training images with a random rectangle blanked out.")
]
Crop = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=1,
        help="Smallest share of a training image's area that a random crop covers; when left out, 1 (no crop) for "
        "fashion-mnist and 0.08 for other data.",
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
    skip_broken: SkipBroken = False
    max_steps: MaxSteps = None
    checkpoint_every: CheckpointEvery = 500
    batch_size: BatchSize = 128
    lr: Rate = 0.1
    weight_decay: Decay = 5e-4
    label_smoothing: Smoothing = 0.1
    erase: Erase = 0.0
    crop: Crop = None
    mixed_precision: MixedPrecision = "no"
    loaders: Loaders = 0
    seed: Seed = 0
    threads: TorchThreads = 0
    tensorboard: Board = False

    @property
    def images(self) -> DataPlan:
        """The data set that the options select."""
        from scarlet_zoo.training.run import DataPlan

        return DataPlan(name=self.data, folder=self.data_dir, validation=self.validation, images=self.pictures,
                        skip_broken=self.skip_broken)  # fmt: skip

    def settings(self, **own: Any) -> TrainSettings:
        """The settings of a training, with settings ``own`` that only one verb has."""
        from scarlet_zoo.data.datasets import usual_augment
        from scarlet_zoo.training.settings import TrainSettings

        crop = {} if self.crop is None else {"crop": self.crop}
        return TrainSettings(
            max_steps=self.max_steps, checkpoint_every=self.checkpoint_every, batch_size=self.batch_size, lr=self.lr,
            weight_decay=self.weight_decay, label_smoothing=self.label_smoothing,
            augment=usual_augment(self.data, erase=self.erase, **crop), precision=self.mixed_precision,
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
