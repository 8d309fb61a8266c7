"""Judge one output against another: by how much it may differ, given how much the reference itself is uncertain.

A reference is uncertain by its own rounding: what it answers when its operators are rounded in another way, or when its
input moves by less than anyone could notice. Where the reference moves as much, a difference is no fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.deployment.parity import CaseParity, Parity, Tolerance

Rows = NDArray[np.float64]
# How far below the reference's own SQNR a file's may lie, in dB: a factor of 10 in the error, as rounding_factor.
_SQNR_MARGIN_DB = 20.0
_TIE = 10.0


@dataclass(frozen=True, slots=True)
class Rounding:
    """How much a reference differs from itself on the same images.

    Attributes:
        rel_err: largest difference, relative to the spread of the outputs between images.
        sqnr_db: signal to noise ratio of the differences, in dB.
    """

    rel_err: float
    sqnr_db: float


def spread_of(truth: Rows) -> float:
    """Standard deviation between images of outputs (N, values); of a single image its largest value, else 1."""
    if not truth.size:
        return 1.0
    finite = np.where(np.isfinite(truth), truth, 0.0)
    return float(np.mean(np.var(finite, axis=0))) ** 0.5 or float(np.abs(finite).max(initial=0.0)) or 1.0


def error_of(got: Rows, truth: Rows) -> Rows:
    """Absolute differences; 0 where both hold the same infinite value or both no number."""
    with np.errstate(invalid="ignore"):
        same = (got == truth) | (np.isnan(got) & np.isnan(truth))
        return np.where(same, 0.0, np.abs(got - truth))


def rounding_of(truth: Rows, others: Sequence[Rows], spread: float) -> Rounding:
    """The rounding of a reference whose outputs are ``truth`` from other answers of it for the same images."""
    # Answers that overflow are as far away as can be.
    errors = [np.nan_to_num(error_of(other, truth), nan=np.inf, posinf=np.inf) for other in others]
    worst = max(float(error.max(initial=0.0)) for error in errors)
    return Rounding(worst / spread, min(sqnr_of(error, spread) for error in errors))


def sqnr_of(error: Rows, spread: float) -> float:
    """Signal to noise ratio in dB: 10 log10 of the variance between images over the mean squared error."""
    noise = float(np.mean(error**2)) if error.size else 0.0
    if not np.isfinite(noise):
        return float("-inf")
    return float(10 * np.log10(spread**2 / noise)) if noise > 0 else float("inf")


def sqnr_limit(tolerance: Tolerance, rounding: Rounding | None) -> float:
    """The lowest allowed SQNR in dB: the tolerance's, or less where the reference itself has less."""
    own = float("inf") if rounding is None else rounding.sqnr_db
    return min(tolerance.min_sqnr_db, own - _SQNR_MARGIN_DB)


def case_of(
    name: str,
    got: Rows,
    truth: Rows,
    spread: float,
    limit: float,
    *,
    logits: bool,
    rounding: Rounding | None = None,
    min_sqnr_db: float | None = None,
) -> CaseParity:
    """Compare outputs (N, values) of a file with those of its reference.

    Args:
        name: the images, the batch size and the output.
        got, truth: the file's and the reference's outputs.
        spread: from :func:`spread_of`.
        limit: the largest error allowed, relative to the spread.
        logits: whether the largest value names a class.
        rounding: the reference's own rounding, where it is known. Classes whose values differ by no more than ten
            times as much count as one class.
        min_sqnr_db: the lowest SQNR allowed; None where it is not judged.
    """
    error = error_of(got, truth)
    worst = float(error.max(initial=0.0)) if np.isfinite(error).all() else float("inf")
    # A feature map has no top class.
    agree = 1.0
    if logits:
        chosen = np.take_along_axis(truth, got.argmax(1)[:, None], 1)[:, 0]
        tie = _TIE * rounding.rel_err * spread if rounding is not None else 0.0
        with np.errstate(invalid="ignore"):  # two infinite values have no difference
            near = truth.max(1) - chosen <= tie
        agree = float(np.mean((truth.argmax(1) == got.argmax(1)) | near))
    return CaseParity(name, len(got), worst, worst / spread, sqnr_of(error, spread), agree, limit, min_sqnr_db)


def summarise(cases: Sequence[CaseParity], tolerance: Tolerance) -> Parity:
    """The parity of all cases; its first numbers are the worst of the first case's images."""
    headline = [case for case in cases if case.case.startswith(cases[0].case.partition(",")[0])]
    parity = Parity(
        max_abs_err=max(case.max_abs_err for case in headline),
        max_rel_err=max(case.max_rel_err for case in headline),
        sqnr_db=min(case.sqnr_db for case in headline),
        top1_agreement=min(case.top1_agreement for case in headline),
        passed=True,
        tolerance=tolerance,
        cases=tuple(cases),
    )
    return replace(parity, passed=not parity.failures())
