"""Verbs that train networks: supernet train, train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from scarlet_zoo.cli.console import Bar, emit, next_step, pairs, progress_bar, remark
from scarlet_zoo.cli.former_flags import taking
from scarlet_zoo.cli.learnt import length_of, network_note, supernet_note
from scarlet_zoo.cli.options import (
    InputSize,
    Json,
    Name,
    Out,
    SourceWeights,
    SpaceOrNone,
    StrategyOrNone,
    SupernetFile,
    apply_only,
)
from scarlet_zoo.cli.search_options import preset_option
from scarlet_zoo.cli.shared import with_shared_options
from scarlet_zoo.cli.train_options import ContinueFrom, Ema, Epochs, NetworkOptions, TrainingOptions
from scarlet_zoo.errors import TrainingError

if TYPE_CHECKING:
    from scarlet_zoo.training.outcome import Seen, Watch

Start = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="Supernet file whose weights the training starts from; its classes may be others.",
        metavar="FILE",
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", help="Option of the strategy. It may be given several times.", metavar="NAME=VALUE"),
]

# Versions of formats, which say nothing to a person.
_UNTOLD = ("schema_version", "preprocessing_rule")


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
    space: SpaceOrNone = None,
    as_json: Json = False,
    start: Start = None,
    preset: preset_option(lambda preset: preset.supernet) = None,  # type: ignore[valid-type]  # noqa: ARG001
    strategy: StrategyOrNone = None,
    option: Options = None,
    skip: Annotated[
        str | None,
        typer.Option(
            help="Stabilizer on skip connections: identity, orthogonal or kaiming (its initialisation), or plain (no "
            "stabilizer); the strategy's own when left out."
        ),
    ] = None,
    epochs: Epochs = None,
    ema: Ema = 0.0,
) -> None:
    """Train the weight-sharing supernet of a search space.

    Writes supernet.safetensors and steps.jsonl. Running the same command again continues the run. --epochs is 10 and
    --batch-size 128 when left out, for few images more epochs and smaller batches. Without --space, the space is the
    built-in one that suits the channels, size and number of the images, and is named in one line. Without --strategy,
    the strategy is scarlet with plain skips. With --from, training starts from the weights of another supernet, and
    space, strategy and skips are those of that one when left out; a classifier for other classes is new.
    """
    from scarlet_zoo.nas.train_supernet import train_supernet

    options = given_options(option)
    length, note = length_of(how.images, out, 10, epochs, how.batch_size)
    settings = how.settings(length, pretrained=start is not None, ema=ema)
    with _drawn(how.plot, out), progress_bar("train") as bar:
        trained = train_supernet(
            space, data=how.images, out=out, settings=settings, strategy=strategy, skip=skip, options=options,
            start=start, watch=_watch(bar, note if how.max_steps is None else ""),
        )  # fmt: skip
    found = supernet_note(trained.report) if how.max_steps is None else None  # a few steps are no training
    _print_report(
        trained.to_dict(), as_json, found, f"scarlet-zoo search --supernet {quote(str(trained.path))} --out DIR"
    )


@with_shared_options
def train_network(
    name: Name,
    out: Out,
    how: NetworkOptions,
    as_json: Json = False,
    supernet: SupernetFile = None,
    space: SpaceOrNone = None,
    weights: SourceWeights = None,
    continue_from: ContinueFrom = None,
    input_size: InputSize = None,
    epochs: Epochs = None,
    ema: Ema = 0.998,
) -> None:
    """Train one network, or fine-tune one that is trained.

    Writes model.safetensors and run.json. Running the same command again continues the run. --epochs is 20 and
    --batch-size 128 when left out, for few images more epochs and smaller batches. Training starts from scratch; with
    --supernet from the supernet's weights; with --weights from trained ones, with a new classifier if the classes
    differ; with --continue-from from the result of a finished run. --space gives the search space of an identity
    string, if it is not a registered one.
    """
    from scarlet_zoo.arch.architecture import is_identity_string
    from scarlet_zoo.arch.space_files import find_space
    from scarlet_zoo.training.train_network import train

    apply_only(supernet is None and is_identity_string(name), "an identity string without --supernet", space=space)
    declared = find_space(space, for_images=True) if space else None
    pretrained = weights not in (None, "random") or continue_from is not None
    length, note = length_of(how.images, out, 20, epochs, how.batch_size)
    with _drawn(how.plot, out), progress_bar("train") as bar:
        trained = train(
            name, data=how.images, out=out, settings=how.of_network(length, pretrained=pretrained, ema=ema),
            supernet=supernet, weights=weights, continue_from=continue_from, space=declared, input_size=input_size,
            watch=_watch(bar, note if how.max_steps is None else ""),
        )  # fmt: skip
    found = network_note(trained.report) if how.max_steps is None else None
    _print_report(trained.to_dict(), as_json, found, f"scarlet-zoo deploy {quote(str(trained.path))} --out DIR")


def given_options(texts: list[str] | None) -> dict[str, str]:
    """Parse NAME=VALUE texts to options by name."""
    pairs_given = [text.partition("=") for text in texts or []]
    wrong = next((name for name, mark, _ in pairs_given if not mark), None)
    if wrong is not None:
        raise TrainingError(f"option {wrong!r}: wanted NAME=VALUE")
    return {name: value for name, _, value in pairs_given}


@contextmanager
def _drawn(file: Path | None, out: Path) -> Iterator[None]:
    """Draw the curves of the training in the ``with`` block, if a file is given; finds first whether they can be."""
    if file is None:
        yield
        return
    from scarlet_zoo.training.plots import plot_training
    from scarlet_zoo.training.run import is_main_process
    from scarlet_zoo.utils.plotting import kind_of, new_figure

    kind_of(file)
    new_figure(1, 1)
    yield
    if is_main_process():
        plot_training(out, file)


def _watch(bar: Bar, note: str) -> Watch:
    """Move the bar with each step; the note is printed once the training has begun, since it may be refused."""
    notes = [note] if note else []

    def see(seen: Seen) -> None:
        if notes:
            remark(notes.pop())
        bar(seen.step, seen.last, str(seen))

    return see


def _print_report(report: dict[str, Any], as_json: bool, note: str | None, command: str) -> None:
    """Print what a training has made; then a note on what it has not taught, or the command that comes next."""
    from scarlet_zoo.inference.right_answers import Accuracy

    def render(console: Console) -> None:
        shown = {
            key.replace("_", " "): _told(value)
            for key, value in report.items()
            if value is not None and not isinstance(value, (bool, dict, list)) and key not in _UNTOLD
        }
        if "accuracy" in report:
            epochs, best = len(report["top1"]), shown.pop("epoch")
            stopped = ", stopped early" if report["stopped_early"] else ""
            accuracy = Accuracy(report["accuracy"]["right"], report["accuracy"]["images"])
            shown |= {"validation accuracy": str(accuracy), "epoch of the weights": f"{best} of {epochs}{stopped}"}
        console.print(pairs(shown.items()))
        if note is None:
            next_step(console, command)

    emit(as_json, report, render)
    if note is not None:
        remark(note)


def _told(value: str | float) -> str:
    """A value of a report as people read it."""
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
