"""The options --max-drop and --data of --tune: float32 or int8, decided by measurement."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scarlet_zoo.cli.console import progress_bar, remark, say
from scarlet_zoo.cli.options import apply_only
from scarlet_zoo.errors import ExportError

if TYPE_CHECKING:
    from scarlet_zoo.data.preprocessing import Preprocessing
    from scarlet_zoo.graph.quantization.quantize import Int8
    from scarlet_zoo.measurement.precision_choice import PrecisionChoice

MaxDrop = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=100,
        help="With --tune: write int8 where it is faster here and loses at most so many points of top-1 on --data.",
    ),
]


def check_budget(max_drop: float | None, data: str | None, data_dir: Path | None, calibration: str | None) -> None:
    """Check that an accuracy budget has the images that it needs, and that these are not given without it.

    Raises:
        ExportError: images are missing, or would be ignored.
    """
    apply_only(max_drop is not None, "--max-drop", data=data, data_dir=None if data_dir is None else str(data_dir))
    for name, given in (("data", data), ("calibration", calibration)):
        if max_drop is not None and given is None:
            raise ExportError(f"--max-drop {max_drop:g}: got no --{name}, wanted images to measure it on")


def decide_precision(
    path: Path, max_drop: float, data: str, data_dir: Path | None, images: Callable[[], Any] | None, int8: Int8,
    preprocessing: Preprocessing | None,
) -> PrecisionChoice:  # fmt: skip
    """Decide between a float32 file and its integers, which replace it where they win; says why."""
    from scarlet_zoo.cli.quantize import remark_if_far
    from scarlet_zoo.measurement.precision_choice import Budget, choose_precision

    assert images is not None  # as check_budget has made sure
    say("int8, measured beside it")
    budget = Budget(max_drop=max_drop, data=data, data_dir=data_dir, calibration=images(), int8=int8)
    with progress_bar("measure") as progress:
        choice = choose_precision(path, budget, preprocessing, progress=progress)
    if choice.chosen == "int8":
        remark_if_far(choice.sqnr_db, None)
    remark(f"{choice.chosen} is chosen: {choice.reason}")
    return choice


def decide_for_file(
    source: Path, path: Path, max_drop: float, data: str, data_dir: Path | None, calibration: str, limit: int,
    int8: Int8, preprocessing: str | None,
) -> PrecisionChoice:  # fmt: skip
    """As :func:`decide_precision`, for a file of any exporter that was made of ``source``."""
    from scarlet_zoo.data.calibration_sets import any_calibration_images
    from scarlet_zoo.deployment.image_feed import feed_of_file

    feed = feed_of_file(source, preprocessing)
    for line in feed.remarks(source):
        remark(line)
    images = partial(any_calibration_images, calibration, feed.preprocessing, limit)
    return decide_precision(path, max_drop, data, data_dir, images, int8, feed.preprocessing)
