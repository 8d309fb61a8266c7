"""Time a training in one process and in several (gloo) on this machine, in turns, each with all cores."""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.latency import cpu_features, cpu_model
from scarlet_zoo.utils.files import write_text

RESULTS = Path(__file__).parent / "results" / "processes.json"
# What is trained on Fashion-MNIST: a supernet and a network, with as many images a step in all processes together.
TRAININGS = {"spos, scarlet-mini": ["supernet", "train", "--strategy", "spos", "--space", "scarlet-mini"],
             "scarlet_mini_s": ["train", "scarlet_mini_s"]}  # fmt: skip
BATCH = 128


def images_a_second(training: list[str], processes: int, threads: int, steps: int, data: list[str]) -> float:
    """Images a second of a training of some steps, by the time that its steps took."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
                   "-m", "scarlet_zoo", *training, "--data", "fashion-mnist", *data, "--batch-size", str(BATCH),
                   "--max-steps", str(steps), "--threads", str(threads), "--out", f"{folder}/run"]  # fmt: skip
        environ = {**os.environ, "ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "lo", "OMP_WAIT_POLICY": "PASSIVE",
                   "XDG_CACHE_HOME": folder, "OMP_NUM_THREADS": str(threads)}  # fmt: skip
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ)
        if done.returncode:
            raise SystemExit(done.stderr)
        return BATCH * steps / float(read_json(Path(folder, "run", "run.json"))["seconds"])


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="Trainings of each kind.")
    parser.add_argument("--steps", type=int, default=60, help="Steps of a training.")
    parser.add_argument("--data-dir", help="Folder of Fashion-MNIST's files; where Debian puts them when left out.")
    parser.add_argument("--save", type=Path, default=RESULTS)
    given = parser.parse_args()
    cores = os.cpu_count() or 1
    data = ["--data-dir", given.data_dir] if given.data_dir else []
    ways = {(1, 1), (1, cores), (cores, 1)}
    rows: list[dict[str, Any]] = []
    for what, training in TRAININGS.items():
        seen: dict[tuple[int, int], list[float]] = {way: [] for way in sorted(ways)}
        for number in range(given.rounds):
            for way in sorted(ways, reverse=bool(number % 2)):
                seen[way].append(images_a_second(training, *way, given.steps, data))
                print(what, way, seen[way][-1])
        alone = seen[1, 1]
        rows += [{"what": what, "processes": processes, "threads": threads, "batch": BATCH, "steps": given.steps,
                  "images_per_second": statistics.median(rates),
                  "ratio": statistics.median(rate / one for rate, one in zip(rates, alone, strict=True)),
                  "rates": rates} for (processes, threads), rates in seen.items()]  # fmt: skip
    conditions = {"device": cpu_model(), "instruction_sets": cpu_features(), "cores": cores,
                  "load_average": os.getloadavg(), "torch": torch.__version__,
                  "date": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds")}  # fmt: skip
    write_text(given.save, json.dumps({"conditions": conditions, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    with one_line_errors():
        main()
