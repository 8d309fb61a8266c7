"""Verbs that train: supernet train, train."""

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

Epochs = Annotated[int, typer.Option(min=1, help="Passes over the training pictures.")]
MaxSteps = Annotated[int | None, typer.Option(min=1, help="Stop after so many steps.")]
CheckpointEvery = Annotated[int, typer.Option(min=1, help="Steps between checkpoints.", metavar="STEPS")]
Decay = Annotated[float, typer.Option(min=0, help="Weight decay.")]
Smoothing = Annotated[float, typer.Option(min=0, max=1, help="Label smoothing.")]
Ema = Annotated[float, typer.Option(min=0, max=0.99999, help="Decay of averaged weights; 0 for none.")]
Erase = Annotated[float, typer.Option(min=0, max=1, help="Share of training pictures with a blanked rectangle.")]
Crop = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=1,
        help="Least share of a training picture's area that is stretched to the whole; if left out, 1 (all of it) for "
        "fashion-mnist and 0.08 for other data.",
        show_default=False,
    ),
]
MixedPrecision = Annotated[
    str, typer.Option("--mixed-precision", help="no, bf16 or fp16; on a CPU no is usually fastest.")
]
Loaders = Annotated[int, typer.Option("--loaders", min=0, help="Processes that load images; 0 for the training's own.")]
Board = Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard's event files.")]

Options = Annotated[
    list[str] | None, typer.Option("--option", help="Of the strategy; repeatable.", metavar="NAME=VALUE")
]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What supernet train and train have in common: the data, and how long and how it is trained on."""

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
    erase: Erase = 0.0
    crop: Crop = None
    mixed_precision: MixedPrecision = "no"
    loaders: Loaders = 0
    seed: Seed = 0
    threads: TorchThreads = 0
    tensorboard: Board = False

    @property
    def images(self) -> DataPlan:
        """The data that they name."""
        from scarlet_zoo.training.run import DataPlan

        return DataPlan(name=self.data, folder=self.data_dir, validation=self.validation, pictures=self.pictures)

    def settings(self, **own: Any) -> TrainSettings:
        """The settings of a training, with what is the verb's own."""
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
        typer.Option(help="On skips: identity, orthogonal, kaiming, or plain (none); the strategy's own if left out."),
    ] = None,
    epochs: Epochs = 10,
) -> None:
    """Train the supernet of a search space; leaves supernet.safetensors and steps.jsonl.

    The same command again continues the run. Without --strategy it is scarlet with plain skips.
    """
    from scarlet_zoo.nas.train_supernet import train_supernet

    options = given_options(option)
    with progress_bar("train") as progress:
        trained = train_supernet(space, data=how.images, out=out, settings=how.settings(epochs=epochs),
                                 strategy=strategy, skip=skip, options=options, progress=progress)  # fmt: skip
    _tell(trained.to_dict(), as_json)


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
    """Train one network, from scratch or from its supernet weights; leaves model.safetensors and run.json.

    The same command again continues the run. With --supernet it starts from the supernet's weights. --space says of
    which space an identity string is, where that space has no name here.
    """
    from scarlet_zoo.arch.architecture import is_identity_string
    from scarlet_zoo.arch.spaces import find_space
    from scarlet_zoo.training.train_network import train

    apply_only(supernet is None and is_identity_string(name), "an identity string without --supernet", space=space)
    declared = find_space(space) if space else None
    with progress_bar("train") as progress:
        trained = train(name, data=how.images, out=out, settings=how.settings(epochs=epochs, ema=ema),
                        supernet=supernet, space=declared, input_size=input_size, progress=progress)  # fmt: skip
    _tell(trained.to_dict(), as_json)


def given_options(texts: list[str] | None) -> dict[str, str]:
    """Options by name."""
    pairs_given = [text.partition("=") for text in texts or []]
    wrong = next((name for name, mark, _ in pairs_given if not mark), None)
    if wrong is not None:
        raise TrainingError(f"option {wrong!r}: wanted NAME=VALUE")
    return {name: value for name, _, value in pairs_given}


def _tell(report: dict[str, Any], as_json: bool) -> None:
    def render(console: Console) -> None:
        shown = {key: value for key, value in report.items() if not isinstance(value, (dict, list))}
        console.print(pairs(shown.items()))

    emit(as_json, report, render)
