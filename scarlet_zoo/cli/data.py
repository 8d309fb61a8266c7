"""The verb data check: what a folder of images holds, and what a training would do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, progress_bar, table
from scarlet_zoo.cli.options import DataDir, Held, Json, SkipBroken
from scarlet_zoo.errors import CheckFailedError

if TYPE_CHECKING:
    from scarlet_zoo.data.summary import Summary

_LISTED = 20  # files of each kind, and classes, that are shown; --json has all


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(help="Look into a folder of labelled images.", no_args_is_help=True)
    group.callback()(_data)
    group.command("check")(check_data)
    app.add_typer(group, name="data")


def _data() -> None:
    """Look into a folder of labelled images."""


def check_data(
    data: Annotated[
        str,
        typer.Argument(
            help="Folder with one subfolder for each class, a folder with such folders named train and test or val, a "
            "list of images (CSV or JSON with path and label), or the name of a data set.",
            metavar="DATA",
        ),
    ],
    as_json: Json = False,
    data_dir: DataDir = None,
    validation: Held = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Read every image of a data set and say what it holds.

    Shows classes, counts, sizes, broken files, images that are both trained on and validated on, mean and deviation,
    and what a training would do. The exit code is 1 if a training would refuse the data. What was found is remembered,
    so that a training does not read unchanged images again.
    """
    from scarlet_zoo.data import summary as made

    with progress_bar("check"):
        summary = made.check_data(data, data_dir=data_dir, validation=validation, skip_broken=skip_broken)
    emit(as_json, summary.to_dict(), lambda console: _render(console, summary))
    if summary.refusal is not None:
        raise CheckFailedError(f"a training would refuse this: {summary.refusal}")


def _render(console: Console, summary: Summary) -> None:
    from scarlet_zoo.data.image_io import printable

    def counted(numbers: dict[str, int]) -> str:
        return ", ".join(f"{name} {number:,}" for name, number in numbers.items())

    def channels(values: tuple[float, ...] | None) -> str:
        return "" if values is None else " ".join(f"{value:.3f}" for value in values)

    low, middle, high = summary.sides or (0, 0, 0)
    sides = f"{low} to {high} pixels, median {middle}"
    facts = [
        ("read as", summary.read_as),
        ("images", counted(dict(summary.parts))),
        ("shorter side", sides),
        ("sizes", counted(dict(summary.sizes))),
        ("pixels", counted(dict(summary.modes))),
        ("formats", counted(dict(summary.formats))),
        ("rotated by EXIF", f"{summary.turned:,}"),
        ("mean", channels(summary.mean)),
        ("deviation", channels(summary.std)),
        ("training images too", counted(dict(summary.duplicates))),
        ("cannot be read", f"{len(summary.broken):,}"),
        ("no images", f"{len(summary.skipped):,}"),
    ]  # fmt: skip
    console.print(pairs(facts, title=printable(summary.source)))
    parts = list(summary.parts)
    rows = [(name, *(f"{counts[part]:,}" for part in parts)) for name, counts in summary.classes.items()]
    console.print(table(("class", *parts), rows[:_LISTED]))
    if len(rows) > _LISTED:
        console.print(f"and {len(rows) - _LISTED:,} more classes, which --json lists")
    for entry in (*summary.broken[:_LISTED], *summary.skipped[:_LISTED]):
        console.print(f"{printable(entry.file)}: {entry.detail or entry.kind}")
    for line in summary.remarks:
        console.print(line)
