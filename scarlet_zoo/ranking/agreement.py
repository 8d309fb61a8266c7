"""How well one list of numbers ranks what another list ranks, and how sure one can be of it.

Kendall's tau-b (Kendall 1945) counts the pairs that two rankings order alike, with ties taken into account: 1 for
the same order, -1 for the opposite one, 0 for no relation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau

from scarlet_zoo.errors import ScarletError

Numbers = NDArray[np.float64]
_RESAMPLES, _SHARE = 2_000, 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with the bounds of its 95 % bootstrap interval (percentiles)."""

    value: float
    low: float
    high: float


def kendall_tau(one: ArrayLike, other: ArrayLike) -> float:
    """Kendall's tau-b of two lists of the same length; 0 where one of them does not tell any two apart.

    Raises:
        ScarletError: fewer than two numbers, lists of different lengths, or a number that is none.
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (one, other))
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ScarletError(f"ranking: got lists of shapes {a.shape} and {b.shape}, wanted two as long, from 2")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ScarletError("ranking: got a value that is no finite number")
    tau = float(kendalltau(a, b, variant="b").statistic)
    return tau if np.isfinite(tau) else 0.0


def top_regret(scores: ArrayLike, truth: ArrayLike, count: int = 10) -> float:
    """What is lost by looking at a ranker's first ``count`` only: the best truth minus the best one among them.

    Where scores are equal at the border, the mean over which of the tied ones are taken would need an enumeration;
    the pessimist's choice is taken instead, those with the lowest truth.
    """
    s, t = (np.asarray(values, dtype=np.float64) for values in (scores, truth))
    first = np.lexsort((t, -s))[:count]
    return float(t.max() - t[first].max())


def mean_tau(scores: Numbers, truth: ArrayLike) -> float:
    """Mean tau-b of several rankers (rankers, architectures) against one truth (architectures,)."""
    return float(np.mean([kendall_tau(row, truth) for row in np.atleast_2d(scores)]))


def tau_estimate(scores: Numbers, truth: Numbers, resamples: int = _RESAMPLES, seed: int = 0) -> Estimate:
    """Tau-b of a recipe whose rankers differ by seed, with an interval over both seeds and architectures.

    Args:
        scores: (seeds, architectures).
        truth: (architectures,) or (its seeds, architectures), which is averaged, its seeds resampled too.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    scores, truth = np.atleast_2d(scores), np.atleast_2d(truth)

    def statistic(archs: Numbers, rows: Numbers, seeds: Numbers) -> float:
        return mean_tau(scores[np.ix_(rows, archs)], truth[np.ix_(seeds, archs)].mean(axis=0))

    return _bootstrapped(statistic, (scores.shape[1], len(scores), len(truth)), resamples, seed)


def ceiling(truth: Numbers, resamples: int = _RESAMPLES, seed: int = 0) -> dict[str, Estimate]:
    """How well trainings with one seed rank those with another, and the mean of all the others.

    No ranker can be expected to do better than the second against the mean of as many seeds.

    Args:
        truth: accuracies (seeds, architectures), two seeds or more.
        resamples: of the bootstrap over architectures.
        seed: of the bootstrap.
    """
    pairs = list(combinations(range(len(truth)), 2))
    if not pairs:
        raise ScarletError("ranking: got a ground truth of one seed, wanted two to tell how well one ranks another")

    def one_another(archs: Numbers) -> float:
        return float(np.mean([kendall_tau(truth[i, archs], truth[j, archs]) for i, j in pairs]))

    def the_others(archs: Numbers) -> float:
        rest = [np.delete(truth, i, axis=0)[:, archs].mean(axis=0) for i in range(len(truth))]
        return float(np.mean([kendall_tau(truth[i, archs], others) for i, others in enumerate(rest)]))

    shape = (truth.shape[1],)
    return {"one_another": _bootstrapped(one_another, shape, resamples, seed),
            "mean_of_the_others": _bootstrapped(the_others, shape, resamples, seed)}  # fmt: skip


def _bootstrapped(statistic: Callable[..., float], sizes: tuple[int, ...], resamples: int, seed: int) -> Estimate:
    """A statistic of all indices, and between which it lies when each axis is drawn anew with replacement."""
    value = statistic(*(np.arange(size) for size in sizes))
    drawn = [statistic(*indices) for indices in _draws(sizes, resamples, np.random.default_rng(seed))]
    low, high = np.percentile(drawn, (50 * (1 - _SHARE), 50 * (1 + _SHARE)))
    return Estimate(value, float(low), float(high))


def _draws(sizes: tuple[int, ...], count: int, rng: np.random.Generator) -> Iterator[tuple[NDArray[np.int64], ...]]:
    for _ in range(count):
        # An axis of one (a ranker without seeds) has nothing to be drawn.
        yield tuple(rng.integers(size, size=size) for size in sizes)
