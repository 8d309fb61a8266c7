"""Calibrate a table: predict a network's latency from the sum of its blocks, with an interval.

A network takes less time than the sum of its blocks, because each block alone begins and ends with copies between
layouts that a network does once. The network's latency follows the sum closely, so a line suffices:
``T = offset + slope * sum``, by least squares of the relative error. The interval is that of the jackknife: each
calibration network is predicted by the line through the others, and the quantile of these relative errors is the error
to expect of a network that has not been measured. (The jackknife+ of Barber et al., 2021, moves the prediction as well;
we measure the coverage of ours instead.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.measurement.lut.table import Errors

Array = NDArray[np.float64]
COVERAGE = 0.9


@dataclass(frozen=True, slots=True)
class Line:
    """The line ``T = offset + slope * x``, in milliseconds."""

    offset: float
    slope: float

    def __call__(self, x: Array) -> Array:
        """Predicted latencies in milliseconds for values ``x``."""
        return self.offset + self.slope * x


def fit(x: Array, measured: Array) -> Line:
    """The line that minimises the sum of squares of (prediction / measured - 1)."""
    rows = np.stack([np.ones_like(x), x], axis=1) / measured[:, None]
    offset, slope = np.linalg.lstsq(rows, np.ones_like(x), rcond=None)[0]
    return Line(float(offset), float(slope))


def left_out(x: Array, measured: Array) -> Array:
    """The prediction of each network by the line through the others."""
    others = ~np.eye(len(x), dtype=bool)
    return np.array([fit(x[keep], measured[keep])(x[~keep])[0] for keep in others])


def conformal_error(measured: Array, predicted: Array, coverage: float = COVERAGE) -> float:
    """The relative error that a new network's prediction stays within, with a probability of ``coverage``.

    It is the ceil((n + 1) coverage)-th smallest of n errors, or the largest if there are too few for the coverage.
    """
    errors = np.sort(np.abs(measured / predicted - 1))
    place = min(math.ceil((len(errors) + 1) * coverage), len(errors))
    return float(errors[place - 1])


def errors_of(measured: Array, predicted: Array) -> Errors:
    """Relative errors and rank correlation of predictions."""
    apart = np.abs(predicted / measured - 1)
    return Errors(
        mean=float(apart.mean()),
        p95=float(np.quantile(apart, 0.95)),
        largest=float(apart.max()),
        spearman=spearman(measured, predicted),
    )


def spearman(one: Array, other: Array) -> float:
    """Spearman's rank correlation; equal values share their mean rank."""
    a, b = (_ranks(values) for values in (one, other))
    spread = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread else 0.0


def _ranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends: Array = np.cumsum(counts).astype(np.float64)
    return (ends - (counts - 1) / 2)[inverse]
