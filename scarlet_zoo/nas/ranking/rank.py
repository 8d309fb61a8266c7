"""Make a verdict in a folder: train every recipe with every seed, then write the table and its plot."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.zoo import safe_name
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.latency import cpu_model
from scarlet_zoo.nas.ranking.ground_truth import GroundTruth, read_truth
from scarlet_zoo.nas.ranking.plots import plot_verdict
from scarlet_zoo.nas.ranking.ranker import RankerJob, Recipe, make_ranker
from scarlet_zoo.nas.ranking.verdict import verdict
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.jobs import run_jobs
from scarlet_zoo.utils.ownership import own_folder, with_locks

RANK_FILE = "rank.json"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class RankPlan:
    """The plan of a verdict: the recipes, the seeds and the ground truth.

    Attributes:
        truth: folder of the ground truth.
        recipes: recipes that are compared.
        seeds: seeds of the supernets of each recipe.
        data_dir: folder of the data.
        architectures: number of architectures that are ranked, the first ones of the ground truth; all when None.
        workers: number of rankers that are trained at the same time, each on one thread.
    """

    truth: Path
    recipes: tuple[Recipe, ...]
    seeds: tuple[int, ...]
    data_dir: Path | None = None
    architectures: int | None = None
    workers: int = 1


@with_locks
def run_rank(plan: RankPlan, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Make every ranker that does not exist yet, compare them all, and write ``rank.json`` and its plot.

    Args:
        plan: what to compare.
        out: folder of the rankers and the verdict.
        progress: called with (rankers finished, rankers in all).

    Returns:
        The contents of ``rank.json``.

    Raises:
        DatasetError: the ground truth is missing or invalid.
        TrainingError: no recipe or seed is given, one is given twice, or ``out`` holds rankers of other conditions.
    """
    names = [recipe.name for recipe in plan.recipes]
    for what, given in (("recipes", names), ("seeds", list(plan.seeds))):
        if not given or len(set(given)) < len(given):
            raise TrainingError(f"rank: got {what} {given}, wanted one or more, each once")
    truth = _first(read_truth(plan.truth), plan.architectures)
    own_folder(out)
    jobs = [RankerJob(truth=truth, recipe=recipe, seed=seed, data_dir=plan.data_dir,
                      out=out / safe_name(recipe.name) / str(seed))
            for seed in plan.seeds for recipe in plan.recipes]  # fmt: skip
    rankers = []
    for done, (_, ranker) in enumerate(run_jobs(make_ranker, jobs, plan.workers), start=1):
        rankers.append(ranker)
        if progress is not None:
            progress(done, len(jobs))
    rankers.sort(key=lambda ranker: (names.index(ranker.recipe), ranker.seed))
    report = {
        "truth": truth.plan.title,
        "device": cpu_model(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "recipes": [asdict(recipe) for recipe in plan.recipes],
        "seeds": list(plan.seeds),
        **verdict(truth, rankers),
    }
    write_text(out / RANK_FILE, json_text(report, indent=1) + "\n")
    plot_verdict(report, out / "rank")
    return report


def _first(truth: GroundTruth, count: int | None) -> GroundTruth:
    if count is None:
        return truth
    if not 2 <= count <= len(truth.archs):
        raise TrainingError(f"rank: got {count} architectures, wanted 2 to {len(truth.archs)}, the whole ground truth")
    first = slice(count)
    return GroundTruth(truth.plan, truth.archs[first], truth.top1[:, first], truth.macs[first], truth.params[first],
                       truth.latency_ms[first])  # fmt: skip
