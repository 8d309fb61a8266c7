"""From rankers to a table: which recipe orders architectures as the ground truth does, and how sure that is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.ranking.agreement import Estimate, ceiling, tau_estimate, top_regret
from scarlet_zoo.ranking.judging import Ranker
from scarlet_zoo.ranking.truth import GroundTruth

TOP = 10
# Rankers that cost nothing, by what they rank with.
BASELINES = ("macs", "params", "latency", "random")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One recipe, over all its seeds.

    Attributes:
        recipe, strategy: what it is; a baseline has no strategy.
        seeds: rankers that there are.
        tau: Kendall tau-b against the ground truth, mean over seeds, interval over seeds and architectures.
        tau_each: of each seed.
        regret: accuracy lost by the best of its first ten, in points, mean over seeds.
        spread: standard deviation of one-shot accuracy over architectures, in points, mean over seeds.
        accuracy: mean one-shot accuracy in percent.
        images: pictures run through paths, mean over seeds.
        train_core_seconds, score_core_seconds: processor time, mean over seeds.
    """

    recipe: str
    strategy: str | None
    seeds: int
    tau: Estimate
    tau_each: tuple[float, ...]
    regret: float
    spread: float | None = None
    accuracy: float | None = None
    images: float | None = None
    train_core_seconds: float | None = None
    score_core_seconds: float | None = None


def verdict(truth: GroundTruth, rankers: Sequence[Ranker], resamples: int = 2_000) -> dict[str, Any]:
    """The table of all recipes and baselines, best first, with the ceiling, as JSON values."""
    recipes = list(dict.fromkeys(ranker.recipe for ranker in rankers))
    rows = [_row(truth, [r for r in rankers if r.recipe == recipe], resamples) for recipe in recipes]
    rows += [row for name in BASELINES if (row := _baseline(truth, name, resamples)) is not None]
    several = len(truth.plan.seeds) > 1
    return {
        "rows": [asdict(row) for row in sorted(rows, key=lambda row: -row.tau.value)],
        "ceiling": {name: asdict(e) for name, e in ceiling(truth.final, resamples).items()} if several else None,
        "architectures": len(truth.archs),
        "truth_seeds": len(truth.plan.seeds),
        "spread": float(truth.final.mean(axis=0).std(ddof=1)),
        "seed_noise": float(np.sqrt(truth.final.var(axis=0, ddof=1).mean())) if several else None,
        "best_top1": float(truth.final.mean(axis=0).max()),
    }


def _row(truth: GroundTruth, same: Sequence[Ranker], resamples: int) -> Row:
    names = list(map(str, truth.archs))
    scores = np.array([[ranker.scores[name] for name in names] for ranker in same])
    accuracies = np.array([[ranker.accuracies[name] for name in names] for ranker in same])

    def mean(name: str) -> float:
        return float(np.mean([getattr(ranker, name) for ranker in same]))

    return Row(
        recipe=same[0].recipe, strategy=same[0].strategy, seeds=len(same), **_judged(truth, scores, resamples),
        spread=float(accuracies.std(axis=1, ddof=1).mean()), accuracy=float(accuracies.mean()),
        images=mean("images"), train_core_seconds=mean("train_core_seconds"),
        score_core_seconds=mean("score_core_seconds"),
    )  # fmt: skip


def _baseline(truth: GroundTruth, name: str, resamples: int) -> Row | None:
    if name == "random":
        rng, count = random.Random(0), len(truth.archs)
        scores = np.array([rng.sample(range(count), count) for _ in range(3)], dtype=np.float64)
    else:
        values = {"macs": truth.macs, "params": truth.params, "latency": truth.latency_ms}[name]
        if not np.isfinite(values).all():
            return None
        scores = values[None]
    return Row(recipe=name, strategy=None, seeds=len(scores), **_judged(truth, scores, resamples))


def _judged(truth: GroundTruth, scores: NDArray[np.float64], resamples: int) -> dict[str, Any]:
    final = truth.final.mean(axis=0)
    each = tuple(tau_estimate(row, final, resamples=1).value for row in scores)
    return {"tau": tau_estimate(scores, truth.final, resamples), "tau_each": each,
            "regret": float(np.mean([top_regret(row, final, TOP) for row in scores]))}  # fmt: skip
