"""Options that several verbs share, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scarlet_zoo.cli import at_once
from scarlet_zoo.errors import ExportError, ScarletError
from scarlet_zoo.utils.names import check_file_name
from scarlet_zoo.utils.reading import whole_number

_MOST_SIDE = 16_384  # pixels
_MOST_CORES = 4096


def size_in_pixels(text: object) -> int | tuple[int, int]:
    """Read a side in pixels, or height and width such as ``96x128``."""
    sides = [whole_number(side) for side in str(text).lower().split("x")]
    if len(sides) not in (1, 2) or not all(side is not None and 0 < side <= _MOST_SIDE for side in sides):
        raise typer.BadParameter(f"{text!r} is not a side in pixels, or height and width such as 96x128.")
    height, width = int(sides[0] or 0), int(sides[-1] or 0)
    return height if len(sides) == 1 else (height, width)


# A flag that several verbs share has one meaning and is described once, here. The verb's own description says what the
# verb does when the flag is left out.
REPEATABLE = " It may be given several times."
_WEIGHTS = (
    "Weights of a named network: a file; 'random'; 'pretrained' (imported for the name, else shipped with this "
    "package, else downloaded by timm); or 'auto' (the same, but random for a network that has no pretrained ones)."
)
_OUT = "Folder to write into; created if it is missing."
_TARGET = "Deployment target to write the network for; 'scarlet-zoo doctor' lists the targets."
_INPUT_SIZE = (
    "Side of the input image in pixels, or height and width such as 96x128; the network's or the weights' own when "
    "left out."
)
_CALIBRATION = (
    "Images to calibrate int8 on, or to look for values too large for fp16 on: a folder, a list of images, the name of "
    "a data set, or 'random' for noise, which gives no realistic ranges."
)
_CALIBRATION_IMAGES = "Number of calibration images to use, spread over the folder."
_PREPROCESSING = (
    "How images are prepared: imagenet or inception (their mean and deviation), settings such as "
    "size=224,mean=0.5/0.5/0.5,std=0.5/0.5/0.5,interpolation=bicubic,crop=0.875, or a JSON file with timm's data "
    "configuration; what is left out is the network's own."
)
_RANGES = "Method that chooses the ranges of int8: auto, minmax, percentile or mse."
_DATA = (
    "Data set: fashion-mnist, torchvision:NAME, hf:NAME, a folder with one subfolder for each class, or a list of "
    "images (CSV or JSON with path and label)."
)
BATCH_SIZE = "Number of images in a batch, summed over all processes."
_SPLIT = "Part of the data set: validation, or test, which is meant for the final evaluation only."
_MAX_IMAGES = "Largest number of images to use."
_VALIDATION_IMAGES = "Largest number of validation images to score on."
_BN_IMAGES = "Number of training images to compute batch norm statistics on (precise BN)."
_THREADS = "Number of processor threads that compute; for training, 0 leaves the number to torch."
_SPACE = "Search space: the name of a built-in one, or the TOML file of your own (docs/spaces.md)."
_STRATEGY = "One-shot strategy; docs/strategies.md describes all of them."
_SUPERNET = "Supernet file that 'supernet train' wrote (supernet.safetensors)."
_PRECISION = (
    "Precision of weights and arithmetic: float32 or int8; of an exported file also fp16, and bf16 for openvino. The "
    "target's own when left out; float32 for a latency table."
)
_WORKERS = "Number of processes that evaluate in parallel."
_LUT = "Latency table that 'lut build' wrote."
_RUNS = "Smallest number of timed runs for each network."
_SECONDS = "Smallest total duration of the timed runs of each network, in seconds."

_PROVIDER = (
    "Execution provider of ONNX Runtime for ONNX files: CPU (the usual one), XNNPACK, CoreML, QNN, CUDA or another; "
    "options of its own may follow, as in CUDA:device_id=1."
)
_SHAPE = (
    "Shape of an input of an ONNX file, needed where sides other than the batch are dynamic; with several such inputs "
    "written NAME=N,N."
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
Name = Annotated[
    str,
    typer.Argument(
        help="Network: a registered name, an identity string, any timm name, or a safetensors file that states its "
        "network."
    ),
]
Models = Annotated[
    list[str],
    typer.Argument(help="Model files of any runtime, or networks: registered names, identity strings, timm names."),
]
Weights = Annotated[str, typer.Option(help=_WEIGHTS, metavar="FILE", callback=at_once.weights)]
SourceWeights = Annotated[
    str | None,
    typer.Option("--weights", help=_WEIGHTS, metavar="FILE", show_default=False, callback=at_once.weights),
]
NumClasses = Annotated[
    int | None,
    typer.Option("--num-classes", min=0, help="Classes of a named network; those of its weights when left out."),
]
InChans = Annotated[
    int | None,
    typer.Option("--in-chans", min=1, help="Input channels of a named network; those of its weights when left out."),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="File of class names in the order of the logits: one a line, a JSON list, or JSON {index: name}.",
        metavar="FILE",
        callback=at_once.labels,
    ),
]
FileName = Annotated[
    str | None,
    typer.Option("--name", help="Name of the file to write, without its ending; its usual name when left out."),
]
Out = Annotated[Path, typer.Option("--out", help=_OUT)]
OutOrNone = Annotated[Path | None, typer.Option("--out", help=_OUT)]
SaveTo = Annotated[Path, typer.Option("--save", help="File to write the result to.", metavar="FILE")]
SaveToOrNone = Annotated[Path | None, typer.Option("--save", help="File to write the result to.", metavar="FILE")]
Target = Annotated[str, typer.Option(help=_TARGET, callback=at_once.target)]
Targets = Annotated[list[str] | None, typer.Option("--target", help=f"{_TARGET}{REPEATABLE}", callback=at_once.targets)]
Opset = Annotated[int, typer.Option(help="ONNX opset version, 17 to 20.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Fixed batch size of the file; dynamic when left out.")]
InputSize = Annotated[
    Any, typer.Option("--input-size", parser=size_in_pixels, help=_INPUT_SIZE, metavar="N|NxN", show_default=False)
]
Exporter = Annotated[str, typer.Option(help="Which of torch's two exporters to use: torchscript or dynamo.")]
Features = Annotated[
    str | None,
    typer.Option(help="Feature levels to output instead of logits, such as 1,2,3,4.", metavar="LEVELS"),
]
Pixels = Annotated[
    bool, typer.Option("--pixels", help="Make a file that takes uint8 images; normalisation is part of its graph.")
]
Calibration = Annotated[
    str | None, typer.Option(help=_CALIBRATION, metavar="FOLDER|random", callback=at_once.calibration)
]
NeededCalibration = Annotated[
    str, typer.Option("--calibration", help=_CALIBRATION, metavar="FOLDER|random", callback=at_once.calibration)
]
CalibrationImagesOrUsual = Annotated[int | None, typer.Option("--calibration-images", min=1, help=_CALIBRATION_IMAGES)]
CalibrationImages = Annotated[int, typer.Option("--calibration-images", min=1, help=_CALIBRATION_IMAGES)]
PreprocessingOrOwn = Annotated[
    str | None, typer.Option("--preprocessing", help=_PREPROCESSING, metavar="SETTINGS|FILE")
]
Plot = Annotated[
    Path | None, typer.Option("--plot", help="File to draw the result to, as .png or .svg.", metavar="FILE")
]
Isa = Annotated[
    str | None,
    typer.Option(
        help="Instruction set that int8 is for: arm64 (phones), x64-vnni, x64-avx2 (weights of 7 bits) or x64 (8 bits, "
        "slow); this machine's when left out."
    ),
]
KeepFloat = Annotated[
    list[str] | None,
    typer.Option(help="Node to leave in float in an int8 file. It may be given several times.", metavar="NODE"),
]
_LEAST_SQNR = "SQNR in dB below which the layers of an int8 file that lose most stay in float (25); 0 for none."
LeastSqnr = Annotated[float | None, typer.Option("--least-sqnr", min=0, help=_LEAST_SQNR, metavar="DB")]
RangesOrAuto = Annotated[str | None, typer.Option("--ranges", help=_RANGES)]
Tune = Annotated[
    bool,
    typer.Option("--tune", help="Time all graph variants on this machine and write the fastest verified one."),
]
Shapes = Annotated[list[str] | None, typer.Option("--shape", help=f"{_SHAPE}{REPEATABLE}", metavar="N,N")]
Force = Annotated[bool, typer.Option("--force", help="Write even over the file that is read.")]
Data = Annotated[str, typer.Option(help=_DATA)]
DataOrNone = Annotated[str | None, typer.Option("--data", help=_DATA)]
DataDir = Annotated[Path | None, typer.Option(help="Folder where the data set is, or where a download is stored.")]
Held = Annotated[int | None, typer.Option(min=1, help="Number of training images to set aside for validation.")]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken", help="Leave out image files that cannot be read, instead of refusing them.")
]
ValidationData = Annotated[
    Path | None,
    typer.Option(
        "--validation-data",
        help="Folder of your own validation images, with one subfolder for each class or for some; no training images "
        "are then set aside.",
        metavar="FOLDER",
    ),
]
Pictures = Annotated[
    int | None,
    typer.Option(min=1, help="Number of training images to use, spread evenly over the data; all when left out."),
]
Split = Annotated[str, typer.Option("--split", help=_SPLIT)]
SplitOrWhole = Annotated[str | None, typer.Option("--split", help=_SPLIT, show_default=False)]
MaxImages = Annotated[int, typer.Option("--max-images", min=1, help=_MAX_IMAGES)]
MaxImagesOrAll = Annotated[int | None, typer.Option("--max-images", min=1, help=_MAX_IMAGES)]
ValidationImages = Annotated[int, typer.Option("--validation-images", min=1, help=_VALIDATION_IMAGES)]
ValidationImagesOrAll = Annotated[int | None, typer.Option("--validation-images", min=1, help=_VALIDATION_IMAGES)]
BatchNormImagesOrUsual = Annotated[int | None, typer.Option("--bn-images", min=2, help=_BN_IMAGES)]
BatchNormImages = Annotated[int, typer.Option("--bn-images", min=2, help=_BN_IMAGES)]
BatchSize = Annotated[int, typer.Option(min=1, help=BATCH_SIZE)]
Rate = Annotated[float, typer.Option("--lr", help="Peak learning rate.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")]
Mode = Annotated[
    str,
    typer.Option(
        help="How runs are timed: hot (back to back), cold (caches swept before each run), camera (idle until the next "
        "frame), sustained (until latency and temperature have settled), or single-stream (MLPerf's scheme)."
    ),
]
Affinity = Annotated[str | None, typer.Option(help="Processor cores that may be used, such as 0,1.", metavar="N,N")]
Threads = Annotated[int, typer.Option("--threads", min=1, help=_THREADS)]
ThreadsOrAny = Annotated[int | None, typer.Option("--threads", min=1, help=_THREADS)]
TorchThreads = Annotated[int, typer.Option("--threads", min=0, help=_THREADS)]
ProviderOrCpu = Annotated[
    str | None, typer.Option("--provider", help=_PROVIDER, metavar="NAME[:KEY=VALUE,...]", show_default=False)
]
Spin = Annotated[bool, typer.Option(help="Let idle threads spin (busy-wait), which is faster and uses more power.")]
Runs = Annotated[int, typer.Option("--runs", min=20, help=_RUNS)]
RunsOrMode = Annotated[int | None, typer.Option("--runs", help=_RUNS)]
Seconds = Annotated[float, typer.Option("--seconds", min=0.1, help=_SECONDS)]
SecondsOrMode = Annotated[float | None, typer.Option("--seconds", help=_SECONDS)]
Serial = Annotated[
    str | None, typer.Option("--adb", help="Serial number of an Android phone that adb knows.", metavar="SERIAL")
]
Space = Annotated[str, typer.Option("--space", help=_SPACE, metavar="NAME|FILE.toml")]
SpaceOrNone = Annotated[str | None, typer.Option("--space", help=_SPACE, metavar="NAME|FILE.toml")]
StrategyOrNone = Annotated[str | None, typer.Option("--strategy", help=_STRATEGY)]
SupernetFile = Annotated[Path | None, typer.Option("--supernet", help=_SUPERNET, metavar="FILE")]
Workers = Annotated[int, typer.Option("--workers", min=1, help=_WORKERS)]
WorkersOrNone = Annotated[int | None, typer.Option("--workers", min=1, help=_WORKERS)]
LutFile = Annotated[Path, typer.Option("--lut", help=_LUT, metavar="FILE")]
LutFileOrNone = Annotated[Path | None, typer.Option("--lut", help=_LUT, metavar="FILE")]
Precision = Annotated[str | None, typer.Option("--precision", help=_PRECISION, show_default=False)]
KeepIo = Annotated[bool, typer.Option("--keep-io", help="Keep the input and the output of an fp16 ONNX file float32.")]
TablePrecision = Annotated[str, typer.Option("--precision", help=_PRECISION)]
TablePrecisionOrAny = Annotated[str | None, typer.Option("--precision", help=_PRECISION)]
Networks = Annotated[int, typer.Option(min=8, help="Number of random networks that a latency table is calibrated on.")]
HeldOut = Annotated[
    int, typer.Option(min=4, help="Number of other random networks that the error of a latency table is measured on.")
]
Rounds = Annotated[int, typer.Option(min=2, help="Number of measurement rounds through all files of a latency table.")]


def apply_only(condition: bool, when: str, **given: object) -> None:
    """Refuse options that would have no effect, rather than ignore them.

    Args:
        condition: whether the options have an effect.
        when: what the options are for, as the error's last words.
        given: values of the options by name; None for an option that was left out.

    Raises:
        ScarletError: an option was given that would have no effect; the message names it.
    """
    for name, value in given.items():
        if not condition and value is not None:
            raise ScarletError(f"--{name.replace('_', '-')} {value}: would be ignored, it only applies to {when}")


def labels_in(file: Path | None) -> tuple[str, ...] | None:
    """Read the class names of ``--labels``; None stays None."""
    from scarlet_zoo.data.labels import read_labels

    return None if file is None else read_labels(file)


def path_of(out: Path, name: str | None, suffix: str) -> Path | None:
    """Return the path of a file that ``--name`` names; None where it is left out.

    Args:
        out: the file's folder.
        name: the name, with or without the ending.
        suffix: the ending.

    Raises:
        ScarletError: the name is none for a file.
    """
    if name is None:
        return None
    return out / f"{check_file_name(name.removesuffix(suffix), '--name')}{suffix}"


def levels_of(features: str | None) -> tuple[int, ...] | None:
    """Parse feature levels such as ``1,2,3,4``; None stays None."""
    if features is None:
        return None
    levels = [whole_number(level) for level in features.split(",")]
    if None in levels:
        raise ExportError(f"features: got {features!r}, wanted levels such as 1,2,3,4")
    return tuple(level for level in levels if level is not None)


def probe_folder(out: Path) -> None:
    """Raise ExportError early if a folder cannot be created; creates nothing."""
    try:
        nearest = next((parent for parent in (out, *out.parents) if parent.exists()), None)
    except OSError as error:
        raise ExportError(f"folder {out}: cannot be created: {error.strerror}") from error
    if nearest is not None and not nearest.is_dir():
        raise ExportError(f"folder {out}: cannot be created: {nearest} is a file")


def named_file(name: str | None, usual: str) -> str:
    """The name of a file to write with --name, which gets the ending of the usual one; the usual one without --name.

    Raises:
        ScarletError: the name is none for a file.
    """
    if name is None:
        return usual
    ending = Path(usual).suffix
    return f"{check_file_name(name.removesuffix(ending), '--name')}{ending}"


def numbers(text: str | None) -> tuple[int, ...] | None:
    """Parse processor numbers such as ``0,1``; None stays None."""
    if text is None:
        return None
    found = [whole_number(part) for part in text.split(",")]
    if any(number is None or number > _MOST_CORES for number in found):
        raise ScarletError(f"affinity: got {text!r}, wanted processor numbers separated by commas, such as 0,1")
    return tuple(number for number in found if number is not None)
