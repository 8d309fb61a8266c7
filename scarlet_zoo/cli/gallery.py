"""The verb gallery: a static page of networks that run in the visitor's browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, say, sentence, table
from scarlet_zoo.cli.options import (
    Calibration,
    Json,
    Labels,
    Out,
    PreprocessingOrOwn,
    Targets,
    Weights,
    apply_only,
    labels_in,
)
from scarlet_zoo.cli.record_options import Accuracies, RecordFiles

if TYPE_CHECKING:
    from scarlet_zoo.measurement.gallery.gallery import Gallery

Models = Annotated[
    list[str] | None,
    typer.Argument(help="ONNX files, or names of networks; all networks of the zoo when left out.", metavar="MODEL..."),
]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("gallery")(gallery)


def gallery(
    models: Models = None,
    out: Out = Path("out/gallery"),
    as_json: Json = False,
    target: Targets = None,
    weights: Weights = "auto",
    calibration: Calibration = None,
    records: RecordFiles = [],  # noqa: B006 - typer copies it
    accuracy: Accuracies = None,
    preprocessing: PreprocessingOrOwn = None,
    labels: Labels = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Networks",
) -> None:
    """Write a static page in which networks are compared and run.

    Any host serves the folder as it is, without special headers, and the page loads nothing from others. Opened as a
    file, it compares and downloads networks and does not run them. --preprocessing and --labels are for ONNX files that
    do not state their own.
    """
    from scarlet_zoo.measurement.gallery.gallery import gallery as write_gallery
    from scarlet_zoo.measurement.workloads import is_file_name

    named = not models or not all(map(is_file_name, models))
    apply_only(named, "networks given by name", target=" ".join(target) if target else None, calibration=calibration,
               weights=None if weights == "auto" else weights)  # fmt: skip
    apply_only(not named or any(map(is_file_name, models or [])), "ONNX files that do not state their own",
               preprocessing=preprocessing, labels=labels)  # fmt: skip
    made = write_gallery(
        out, models or [], targets=target or ("native",), weights=weights, calibration=calibration, records=records,
        accuracies=accuracy or [], preprocessing=preprocessing, labels=labels_in(labels), title=title, stage=say,
    )  # fmt: skip
    emit(as_json, made.to_dict(), lambda console: _render(console, made))


def _render(console: Console, made: Gallery) -> None:
    rows = [(entry.title, "" if entry.bytes is None else f"{entry.bytes / 1e6:.2f}",
             "" if entry.macs is None else f"{entry.macs / 1e6:.1f}", len(entry.points), len(entry.latencies),
             "yes" if entry.run else "no") for entry in made.entries]  # fmt: skip
    console.print(table(("network", "MB", "MACs (M)", "accuracies", "latencies", "runs in the page"), rows))
    for entry in made.entries:
        if entry.file is not None and entry.why_not is not None:
            sentence(console, f"{entry.title} does not run in the page: {entry.why_not}")
    console.print(f"written to {made.folder}: {len(made.files)} files, {made.bytes / 1e6:.1f} MB")
    console.print(f"look at it with: python -m http.server --bind 127.0.0.1 --directory {made.folder}")
