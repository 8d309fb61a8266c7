"""How well one list of numbers ranks what another list ranks, and how sure one can be of it.

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
    """A number and what a bootstrap makes of it, (resamples,)."""

    value: float
    drawn: Numbers

    def __sub__(self, other: Sample) -> Sample:
        """The difference of two numbers under the same bootstrap."""
        return Sample(self.value - other.value, self.drawn - other.drawn)

    def estimate(self) -> Estimate:
        """The number with its interval."""
        low, high = np.percentile(self.drawn, (50 * (1 - _SHARE), 50 * (1 + _SHARE)))
        return Estimate(self.value, float(low), float(high))


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
    # Pair by pair: for lists of a hundred it is several times faster than scipy's, which a bootstrap asks for often.
    one_signs, other_signs = (np.sign(values[:, None] - values) for values in (a, b))
    apart = float((one_signs**2).sum() * (other_signs**2).sum())
    return float((one_signs * other_signs).sum() / np.sqrt(apart)) if apart else 0.0


def partial_tau(scores: ArrayLike, truth: ArrayLike, beside: ArrayLike) -> float:
    """What a ranker knows of the truth that a third list does not: Kendall's partial rank correlation.

    tau(s, t | b) = (tau(s, t) - tau(s, b) tau(t, b)) / sqrt((1 - tau(s, b)^2) (1 - tau(t, b)^2)) (Kendall 1942), with
    tau-b for tau; 0 where one of the two orders as the third does, or the opposite way.

    Raises:
        ScarletError: as :func:`kendall_tau`.
    """
    with_truth, own, its = kendall_tau(scores, truth), kendall_tau(scores, beside), kendall_tau(truth, beside)
    left = (1 - own**2) * (1 - its**2)
    return float((with_truth - own * its) / np.sqrt(left)) if left > 1e-12 else 0.0


def top_regret(scores: ArrayLike, truth: ArrayLike, count: int = 10) -> float:
    """What is lost by looking at a ranker's first ``count`` only: the best truth minus the best one among them.

    Of equal scores at the border those with the lowest truth are taken: the pessimist's choice.
    """
    s, t = (np.asarray(values, dtype=np.float64) for values in (scores, truth))
    first = np.lexsort((t, -s))[:count]
    return float(t.max() - t[first].max())


def resampled(statistic: Statistic, rankers: Sequence[Numbers], truth: Numbers, resamples: int = RESAMPLES,
              seed: int = 0, beside: Sequence[Numbers] = ()) -> list[Sample]:  # fmt: skip
    """A statistic of each of several recipes, as it is and under one bootstrap that they share.

    Architectures and the truth's seeds are drawn once for all recipes, so that their differences can be judged
    pairwise; the seeds of each recipe's rankers are drawn for itself.

    Args:
        statistic: of one ranker's scores, the truth, and each of ``beside``, all (architectures,).
        rankers: for each recipe, scores (seeds, architectures); the statistic's mean over seeds counts.
        truth: (architectures,) or (its seeds, architectures), which is averaged.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        beside: other numbers of the architectures, (architectures,) each.
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
    """How well trainings with one seed rank those with another, or the mean of the others, and what a ranker can reach.

    A ranker that knew the accuracies to be expected would still differ from the mean of a few trainings. How much is
    told for normal values: the share r of the means' variance that is not noise is their squared correlation with what
    is to be expected, and tau = 2 / pi * arcsin(sqrt(r)) (Kruskal 1958).

    Args:
        truth: accuracies (seeds, architectures), two seeds or more.
        resamples: of the bootstrap over architectures.
        seed: of the bootstrap.
    """
    pairs = list(combinations(range(len(truth)), 2))
    if not pairs:
        raise ScarletError("ranking: got a ground truth of one seed, wanted two to tell how well one ranks another")

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
    """Indices along axes of these sizes, each axis drawn anew with replacement."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield tuple(rng.integers(size, size=size) for size in sizes)
