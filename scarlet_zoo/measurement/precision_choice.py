"""Choose between float32 and int8 by measurement: the faster file, as long as it loses no more than is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ExportError
from scarlet_zoo.graph.quantization.quantize import Int8, quantize_int8
from scarlet_zoo.inference.accuracy import validate
from scarlet_zoo.inference.load import load
from scarlet_zoo.latency import Settings, measure
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.ownership import folder_beside

_Z = NormalDist().inv_cdf(0.975)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What int8 may cost.

    Attributes:
        max_drop: largest loss of top-1 accuracy, in percentage points.
        data: labelled images that the loss is measured on, as for :func:`scarlet_zoo.inference.accuracy.validate`.
        calibration: prepared images that the integers are calibrated on, float32 (N, C, H, W).
        int8: settings of the quantisation.
        data_dir: folder of a data set by name.

    Raises:
        ExportError: the loss is negative or no number.
    """

    max_drop: float
    data: str | Path
    calibration: NDArray[np.float32]
    int8: Int8 | None = None
    data_dir: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 100:
            raise ExportError(f"max-drop: got {self.max_drop}, wanted 0 to 100 percentage points")


@dataclass(frozen=True)
class PrecisionChoice:
    """Which precision was chosen, and why.

    Attributes:
        chosen: ``float32`` or ``int8``.
        reason: why, in one sentence.
        ratio: median latency of the int8 file over that of the float32 file, in one interleaved run.
        sqnr_db: SQNR of the int8 file, in dB.
        float_top1, int8_top1: accuracies of both in percent; None where int8 was not faster.
        drop: the difference in percentage points.
        interval: its 95 % interval over the images, paired (Agresti and Min, Statistics in Medicine 24, 2005).
        images: number of labelled images.
        records: the records of both measurements, float32 first.
    """

    chosen: str
    reason: str
    ratio: float
    sqnr_db: float
    float_top1: float | None
    int8_top1: float | None
    drop: float | None
    interval: tuple[float, float] | None
    images: int
    records: tuple[dict[str, Any], dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def choose_precision(
    path: Path,
    budget: Budget,
    preprocessing: Preprocessing | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> PrecisionChoice:
    """Replace a float32 file by its int8 file if that is faster here and accurate enough; writes NAME.precision.json.

    Args:
        path: the float32 file; it holds the chosen one afterwards.
        budget: what int8 may cost.
        preprocessing: how images are prepared; as the file says when left out.
        settings: how to measure.
        progress: called with (done, expected) during calibration and measurement.

    Raises:
        ExportError, ArtifactError: the file cannot be quantised.
        DatasetError: the labelled images cannot be used.
    """
    with folder_beside(path) as temporary:
        integers = temporary / path.name
        made = quantize_int8(path, integers, budget.calibration, budget.int8, progress, preprocessing=preprocessing)
        slow, fast = measure([path, integers], settings, progress)
        timed = (("float32", slow), ("int8", fast))
        records = tuple({**timing.to_dict(), "file": f"{name}.onnx"} for name, timing in timed)
        ratio = fast.p50_ms / slow.p50_ms
        rights: list[NDArray[np.bool_]] = []
        if ratio < 1:
            rights = [_right(file, budget, preprocessing) for file in (path, integers)]
        choice = _choice(ratio, made.sqnr_db, rights, budget.max_drop, (records[0], records[1]))
        if choice.chosen == "int8":
            integers.replace(path)
    write_text(path.with_suffix(".precision.json"), json_text(choice.to_dict(), indent=1) + "\n")
    return choice


def _right(file: Path, budget: Budget, preprocessing: Preprocessing | None) -> NDArray[np.bool_]:
    """Whether each labelled image is classified right, in their order."""
    seen: list[bool] = []
    validate(load(file, preprocessing=preprocessing), budget.data, data_dir=budget.data_dir, each=seen.append)
    return np.array(seen)


def _choice(
    ratio: float, sqnr_db: float, rights: Sequence[NDArray[np.bool_]], max_drop: float,
    records: tuple[dict[str, Any], dict[str, Any]],
) -> PrecisionChoice:  # fmt: skip
    if not rights:
        reason = f"int8 is not faster on this processor: it takes {ratio:.2f} times as long"
        return PrecisionChoice("float32", reason, ratio, sqnr_db, None, None, None, None, 0, records)
    before, after = rights
    drop, interval = paired_drop(before, after)
    chosen = "int8" if drop <= max_drop else "float32"
    within = "at most" if chosen == "int8" else "more than"
    reason = (f"int8 takes {ratio:.2f} of the time and loses {drop:.2f} points of top-1 on {len(before):,} images "
              f"(95 % interval {interval[0]:.2f} to {interval[1]:.2f}), {within} the {max_drop:g} allowed")  # fmt: skip
    return PrecisionChoice(chosen, reason, ratio, sqnr_db, 100 * float(before.mean()), 100 * float(after.mean()), drop,
                           interval, len(before), records)  # fmt: skip


def paired_drop(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, tuple[float, float]]:
    """The loss of accuracy in percentage points, and its 95 % interval.

    The interval is Wald's for paired proportions with half an image added to each cell of the table of two by two
    (Agresti and Min, Statistics in Medicine 24, 2005).

    Args:
        before, after: whether each image was classified right, (N,), in the same order.
    """
    lost, gained, images = int((before & ~after).sum()), int((~before & after).sum()), len(before)
    more, fewer, count = lost + 0.5, gained + 0.5, images + 2.0
    centre = (more - fewer) / count
    half = _Z * math.sqrt(more + fewer - (more - fewer) ** 2 / count) / count
    return 100 * (lost - gained) / images, (100 * (centre - half), 100 * (centre + half))
