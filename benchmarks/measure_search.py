"""Compare search with random choice at equal measured latency, by short trainings; run again to continue."""

import argparse
import datetime
import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.zoo import safe_name
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.latency import cpu_model
from scarlet_zoo.nas.search.latency_meter import LatencyMeter
from scarlet_zoo.nas.search.objectives import Objective
from scarlet_zoo.nas.search.scoring import Scoring
from scarlet_zoo.nas.search.search import search
from scarlet_zoo.nas.search.settings import SearchSettings
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.training.train_network import train
from scarlet_zoo.utils.files import write_text

SEEDS, PER_FRONT, SLACK = (0, 1, 2), 3, 0.03
GOALS = (Objective.parse("accuracy"), Objective.parse("latency"))
PROXY = TrainSettings(epochs=1, batch_size=64, lr=0.2, ema=0.998, threads=1)
DATA = DataPlan(name="fashion-mnist")


def matched(target_ms: float, meter: LatencyMeter, space: Any, rng: random.Random) -> tuple[Arch, float]:
    """Draw random architectures until the measured latency of one is that of a target; return it and its latency."""
    while True:
        arch = Arch.sample(space, rng)
        latency = meter(arch)
        if abs(latency / target_ms - 1) <= SLACK:
            return arch, latency


def pairs_of(seed: int, supernet: Path, work: Path) -> dict[str, Any]:
    """Pair architectures of a search's front with random ones of the same latency, or read the pairs of a file.

    Returns:
        ``pairs``, and ``search``: the method, the objectives and the conditions of the search, which name the digest
        of its supernet.
    """
    file = work / f"pairs{seed}.json"
    if not file.is_file():
        how = SearchSettings(objectives=GOALS, evaluations=120, population=20, seed=seed)
        scoring = Scoring(validation=2000, calibration=1000)
        front = search(supernet, out=work / f"search{seed}", settings=how, scoring=scoring)
        space, rng = front.space, random.Random(seed)
        meter, rows = LatencyMeter(space, threads=1), []
        for found in front.choose(f"spread:{PER_FRONT}"):
            latency = meter(found.arch)
            arch, its = matched(latency, meter, space, rng)
            rows.append(
                {"seed": seed, "found": str(found.arch), "found_ms": latency, "random": str(arch), "random_ms": its}
            )
        told = {key: front.report[key] for key in ("method", "objectives", "evaluations", "conditions")}
        write_text(file, json.dumps({"pairs": rows, "search": told}))
    return dict(read_json(file))


def proxy_top1(arch: str, work: Path) -> float:
    """Validation accuracy in percent after a short training."""
    return train(arch, data=DATA, settings=PROXY, out=work / "proxies" / safe_name(arch)).top1[-1]


if __name__ == "__main__":
    with one_line_errors():
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--supernet", type=Path, required=True, help="File of the supernet.")
        parser.add_argument("--work", type=Path, required=True, help="Folder of the searches and trainings.")
        given = parser.parse_args()
        found = [pairs_of(seed, given.supernet, given.work) for seed in SEEDS]
        table = [row for one in found for row in one["pairs"]]
        for row in table:
            row |= {f"{kind}_top1": proxy_top1(row[kind], given.work) for kind in ("found", "random")}
        gains = [row["found_top1"] - row["random_top1"] for row in table]
        resampled = np.random.default_rng(0).choice(gains, (10_000, len(gains))).mean(axis=1)
        report = {"search": found[0]["search"], "pairs": table, "mean_gain_points": float(np.mean(gains)),
                  "interval_95": np.percentile(resampled, (2.5, 97.5)).tolist(),
                  "proxy": PROXY.to_dict(), "latency_slack": SLACK, "device": cpu_model(),
                  "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}  # fmt: skip
        write_text(Path(__file__).parent / "results" / "search.json", json.dumps(report, indent=1) + "\n")
