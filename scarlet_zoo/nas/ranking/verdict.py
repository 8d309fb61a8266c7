"""The verdict on rankers: how well each recipe orders architectures, with bootstrap intervals."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from scarlet_zoo.nas.ranking.ground_truth import GroundTruth
from scarlet_zoo.nas.ranking.ranker import Ranker
from scarlet_zoo.utils.agreement import (
    RESAMPLES,
    Estimate,
    Numbers,
    ceiling,
    kendall_tau,
    partial_tau,
    resampled,
    top_regret,
)

TOP = 10


@dataclass(frozen=True, kw_only=True)
class Row:
    """The row of one recipe or baseline, over all its seeds.

    Attributes:
        recipe, strategy: names of the recipe and its strategy; a baseline has no strategy.
        seeds: number of rankers.
        tau: Kendall tau-b against the ground truth, mean over seeds, interval over seeds and architectures.
        tau_each: tau-b of each seed.
        behind: tau-b of the best supernet recipe minus this one, under the same bootstrap: below 0 for a baseline that
            is ahead of it; None for the best supernet recipe itself.
        beyond_macs: :func:`~scarlet_zoo.utils.agreement.partial_tau` beyond multiply-adds.
        regret: best accuracy of all minus the best accuracy among its first ten, in points, mean over seeds.
        spread: standard deviation of one-shot accuracy over architectures, in points, mean over seeds.
        accuracy: mean one-shot accuracy in percent.
        images: number of images run through paths in training, mean over seeds.
        train_core_seconds, score_core_seconds: processor time in seconds, mean over seeds.
    """

    recipe: str
    strategy: str | None
    seeds: int
    tau: Estimate
    tau_each: tuple[float, ...]
    behind: Estimate | None
    beyond_macs: Estimate
    regret: Estimate
    spread: float | None = None
    accuracy: float | None = None
    images: float | None = None
    train_core_seconds: float | None = None
    score_core_seconds: float | None = None


def verdict(truth: GroundTruth, rankers: Sequence[Ranker], resamples: int = RESAMPLES) -> dict[str, Any]:
    """Compare all recipes and baselines with the ground truth.

    Args:
        truth: the ground truth.
        rankers: the rankers of all recipes and seeds.
        resamples: number of resamples of the bootstrap.

    Returns:
        JSON values: ``rows`` (each a :class:`Row`, best first), ``ceiling``
        (:func:`~scarlet_zoo.utils.agreement.ceiling`; None where the truth has one seed), ``architectures``,
        ``truth_seeds``, ``spread`` (standard deviation of the accuracies, in points), ``seed_noise`` (that from seed to
        seed) and ``best_top1``.
    """
    by_recipe: dict[str, list[Ranker]] = {}
    for ranker in rankers:
        by_recipe.setdefault(ranker.recipe, []).append(ranker)
    names = list(map(str, truth.archs))
    scores = {
        recipe: np.array([[one.scores[name] for name in names] for one in same]) for recipe, same in by_recipe.items()
    }
    several = len(truth.plan.seeds) > 1
    return {
        "rows": [asdict(row) for row in _rows(truth, by_recipe, {**scores, **_baselines(truth)}, resamples)],
        "ceiling": {name: asdict(e) for name, e in ceiling(truth.final, resamples).items()} if several else None,
        "architectures": len(truth.archs),
        "truth_seeds": len(truth.plan.seeds),
        "spread": float(truth.final.mean(axis=0).std(ddof=1)),
        "seed_noise": float(np.sqrt(truth.final.var(axis=0, ddof=1).mean())) if several else None,
        "best_top1": float(truth.final.mean(axis=0).max()),
    }


def _rows(truth: GroundTruth, by_recipe: Mapping[str, Sequence[Ranker]], scores: Mapping[str, Numbers],
          resamples: int) -> list[Row]:  # fmt: skip
    taus = dict(zip(scores, resampled(kendall_tau, [*scores.values()], truth.final, resamples), strict=True))
    regrets = resampled(partial(top_regret, count=TOP), [*scores.values()], truth.final, resamples)
    beyond = resampled(partial_tau, [*scores.values()], truth.final, resamples, beside=[truth.macs])
    order = sorted(taus, key=lambda recipe: -taus[recipe].value)
    first, final = next((recipe for recipe in order if recipe in by_recipe), order[0]), truth.final.mean(axis=0)
    rows = {
        recipe: Row(
            recipe=recipe, seeds=len(scores[recipe]), tau=taus[recipe].estimate(),
            tau_each=tuple(kendall_tau(row, final) for row in scores[recipe]),
            behind=None if recipe == first else (taus[first] - taus[recipe]).estimate(),
            beyond_macs=known.estimate(), regret=regret.estimate(), **_costs(by_recipe.get(recipe, ())),
        )
        for recipe, regret, known in zip(scores, regrets, beyond, strict=True)
    }  # fmt: skip
    return [rows[recipe] for recipe in order]


def _costs(same: Sequence[Ranker]) -> dict[str, Any]:
    """The columns that only supernets have."""
    if not same:
        return {"strategy": None}
    accuracies = np.array([[*ranker.accuracies.values()] for ranker in same])
    means = {name: float(np.mean([getattr(ranker, name) for ranker in same]))
             for name in ("images", "train_core_seconds", "score_core_seconds")}  # fmt: skip
    return {"strategy": same[0].strategy, "spread": float(accuracies.std(axis=1, ddof=1).mean()),
            "accuracy": float(accuracies.mean()), **means}  # fmt: skip


def _baselines(truth: GroundTruth) -> dict[str, Numbers]:
    """Scores of the rankers that need no training; without latency where it was not measured."""
    rng, count = random.Random(0), len(truth.archs)
    shuffled = np.array([rng.sample(range(count), count) for _ in range(3)], dtype=np.float64)
    known = {"macs": truth.macs, "params": truth.params, "latency": truth.latency_ms}
    return {**{name: values[None] for name, values in known.items() if np.isfinite(values).all()}, "random": shuffled}
