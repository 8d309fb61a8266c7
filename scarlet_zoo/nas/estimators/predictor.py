"""A predictor of what short trainings say, what it has learned, and how well it predicts what it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scarlet_zoo.nas.estimators.ridge import LEAST_ROWS, Ridge, fit_ridge, held_out
from scarlet_zoo.nas.estimators.traits import LOG_MACS
from scarlet_zoo.utils.agreement import kendall_tau

_RESAMPLES = 1000
_REFITS = 200
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a predictor has learned of one feature.

    Attributes:
        feature: name of the feature.
        effect: change of the predicted value for one standard deviation of the feature, all others unchanged.
        interval: 95 % interval of the effect, by refits to resampled architectures.
    """

    feature: str
    effect: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A predictor that was fitted to short trainings.

    Attributes:
        metric: what it predicts: ``loss`` or ``accuracy``.
        ridge: the regression.
        trained: number of architectures that it was fitted to.
        error: root of the mean squared error of predictions of architectures that were held out.
        error_interval: its 95 % interval over architectures.
        tau: Kendall's tau-b of these predictions with the trainings, larger values being better in both.
        tau_interval: its 95 % interval over architectures.
        macs_tau: the same for a regression on the logarithm of multiply-adds alone.
        learned: what it has learned of each feature that varied, the largest effects first.
    """

    metric: str
    ridge: Ridge
    trained: int
    error: float
    error_interval: Interval
    tau: float
    tau_interval: Interval
    macs_tau: float
    learned: tuple[Learned, ...]

    def __call__(self, row: Mapping[str, float]) -> float:
        """Return the predicted metric of an architecture with these features."""
        return self.ridge(row)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self)


def fit_predictor(
    rows: Sequence[Mapping[str, float]], values: Sequence[float], metric: str, seed: int = 0
) -> Predictor:
    """Fit a predictor to the features and the results of short trainings.

    Args:
        rows: the features of each architecture by name, see :mod:`scarlet_zoo.nas.estimators.traits`.
        values: the metric of each architecture after its training.
        metric: ``loss`` or ``accuracy``.
        seed: seed of the resampling for the intervals.

    Raises:
        TrainingError: too few architectures.
    """
    ridge = fit_ridge(rows, values)
    predicted, wanted = np.array(held_out(rows, values)), np.asarray(values, dtype=np.float64)
    by_macs = np.array(held_out([{LOG_MACS: row[LOG_MACS]} for row in rows], values))
    squares, random = np.square(predicted - wanted), np.random.default_rng(seed)
    draws = random.integers(len(wanted), size=(_RESAMPLES, len(wanted)))
    return Predictor(
        metric=metric, ridge=ridge, trained=len(wanted), error=float(np.sqrt(squares.mean())),
        error_interval=_interval([float(np.sqrt(squares[draw].mean())) for draw in draws]),
        tau=kendall_tau(predicted, wanted),
        tau_interval=_interval([kendall_tau(predicted[draw], wanted[draw]) for draw in draws]),
        macs_tau=kendall_tau(by_macs, wanted), learned=_learned(ridge, rows, values, random),
    )  # fmt: skip


def _learned(
    ridge: Ridge, rows: Sequence[Mapping[str, float]], values: Sequence[float], random: np.random.Generator
) -> tuple[Learned, ...]:
    refits: list[list[float]] = []
    while len(refits) < _REFITS:
        draw = random.integers(len(rows), size=len(rows))
        if len(set(draw.tolist())) >= LEAST_ROWS:
            again = fit_ridge([rows[i] for i in draw], [values[i] for i in draw])
            # Effects of all refits are for the standard deviation of all rows.
            refits.append([weight * (own / scale if scale > 0 else 0.0) for weight, scale, own
                           in zip(again.weights, again.scales, ridge.scales, strict=True)])  # fmt: skip
    columns = zip(ridge.names, ridge.weights, ridge.scales, np.array(refits).T.tolist(), strict=True)
    found = [Learned(feature=name, effect=weight, interval=_interval(column))
             for name, weight, scale, column in columns if scale > 0]  # fmt: skip
    return tuple(sorted(found, key=lambda one: -abs(one.effect)))


def _interval(values: Sequence[float]) -> Interval:
    low, high = np.percentile(values, (2.5, 97.5)).tolist()
    return low, high
