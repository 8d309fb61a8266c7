"""Options that several verbs share, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scarlet_zoo.errors import ExportError, ScarletError

# One name, one meaning: a flag that several verbs have is described here, once. What a verb does where it is left out
# stands in the verb's own description.
REPEATABLE = " It may be given several times."
_WEIGHTS = (
    "Weights of a named network: a file; 'random'; 'pretrained', those imported for the name, else those shipped for "
    "it, else timm's; or 'auto', the same of what this machine has, else random."
)
_OUT = "Folder to write into; it is made if it is missing."
_TARGET = "What a named network is exported for; scarlet-zoo doctor lists the targets."
_INPUT_SIZE = "Side of the input in pixels; the network's own when left out."
_CALIBRATION = "Images that int8 is calibrated on: a folder, or random."
_CALIBRATION_IMAGES = "Use so many calibration images, spread over the folder."
_DATA = "Data set: fashion-mnist, a folder with a folder for each class, torchvision:NAME or hf:NAME."
_BATCH_SIZE = "Images that go through the network at a time, over all processes."
_SPLIT = "Part of a named data set: validation, or test, which is for the end."
_MAX_IMAGES = "Use at most so many images."
_VALIDATION_IMAGES = "Score on at most so many validation images."
_BN_IMAGES = "Training images that batch norm statistics are computed on."
_THREADS = "Threads of the processor that compute; to train, 0 leaves their number to torch."
_SPACE = "A search space: its name, or its TOML file."
_STRATEGY = "One-shot strategy, see docs/strategies.md."
_SUPERNET = "A supernet.safetensors that supernet train wrote."
_PRECISION = "Numbers of the networks of a latency table: float32 or int8."
_WORKERS = "Processes that evaluate at the same time."
_LUT = "A latency table that lut build wrote."
_RUNS = "Counted runs of each network, at least."
_SECONDS = "Seconds that the counted runs of each network take together, at least."

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
Name = Annotated[str, typer.Argument(help="A registered name, an identity string, or any timm name.")]
Models = Annotated[
    list[str], typer.Argument(help="Files of any runtime; registered names, identity strings, any timm names.")
]
Weights = Annotated[str, typer.Option(help=_WEIGHTS, metavar="FILE")]
SourceWeights = Annotated[str | None, typer.Option("--weights", help=_WEIGHTS, metavar="FILE", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help=_OUT)]
OutOrNone = Annotated[Path | None, typer.Option("--out", help=_OUT)]
SaveTo = Annotated[Path, typer.Option("--save", help="File to write the result to.", metavar="FILE")]
SaveToOrNone = Annotated[Path | None, typer.Option("--save", help="File to write the result to.", metavar="FILE")]
Target = Annotated[str, typer.Option(help=_TARGET)]
Targets = Annotated[list[str] | None, typer.Option("--target", help=f"{_TARGET}{REPEATABLE}")]
Opset = Annotated[int, typer.Option(help="Version of ONNX's operators, 17 to 20.")]
Batch = Annotated[int | None, typer.Option(min=1, help="A fixed batch size for the file; dynamic when left out.")]
InputSize = Annotated[int | None, typer.Option(min=1, help=_INPUT_SIZE)]
TrainInputSize = Annotated[int | None, typer.Option("--input-size", min=8, help=_INPUT_SIZE)]
Exporter = Annotated[str, typer.Option(help="torchscript or dynamo (torch's two exporters).")]
Features = Annotated[str | None, typer.Option(help="Feature levels instead of logits: 1,2,3,4.", metavar="LEVELS")]
Pixels = Annotated[bool, typer.Option("--pixels", help="Take uint8 pictures, with the normalisation in the graph.")]
Calibration = Annotated[str | None, typer.Option(help=_CALIBRATION, metavar="FOLDER|random")]
NeededCalibration = Annotated[str, typer.Option("--calibration", help=_CALIBRATION, metavar="FOLDER|random")]
CalibrationImages = Annotated[int, typer.Option("--calibration-images", min=1, help=_CALIBRATION_IMAGES)]
Tune = Annotated[
    bool,
    typer.Option("--tune", help="Try all forms here, and keep the fastest one that is verified and to be shipped."),
]
Data = Annotated[str, typer.Option(help=_DATA)]
DataOrNone = Annotated[str | None, typer.Option("--data", help=_DATA)]
DataDir = Annotated[Path | None, typer.Option(help="Where the data is, or is to be kept.")]
Held = Annotated[int | None, typer.Option(min=1, help="Training pictures to hold out for validation.")]
Pictures = Annotated[int | None, typer.Option(min=1, help="Training pictures to use, spread evenly; all if left out.")]
Split = Annotated[str, typer.Option("--split", help=_SPLIT)]
SplitOrWhole = Annotated[str | None, typer.Option("--split", help=_SPLIT, show_default=False)]
MaxImages = Annotated[int, typer.Option("--max-images", min=1, help=_MAX_IMAGES)]
MaxImagesOrAll = Annotated[int | None, typer.Option("--max-images", min=1, help=_MAX_IMAGES)]
ValidationImages = Annotated[int, typer.Option("--validation-images", min=1, help=_VALIDATION_IMAGES)]
ValidationImagesOrAll = Annotated[int | None, typer.Option("--validation-images", min=1, help=_VALIDATION_IMAGES)]
BatchNormImagesOrUsual = Annotated[int | None, typer.Option("--bn-images", min=2, help=_BN_IMAGES)]
BatchNormImages = Annotated[int, typer.Option("--bn-images", min=2, help=_BN_IMAGES)]
BatchSize = Annotated[int, typer.Option(min=1, help=_BATCH_SIZE)]
Rate = Annotated[float, typer.Option("--lr", help="Highest learning rate.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything random.")]
Mode = Annotated[str, typer.Option(help="hot, cold (caches swept), camera (idle gaps), sustained, single-stream.")]
Affinity = Annotated[str | None, typer.Option(help="Processors that may be used, such as 0,1.", metavar="N,N")]
Threads = Annotated[int, typer.Option("--threads", min=1, help=_THREADS)]
ThreadsOrAny = Annotated[int | None, typer.Option("--threads", min=1, help=_THREADS)]
TorchThreads = Annotated[int, typer.Option("--threads", min=0, help=_THREADS)]
Spin = Annotated[bool, typer.Option(help="Let idle threads spin.")]
Runs = Annotated[int, typer.Option("--runs", min=20, help=_RUNS)]
RunsOrMode = Annotated[int | None, typer.Option("--runs", help=_RUNS)]
Seconds = Annotated[float, typer.Option("--seconds", min=0.1, help=_SECONDS)]
SecondsOrMode = Annotated[float | None, typer.Option("--seconds", help=_SECONDS)]
Serial = Annotated[str | None, typer.Option("--adb", help="Serial number of a phone on a cable.", metavar="SERIAL")]
Space = Annotated[str, typer.Option("--space", help=_SPACE, metavar="NAME|FILE.toml")]
SpaceOrNone = Annotated[str | None, typer.Option("--space", help=_SPACE, metavar="NAME|FILE.toml")]
StrategyOrNone = Annotated[str | None, typer.Option("--strategy", help=_STRATEGY)]
SupernetFile = Annotated[Path | None, typer.Option("--supernet", help=_SUPERNET, metavar="FILE")]
Workers = Annotated[int, typer.Option("--workers", min=1, help=_WORKERS)]
WorkersOrNone = Annotated[int | None, typer.Option("--workers", min=1, help=_WORKERS)]
LutFile = Annotated[Path, typer.Option("--lut", help=_LUT, metavar="FILE")]
LutFileOrNone = Annotated[Path | None, typer.Option("--lut", help=_LUT, metavar="FILE")]
TablePrecision = Annotated[str, typer.Option("--precision", help=_PRECISION)]
TablePrecisionOrAny = Annotated[str | None, typer.Option("--precision", help=_PRECISION)]
Networks = Annotated[int, typer.Option(min=8, help="Random networks that a latency table is calibrated on.")]
HeldOut = Annotated[int, typer.Option(min=4, help="Other random networks, which tell the error of a latency table.")]
Sittings = Annotated[int, typer.Option(min=2, help="Rounds through all files of a latency table.")]


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
