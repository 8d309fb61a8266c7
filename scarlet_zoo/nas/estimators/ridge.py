"""Ridge regression with a strength that is chosen by leaving one row out, and its honest error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.errors import TrainingError

Array = NDArray[np.float64]
_STRENGTHS = tuple(10.0 ** (step / 2) for step in range(-4, 8))
LEAST_ROWS = 4


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """A fitted ridge regression on standardised features.

    Attributes:
        names: names of the features.
        means, scales: mean and standard deviation of each feature; a feature that was constant has scale 0.
        weights: change of the value for one standard deviation of each feature.
        intercept: the value where all features have their mean.
        strength: the strength of the penalty, in units of the standardised features' scatter.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    strength: float

    def __call__(self, row: Mapping[str, float]) -> float:
        """Return the predicted value of a row of features by name."""
        parts = zip(self.names, self.means, self.scales, self.weights, strict=True)
        return self.intercept + sum(
            weight * (row[name] - mean) / scale for name, mean, scale, weight in parts if scale > 0
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def fit_ridge(rows: Sequence[Mapping[str, float]], values: Sequence[float]) -> Ridge:
    """Fit a ridge regression to rows of features.

    Args:
        rows: the features of each row by name; all rows have the same names.
        values: what is to be predicted, one number for each row.

    Raises:
        TrainingError: fewer than :data:`LEAST_ROWS` rows.
    """
    if len(rows) < LEAST_ROWS or len(rows) != len(values):
        raise TrainingError(
            f"predictor: got {len(rows)} rows and {len(values)} values, wanted {LEAST_ROWS} or more of both"
        )
    names = tuple(rows[0])
    table = np.array([[row[name] for name in names] for row in rows], dtype=np.float64)
    target = np.asarray(values, dtype=np.float64)
    means, scales = table.mean(axis=0), table.std(axis=0)
    scales[scales < 1e-9 * np.maximum(np.abs(means), 1.0)] = 0.0
    standard = np.divide(table - means, scales, out=np.zeros_like(table), where=scales > 0)
    strength = min(_STRENGTHS, key=lambda one: float(np.square(_left_out(standard, target, one)).mean()))
    weights = _solved(standard, target - target.mean(), strength)
    return Ridge(
        names=names, means=tuple(means.tolist()), scales=tuple(scales.tolist()), weights=tuple(weights.tolist()),
        intercept=float(target.mean()), strength=strength,
    )  # fmt: skip


def _solved(standard: Array, centred: Array, strength: float) -> Array:
    scatter = standard.T @ standard + strength * np.eye(standard.shape[1])
    return np.asarray(np.linalg.solve(scatter, standard.T @ centred), dtype=np.float64)


def _left_out(standard: Array, target: Array, strength: float) -> Array:
    """The error of each row's prediction by the others, in closed form: its residual over 1 - its leverage."""
    scatter = standard.T @ standard + strength * np.eye(standard.shape[1])
    hat = standard @ np.linalg.solve(scatter, standard.T) + 1 / len(target)
    residuals: Array = target - hat @ target
    found: Array = np.divide(residuals, np.maximum(1 - np.diag(hat), 1e-9))
    return found


def held_out(rows: Sequence[Mapping[str, float]], values: Sequence[float]) -> list[float]:
    """Return a prediction of each row by a regression that has not seen it, not even to choose its strength."""
    return [fit_ridge([*rows[:i], *rows[i + 1 :]], [*values[:i], *values[i + 1 :]])(row) for i, row in enumerate(rows)]
