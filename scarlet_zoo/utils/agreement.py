"""Rank correlations between lists of numbers, with bootstrap intervals.

Kendall's tau-b (Kendall 1945) counts the pairs that two rankings order alike, with ties taken into account: 1 for
the same order, -1 for the opposite one, 0 for no relation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scarlet_zoo.errors import ScarletError

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
Statistic = Callable[..., float]
RESAMPLES, _SHARE = 2_000, 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with the bounds of its 95 % bootstrap interval (percentiles)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A number and its values under a bootstrap, (resamples,)."""

    value: float
    drawn: Numbers

    def __sub__(self, other: Sample) -> Sample:
        """Return the difference of two numbers under the same bootstrap."""
        return Sample(self.value - other.value, self.drawn - other.drawn)

    def estimate(self) -> Estimate:
        """Return the number with its interval."""
        low, high = np.percentile(self.drawn, (50 * (1 - _SHARE), 50 * (1 + _SHARE)))
        return Estimate(self.value, float(low), float(high))


def kendall_tau(one: ArrayLike, other: ArrayLike) -> float:
    """Kendall's tau-b of two lists of the same length; 0 where all numbers of one list are equal.

    Raises:
        ScarletError: fewer than two numbers, lists of different lengths, or a number that is not finite.
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (one, other))
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ScarletError(
            f"ranking: got lists of shapes {a.shape} and {b.shape}, wanted two of the same length, 2 or more"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ScarletError("ranking: got a value that is not a finite number")
    # Over all pairs: for lists of a hundred this is several times faster than scipy, and a bootstrap calls it often.
    one_signs, other_signs = (np.sign(values[:, None] - values) for values in (a, b))
    apart = float((one_signs**2).sum() * (other_signs**2).sum())
    return float((one_signs * other_signs).sum() / np.sqrt(apart)) if apart else 0.0


def partial_tau(scores: ArrayLike, truth: ArrayLike, beside: ArrayLike) -> float:
    """Kendall's partial rank correlation: the agreement of scores and truth beyond a third list of numbers.

    tau(s, t | b) = (tau(s, t) - tau(s, b) tau(t, b)) / sqrt((1 - tau(s, b)^2) (1 - tau(t, b)^2)) (Kendall 1942), with
    tau-b for tau; 0 where scores or truth have the same order as the third list, or the opposite one.

    Raises:
        ScarletError: as :func:`kendall_tau`.
    """
    with_truth, own, its = kendall_tau(scores, truth), kendall_tau(scores, beside), kendall_tau(truth, beside)
    left = (1 - own**2) * (1 - its**2)
    return float((with_truth - own * its) / np.sqrt(left)) if left > 1e-12 else 0.0


def top_regret(scores: ArrayLike, truth: ArrayLike, count: int = 10) -> float:
    """The best truth of all minus the best truth among the ``count`` architectures that a ranker puts first.

    Among equal scores at the border, those with the lowest truth are taken, so that the regret is not too low.
    """
    s, t = (np.asarray(values, dtype=np.float64) for values in (scores, truth))
    first = np.lexsort((t, -s))[:count]
    return float(t.max() - t[first].max())


def resampled(statistic: Statistic, rankers: Sequence[Numbers], truth: Numbers, resamples: int = RESAMPLES,
              seed: int = 0, beside: Sequence[Numbers] = ()) -> list[Sample]:  # fmt: skip
    """Compute a statistic of each recipe, as it is and under one bootstrap that all recipes share.

    Architectures and the seeds of the truth are drawn once for all recipes, so that their differences can be judged
    pairwise. The seeds of each recipe's rankers are drawn separately.

    Args:
        statistic: function of one ranker's scores, the truth, and each list of ``beside``, all (architectures,).
        rankers: for each recipe, scores (seeds, architectures); the statistic is averaged over the seeds.
        truth: (architectures,), or (seeds, architectures), which is averaged over its seeds.
        resamples: number of resamples of the bootstrap.
        seed: seed of the bootstrap.
        beside: further lists of numbers, (architectures,) each.

    Returns:
        The statistic of each recipe, in the order of ``rankers``.
    """
    truth, recipes = np.atleast_2d(truth), [np.atleast_2d(scores) for scores in rankers]

    def means(archs: Indices, seeds: Indices, rows: Sequence[Indices]) -> list[float]:
        known = (truth[np.ix_(seeds, archs)].mean(axis=0), *(other[archs] for other in beside))
        return [float(np.mean([statistic(scores[row, archs], *known) for row in chosen]))
                for scores, chosen in zip(recipes, rows, strict=True)]  # fmt: skip

    sizes = (truth.shape[1], len(truth), *map(len, recipes))
    values = means(np.arange(sizes[0]), np.arange(sizes[1]), [np.arange(size) for size in sizes[2:]])
    drawn = [means(archs, seeds, rows) for archs, seeds, *rows in _draws(sizes, resamples, seed)]
    columns = np.array(drawn).reshape(resamples, len(recipes)).T
    return [Sample(value, column) for value, column in zip(values, columns, strict=True)]


def ceiling(truth: Numbers, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Estimate]:
    """Estimate how well one training ranks another one, and the highest tau that a ranker can reach.

    A ranker that knew the expected accuracies would still differ from the mean of a few trainings. For normal values,
    the share r of the variance of the means that is not noise is their squared correlation with the expected values,
    and tau = 2 / pi * arcsin(sqrt(r)) (Kruskal 1958).

    Args:
        truth: accuracies (seeds, architectures), two seeds or more.
        resamples: number of resamples of the bootstrap over architectures.
        seed: seed of the bootstrap.

    Returns:
        tau-b by name: ``one_another`` (one seed with another), ``mean_of_the_others`` (one seed with the mean of the
        others) and ``perfect_ranker`` (a ranker that knows the expected accuracies, with the mean of all seeds).

    Raises:
        ScarletError: the truth has only one seed.
    """
    pairs = list(combinations(range(len(truth)), 2))
    if not pairs:
        raise ScarletError("ranking: got a ground truth with one seed, wanted two or more to compare them")

    def one_another(archs: Indices) -> float:
        return float(np.mean([kendall_tau(truth[i, archs], truth[j, archs]) for i, j in pairs]))

    def mean_of_the_others(archs: Indices) -> float:
        rest = [np.delete(truth, i, axis=0)[:, archs].mean(axis=0) for i in range(len(truth))]
        return float(np.mean([kendall_tau(truth[i, archs], others) for i, others in enumerate(rest)]))

    def perfect_ranker(archs: Indices) -> float:
        noise = truth[:, archs].var(axis=0, ddof=1).mean() / len(truth)
        spread = truth[:, archs].mean(axis=0).var(ddof=1)
        share = max(0.0, 1 - noise / spread) if spread > 0 else 0.0
        return float(2 / np.pi * np.arcsin(np.sqrt(share)))

    everything = np.arange(truth.shape[1])
    drawn = [archs for (archs,) in _draws((truth.shape[1],), resamples, seed)]
    return {how.__name__: Sample(how(everything), np.array([how(archs) for archs in drawn])).estimate()
            for how in (one_another, mean_of_the_others, perfect_ranker)}  # fmt: skip


def _draws(sizes: tuple[int, ...], count: int, seed: int) -> Iterator[tuple[Indices, ...]]:
    """Yield indices along axes of these sizes, each axis drawn with replacement."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield tuple(rng.integers(size, size=size) for size in sizes)
