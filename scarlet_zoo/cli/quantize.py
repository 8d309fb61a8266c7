"""The verb optimize for int8 targets: quantise a file of any exporter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, progress_bar, remark
from scarlet_zoo.cli.exported_rows import int8_rows
from scarlet_zoo.deployment.image_feed import feed_of_file
from scarlet_zoo.deployment.int8_speed import far_from_float_line, int8_file_lines, mostly_float_line
from scarlet_zoo.deployment.quantize_file import quantize_file
from scarlet_zoo.errors import ExportError
from scarlet_zoo.graph.quantization.quantize import LEAST_SQNR_DB, Int8, Quantized


def int8_of(isa: str | None, ranges: str | None, keep_float: Sequence[str] | None, least_sqnr: float | None) -> Int8:
    """The settings of a quantisation that the options give; what is left out has its default."""
    least = LEAST_SQNR_DB if least_sqnr is None else least_sqnr
    return Int8(isa=isa, method=ranges or "auto", keep_float=tuple(keep_float or ()), least_sqnr_db=least)


def tell_of_int8(made: Quantized, how: Int8) -> None:
    """Print what a user should know of an integer file: whether it is close to the float one, and fast here."""
    remark_if_far(made.sqnr_db, made.top1_agreement)
    if (mostly := mostly_float_line(made)) is not None:
        remark(mostly)
    for line in int8_file_lines(how.isa):
        remark(line)


def remark_if_far(sqnr_db: float, top1_agreement: float | None) -> None:
    """Print what to try where an integer file's outputs are far from the float ones."""
    far = far_from_float_line(sqnr_db, top1_agreement)
    if far is not None:
        remark(far)


def quantize_to(
    file: Path, path: Path, target: str, how: Int8, calibration: str | None, images: int, preprocessing: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Write the integer file of a float file, and report how far its outputs are from the float ones.

    Args:
        file: the float file.
        path: where to write the integer file.
        target: name of the target.
        how: settings of the quantisation.
        calibration: folder of images, or ``random``.
        images: largest number of images to use.
        preprocessing: what the user says about it.
        as_json: whether to print JSON.

    Raises:
        ExportError: there is no calibration.
        CheckFailedError: the integer outputs are far from the float ones.
    """
    if calibration is None:
        raise ExportError(f"target {target}: got no --calibration, wanted a folder of images, or random")
    feed = feed_of_file(file, preprocessing)
    for line in feed.remarks(file):
        remark(line)
    with progress_bar("calibrate") as progress:
        made = quantize_file(file, path, feed, calibration, how, limit=images, progress=progress)
    tell_of_int8(made.quantized, how)
    if made.quantized.judged_on == "calibration":
        remark(f"{path}: there are too few images to set some aside, so it is verified on those of its calibration")

    def render(console: Console) -> None:
        console.print(pairs([
            ("path", str(path)), ("target", target),
            ("preprocessing", f"{feed.preprocessing.to_json()} ({feed.origin})"), *int8_rows(made.quantized),
        ], title=str(file)))  # fmt: skip

    emit(as_json, {**made.to_dict(), "target": target}, render)
