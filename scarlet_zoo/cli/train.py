"""Verbs that train networks: supernet train, train."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from scarlet_zoo.cli.console import Bar, emit, pairs, progress_bar, remark
from scarlet_zoo.cli.former_flags import taking
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
    from scarlet_zoo.training.outcome import Watch

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
    epochs: Epochs = 10,
    ema: Ema = 0.0,
) -> None:
    """Train the weight-sharing supernet of a search space.

    Writes supernet.safetensors and steps.jsonl. Running the same command again continues the run. Without --space, the
    space is the built-in one that suits the channels, size and number of the images, and is named in one line. Without
    --strategy, the strategy is scarlet with plain skips. With --from, training starts from the weights of another
    supernet, and space, strategy and skips are those of that one when left out; a classifier for other classes is new.
    """
    from scarlet_zoo.nas.train_supernet import train_supernet

    options = given_options(option)
    settings = how.settings(pretrained=start is not None, epochs=epochs, ema=ema)
    with _drawn(how.plot, out), progress_bar("train") as bar:
        trained = train_supernet(
            space, data=how.images, out=out, settings=settings, strategy=strategy, skip=skip, options=options,
            start=start, watch=_watch(bar),
        )  # fmt: skip
    _print_report(trained.to_dict(), as_json)
    if how.max_steps is None:  # who asks for a few steps does not ask what they taught
        _remark_if_nothing_was_learnt(trained.report)


def _remark_if_nothing_was_learnt(report: Mapping[str, Any]) -> None:
    """Say so where the last loss is twice that of a guess or more, which is the logarithm of the number of classes."""
    guess = math.log(max(report["classes"], 2))
    if report["loss"] >= 2 * guess:
        remark(f"after {report['steps']} steps the loss is {report['loss']:.2f}, and a guess has {guess:.2f}: the "
               "supernet has learnt nothing; try more --epochs, a smaller --batch-size or a smaller --lr")  # fmt: skip


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
    epochs: Epochs = 20,
    ema: Ema = 0.998,
) -> None:
    """Train one network, or fine-tune one that is trained.

    Writes model.safetensors and run.json. Running the same command again continues the run. Training starts from
    scratch; with --supernet from the supernet's weights; with --weights from trained ones, with a new classifier if
    the classes differ; with --continue-from from the result of a finished run. --space gives the search space of an
    identity string, if it is not a registered one.
    """
    from scarlet_zoo.arch.architecture import is_identity_string
    from scarlet_zoo.arch.space_files import find_space
    from scarlet_zoo.training.train_network import train

    apply_only(supernet is None and is_identity_string(name), "an identity string without --supernet", space=space)
    declared = find_space(space, for_images=True) if space else None
    pretrained = weights not in (None, "random") or continue_from is not None
    with _drawn(how.plot, out), progress_bar("train") as bar:
        trained = train(
            name, data=how.images, out=out, settings=how.of_network(pretrained=pretrained, epochs=epochs, ema=ema),
            supernet=supernet, weights=weights, continue_from=continue_from, space=declared, input_size=input_size,
            watch=_watch(bar),
        )  # fmt: skip
    _print_report(trained.to_dict(), as_json)


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


def _watch(bar: Bar) -> Watch:
    return lambda seen: bar(seen.step, seen.last, str(seen))


def _print_report(report: dict[str, Any], as_json: bool) -> None:
    from scarlet_zoo.inference.right_answers import Accuracy

    def render(console: Console) -> None:
        shown = {
            key: value
            for key, value in report.items()
            if value is not None and not isinstance(value, (bool, dict, list)) and key != "preprocessing_rule"
        }
        if "accuracy" in report:
            epochs, best = len(report["top1"]), shown.pop("epoch")
            stopped = ", stopped early" if report["stopped_early"] else ""
            accuracy = Accuracy(report["accuracy"]["right"], report["accuracy"]["images"])
            shown |= {"validation accuracy": str(accuracy), "epoch of the weights": f"{best} of {epochs}{stopped}"}
        console.print(pairs(shown.items()))

    emit(as_json, report, render)
