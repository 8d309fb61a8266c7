"""What stabilizers do inside a supernet, and when: one condition changed at a time. Writes results/findings.json."""

import argparse
import datetime
from dataclasses import replace
from functools import partial
from pathlib import Path

from scarlet_zoo.cli.console import progress_bar
from scarlet_zoo.files import write_text
from scarlet_zoo.jobs import run_jobs
from scarlet_zoo.jsontext import json_text
from scarlet_zoo.latency import cpu_model
from scarlet_zoo.ranking.conditions import Condition, look_into
from scarlet_zoo.ranking.truth import read_plan
from scarlet_zoo.runs import DataPlan
from scarlet_zoo.space_files import space_of
from scarlet_zoo.supernet import SKIPS

HERE = Path(__file__).parent
PLAN = read_plan(HERE / "ground_truth")
EPOCHS = 12


def conditions() -> list[Condition]:
    """Every kind of skip in the base and in each change of it."""
    base = Condition(name="base", space=PLAN.search_space, skip="plain", epochs=EPOCHS)
    deep = [[width, 2 * depth, stride] for width, depth, stride in PLAN.space["stages"]]
    changed = [
        base,
        replace(base, name="another seed", seed=1),
        replace(base, name="lr 0.02", lr=0.02),
        replace(base, name="lr 0.4", lr=0.4),
        replace(base, name="a quarter of the steps", epochs=EPOCHS // 4),
        replace(base, name="four times the steps", epochs=EPOCHS * 4),
        replace(base, name="twice the layers", space=space_of({**PLAN.space, "stages": deep, "name": "deep"})),
        replace(base, name="no shortcuts", shortcuts=False),
        replace(base, name="fair sampling", strategy="scarlet"),
    ]
    return [replace(one, skip=skip) for one in changed for skip in SKIPS]


def inside(condition: Condition, work: Path) -> dict[str, object]:
    """What :func:`look_into` finds, in a folder of the condition's name."""
    data = DataPlan(name=PLAN.data, pictures=PLAN.pictures)
    return look_into(condition, data, work / condition.name.replace(" ", "-") / condition.skip)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the supernets; the same again continues")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    asked, rows = conditions(), {}
    with progress_bar("findings") as progress:
        for condition, found in run_jobs(partial(inside, work=given.work), asked, given.workers):
            rows[condition.name, condition.skip] = {"name": condition.name, "skip": condition.skip, **found}
            progress(len(rows), len(asked))
    report = {"rows": [rows[one.name, one.skip] for one in asked], "device": cpu_model(),
              "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}  # fmt: skip
    write_text(HERE / "results" / "findings.json", json_text(report) + "\n")
