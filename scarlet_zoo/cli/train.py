"""Verbs that train: supernet train, train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, progress_bar
from scarlet_zoo.cli.options import BatchSize, Data, DataDir, Held, Json, Name, Pictures, Rate, Seed, apply_only
from scarlet_zoo.cli.shared import with_shared_options
from scarlet_zoo.errors import TrainingError

if TYPE_CHECKING:
    from scarlet_zoo.training.run import DataPlan
    from scarlet_zoo.training.settings import TrainSettings

Out = Annotated[Path, typer.Option("--out", help="Folder of the run; the same command again continues it.")]
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
Precision = Annotated[str, typer.Option(help="no, bf16 or fp16; on a CPU no is usually fastest here.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that load pictures.")]
Threads = Annotated[int, typer.Option(min=0, help="Threads of torch on a CPU; 0 leaves it to torch.")]
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
    precision: Precision = "no"
    workers: Workers = 0
    seed: Seed = 0
    threads: Threads = 0
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
            augment=usual_augment(self.data, erase=self.erase, **crop), precision=self.precision,
            workers=self.workers, seed=self.seed, threads=self.threads, tensorboard=self.tensorboard, **own,
        )  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    group = typer.Typer(help="Train a weight-sharing supernet.", no_args_is_help=True)
    group.command("train")(train_supernet)
    app.add_typer(group, name="supernet")
    app.command("train")(train_network)


@with_shared_options
def train_supernet(
    out: Out,
    how: TrainingOptions,
    space: Annotated[str, typer.Option(help="A search space's name, or its TOML file.")] = "scarlet-mini",
    as_json: Json = False,
    strategy: Annotated[
        str | None,
        typer.Option(help="How it is trained; scarlet with plain skips if left out. docs/strategies.md has them all."),
    ] = None,
    option: Options = None,
    skip: Annotated[
        str | None,
        typer.Option(help="On skips: identity, orthogonal, kaiming, or plain (none); the strategy's own if left out."),
    ] = None,
    epochs: Epochs = 10,
) -> None:
    """Train the supernet of a search space; leaves supernet.safetensors and steps.jsonl."""
    from scarlet_zoo.arch.spaces import find_space
    from scarlet_zoo.nas.train_supernet import SupernetPlan, run_supernet

    plan = SupernetPlan(
        space=find_space(space), data=how.images, strategy=strategy, skip=skip, options=given_options(option)
    )
    with progress_bar("train") as progress:
        report = run_supernet(plan, how.settings(epochs=epochs), out, progress)
    _tell(report, as_json)


@with_shared_options
def train_network(
    name: Name,
    out: Out,
    how: TrainingOptions,
    as_json: Json = False,
    supernet: Annotated[Path | None, typer.Option(help="Start from the weights of this supernet.safetensors.")] = None,
    space: Annotated[
        str | None, typer.Option(help="Of an identity string, where it has no name here.", metavar="FILE.toml")
    ] = None,
    input_size: Annotated[int | None, typer.Option(min=8, help="Side of the input in pixels.")] = None,
    epochs: Epochs = 20,
    ema: Ema = 0.998,
) -> None:
    """Train one network, from scratch or from its supernet weights; leaves model.safetensors and run.json."""
    from scarlet_zoo.arch.architecture import is_identity_string
    from scarlet_zoo.arch.spaces import find_space
    from scarlet_zoo.training.train_network import NetworkPlan, run_network

    apply_only(supernet is None and is_identity_string(name), "an identity string without --supernet", space=space)
    declared = find_space(space) if space else None
    plan = NetworkPlan(name=name, data=how.images, supernet=supernet, space=declared, input_size=input_size)
    with progress_bar("train") as progress:
        report = run_network(plan, how.settings(epochs=epochs, ema=ema), out, progress)
    _tell(report, as_json)


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
