"""Options that several verbs share, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scarlet_zoo.errors import ExportError, ScarletError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
Name = Annotated[str, typer.Argument(help="A registered name, an identity string, or any timm name.")]
Models = Annotated[
    list[str], typer.Argument(help="Files of any runtime; registered names, identity strings, any timm names.")
]
Weights = Annotated[
    str,
    typer.Option(
        help="A file, 'random', 'pretrained' (those imported for NAME, else those shipped for it, else timm's), or "
        "'auto': the same of what this machine has, else random.",
        metavar="FILE",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder to write into; it is made if it is not there.")]
Target = Annotated[str, typer.Option(help="What to export for; scarlet-zoo doctor lists the targets.")]
Targets = Annotated[list[str] | None, typer.Option("--target", help="Of networks given by name; repeatable.")]
Opset = Annotated[int, typer.Option(help="17 to 20.")]
Batch = Annotated[int | None, typer.Option(min=1, help="A fixed batch size; dynamic when left out.")]
InputSize = Annotated[int | None, typer.Option(min=1, help="Side of the input in pixels.")]
Exporter = Annotated[str, typer.Option(help="torchscript or dynamo (torch's two exporters).")]
Features = Annotated[str | None, typer.Option(help="Feature levels instead of logits: 1,2,3,4.", metavar="LEVELS")]
Pixels = Annotated[bool, typer.Option("--pixels", help="Take uint8 pictures, with the normalisation in the graph.")]
Calibration = Annotated[
    str | None, typer.Option(help="Pictures for int8: a folder, or random.", metavar="FOLDER|random")
]
Tune = Annotated[bool, typer.Option("--tune", help="Try all forms on this machine and keep the fastest that verifies.")]
Data = Annotated[str, typer.Option(help="fashion-mnist, a folder a class, torchvision:NAME or hf:NAME.")]
DataDir = Annotated[Path | None, typer.Option(help="Where the data is, or is to be kept.")]
Held = Annotated[int | None, typer.Option(min=1, help="Training pictures to hold out for validation.")]
Pictures = Annotated[int | None, typer.Option(min=1, help="Training pictures to use, spread evenly; all if left out.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures of a step, over all processes.")]
Rate = Annotated[float, typer.Option("--lr", help="Highest learning rate.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything random.")]
Mode = Annotated[str, typer.Option(help="hot, cold (caches swept), camera (idle gaps), sustained, single-stream.")]
Affinity = Annotated[str | None, typer.Option(help="Processors that may be used, such as 0,1.", metavar="N,N")]


def apply_only(condition: bool, when: str, **given: object) -> None:
    """Refuse options that would do nothing, rather than ignore them.

    Args:
        condition: whether they do something.
        when: for what they do, as the error says it.
        given: their values by name; None for one that was left out.

    Raises:
        ScarletError: the first of them that was given in vain.
    """
    for name, value in given.items():
        if not condition and value is not None:
            raise ScarletError(f"--{name.replace('_', '-')} {value}: would be ignored, it is for {when}")


def levels_of(features: str | None) -> tuple[int, ...] | None:
    """Feature levels as they are typed."""
    if features is None:
        return None
    try:
        return tuple(int(level) for level in features.split(","))
    except ValueError as error:
        raise ExportError(f"features: got {features!r}, wanted levels such as 1,2,3,4") from error


def form_of(target: str) -> str:
    """The graph form of a target of ONNX Runtime in float32; an error that says what there is instead."""
    from scarlet_zoo.deployment.targets import TARGETS, get_target

    found = get_target(target)
    if (found.runtime, found.precision) != ("ort", "float32"):
        known = [name for name, entry in TARGETS.items() if (entry.runtime, entry.precision) == ("ort", "float32")]
        raise ExportError(f"target {target!r}: not for this verb, wanted one of {' '.join(known)}")
    return found.form


def probe_folder(out: Path) -> None:
    """Refuse a folder that cannot be before minutes of work are spent, without making it."""
    try:
        nearest = next((parent for parent in (out, *out.parents) if parent.exists()), None)
    except OSError as error:
        raise ExportError(f"folder {out}: cannot be made: {error.strerror}") from error
    if nearest is not None and not nearest.is_dir():
        raise ExportError(f"folder {out}: cannot be made: {nearest} is a file")


def numbers(text: str | None) -> tuple[int, ...] | None:
    """Processors that are named with commas."""
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise ScarletError(f"affinity: got {text!r}, wanted numbers of processors with commas, such as 0,1")
    return tuple(int(part) for part in parts)
