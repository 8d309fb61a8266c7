"""Measure the cost of a training step of each strategy relative to spos, interleaved in one process."""

import argparse
import datetime
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.preprocessing import space_preprocessing
from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.latency import cpu_model
from scarlet_zoo.nas.strategies.registry import STRATEGIES, create_strategy
from scarlet_zoo.training.loop import Loop
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.utils.files import write_text

SPACE, BATCH, WARMUP = "scarlet-mini", 128, 2
RESULTS = Path(__file__).parent / "results" / "strategies.json"

if __name__ == "__main__":
    with one_line_errors():
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--rounds", type=int, default=20, help="Number of measured steps of each strategy.")
        rounds = parser.parse_args().rounds
        torch.set_num_threads(1)
        space = get_space(SPACE)
        data = open_data("fashion-mnist", space_preprocessing(space))
        settings = TrainSettings(epochs=10, batch_size=BATCH, checkpoint_every=1_000_000)
        with tempfile.TemporaryDirectory() as temporary:
            loops = {}
            for name in STRATEGIES:
                torch.manual_seed(0)
                loop = Loop(create_strategy(name, space), data, settings, Path(temporary) / name, {})
                loops[name] = loop.steps()
            seconds: dict[str, list[float]] = {name: [] for name in loops}
            for number in range(WARMUP + rounds):
                for name in sorted(loops, reverse=bool(number % 2)):
                    begun = time.perf_counter()
                    next(loops[name])
                    if number >= WARMUP:
                        seconds[name].append(time.perf_counter() - begun)
            for steps in loops.values():
                steps.close()  # its layers are torch's again
            rows = []
            for name, own in seconds.items():
                log = (Path(temporary) / name / "steps.jsonl").read_text().splitlines()
                ratios = np.array(own) / np.array(seconds["spos"])
                paths = [len(json.loads(line)["archs"]) for line in log]
                ratio = {f"p{share}": float(np.percentile(ratios, share)) for share in (10, 50, 90)}
                rows.append(
                    {"strategy": name, "paths": float(np.mean(paths)), "seconds": float(np.median(own)), "ratio": ratio}
                )
                print(rows[-1])
        date = datetime.datetime.now(datetime.UTC).isoformat("T", "seconds")
        conditions = {"space": SPACE, "batch": BATCH, "rounds": rounds, "device": cpu_model(), "threads": 1,
                      "torch": torch.__version__, "date": date}  # fmt: skip
        write_text(RESULTS, json.dumps({"conditions": conditions, "rows": rows}, indent=1) + "\n")
