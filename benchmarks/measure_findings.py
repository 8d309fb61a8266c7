"""Test claims of the papers on our ground truth; writes results/findings.json, and continues if run again."""

import argparse
import datetime
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.space_files import space_of
from scarlet_zoo.cli.console import progress_bar
from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.evidence.findings.conditions import Condition, look_into
from scarlet_zoo.evidence.findings.stability import Draws, draw_and_rank
from scarlet_zoo.evidence.findings.updates import Pool, train_and_rank
from scarlet_zoo.latency import cpu_model
from scarlet_zoo.models.supernet import SKIPS
from scarlet_zoo.nas.ranking.ground_truth import GroundTruth, read_truth
from scarlet_zoo.nas.ranking.schedule import Schedule
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.jobs import run_jobs

HERE = Path(__file__).parent
EPOCHS, RANKED_EPOCHS = 12, 40  # of supernets that are measured inside, and of those that rank
POOLS = (100, 300, 1000, 3000, None)


def inside(truth: GroundTruth) -> list[Condition]:
    """Conditions: every kind of skip, in a base and in each variation of the base."""
    plain = Schedule(epochs=EPOCHS, clip_norm=0.0)  # no clipping, since the question is whether trainings are steady
    base = Condition(name="base", space=truth.plan.search_space, skip="plain", schedule=plain)
    deep = [[width, 2 * depth, stride] for width, depth, stride in truth.plan.space["stages"]]
    changed = [
        base,
        replace(base, name="another seed", schedule=replace(plain, seed=1)),
        replace(base, name="lr 0.02", schedule=replace(plain, lr=0.02)),
        replace(base, name="lr 0.4", schedule=replace(plain, lr=0.4)),
        replace(base, name="a quarter of the steps", schedule=replace(plain, epochs=EPOCHS // 4)),
        replace(base, name="four times the steps", schedule=replace(plain, epochs=EPOCHS * 4)),
        replace(base, name="twice the layers", space=space_of({**truth.plan.space, "stages": deep, "name": "deep"})),
        replace(base, name="no shortcuts", shortcuts=False),
        replace(base, name="fair sampling", strategy="scarlet"),
    ]
    return [replace(one, skip=skip) for one in changed for skip in SKIPS]


def make(job: tuple[str, str, Any], work: Path, truth: GroundTruth) -> dict[str, Any]:
    """Make one row of one kind, in a folder with its name."""
    kind, name, asked = job
    data = DataPlan(name=truth.plan.data, images=truth.plan.pictures)
    makers: dict[str, Callable[[Any, Path], dict[str, Any]]] = {
        "inside": lambda condition, out: look_into(condition, data, out),
        "stability": draw_and_rank,
        "updates": train_and_rank,
    }
    return makers[kind](asked, work / kind / name.replace(" ", "-"))


if __name__ == "__main__":
    with one_line_errors():
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--work", type=Path, required=True, help="Folder of the supernets; the same one continues.")
        parser.add_argument("--workers", type=int, default=1, help="Number of supernets at the same time.")
        given = parser.parse_args()
        truth = read_truth(HERE / "ground_truth")
        jobs: list[tuple[str, str, Any]] = [("inside", f"{one.name} {one.skip}", one) for one in inside(truth)]
        for seed in range(2):
            ranked = Schedule(epochs=RANKED_EPOCHS, seed=seed)
            jobs += [("updates", f"{size} {seed}", Pool(truth=truth, size=size, schedule=ranked)) for size in POOLS]
            jobs += [("stability", f"{heat} {seed}", Draws(truth=truth, temperature=heat, schedule=ranked))
                     for heat in (0.0, 1.0)]  # fmt: skip
        rows: dict[tuple[str, str], Any] = {}
        with progress_bar("findings") as progress:
            for (kind, name, _), found in run_jobs(partial(make, work=given.work, truth=truth), jobs, given.workers):
                rows[kind, name] = found
                progress(len(rows), len(jobs))
        report: dict[str, Any] = {
            "device": cpu_model(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        for kind in ("inside", "updates", "stability"):
            report[kind] = [rows[kind, name] for own, name, _ in jobs if own == kind]
        write_text(HERE / "results" / "findings.json", json_text(report) + "\n")
