"""Time training steps as torch alone does them and as a training of ours does, for supernets and networks of others.

Each way runs in a process of its own, because one of them sets how memory is kept; the two take turns, step by step.
"""

import argparse
import contextlib
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, as on the command line

import timm
import torch
from torch import Tensor, nn

from scarlet_zoo.arch.spaces import get_space, list_spaces
from scarlet_zoo.latency import cpu_features, cpu_model
from scarlet_zoo.nas.sampling import UniformSampler
from scarlet_zoo.nas.strategies.registry import create_strategy
from scarlet_zoo.training.fast_layers import fast_layers
from scarlet_zoo.utils.files import write_text
from scarlet_zoo.utils.memory import kept_memory

RESULTS = Path(__file__).parent / "results" / "training_speed.json"
# What is trained, channels and side of its images, and images a step: supernets by their space, others by timm's name.
Case = tuple[str, int, int, int]
CASES: tuple[Case, ...] = (
    ("scarlet-mini", 1, 28, 96), ("scarlet-rgb32", 3, 32, 96), ("scarlet-rgb96", 3, 96, 64),
    ("scarlet_mini_s", 1, 28, 128), ("tf_efficientnet_lite0", 3, 96, 64), ("mobilenetv3_large_100", 3, 96, 64),
    ("mobilenetv3_large_100", 3, 224, 32), ("resnet18", 3, 96, 64))  # fmt: skip
OURS = "fast"
KINDS = ("torch", OURS)


class Trained:
    """A network or a supernet in training on images that are in memory."""

    def __init__(self, name: str, channels: int, side: int, batch: int) -> None:
        torch.manual_seed(0)
        self.sampler = UniformSampler(get_space(name), 0) if name in list_spaces() else None
        if self.sampler is not None:
            self.model: nn.Module = create_strategy("spos", get_space(name), None, {}, 0).model
        else:
            self.model = timm.create_model(name, num_classes=10, in_chans=channels)
        self.model.to(memory_format=torch.channels_last).train()
        for module in self.model.modules():
            if hasattr(module, "inplace"):
                setattr(module, "inplace", False)  # noqa: B010
        self.images = torch.randn(batch, channels, side, side).contiguous(memory_format=torch.channels_last)
        self.targets = torch.randint(0, 10, (batch,))
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, 0.9, nesterov=True, weight_decay=5e-4)

    def loss(self, number: int) -> Tensor:
        """The loss of a step; a supernet's path depends on the step's number alone."""
        path = () if self.sampler is None else (self.sampler.draw(number),)
        return nn.functional.cross_entropy(self.model(self.images, *path), self.targets)

    def seconds(self, number: int) -> float:
        """The time of a step."""
        begun = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.loss(number))
        self.optimizer.step()
        return time.perf_counter() - begun


def work(case: Case, kind: str) -> None:
    """Do the step of each number that stdin has, and write its time to stdout."""
    trained = Trained(*case)
    with contextlib.ExitStack() as stack:
        if kind == OURS:
            stack.enter_context(kept_memory())
            stack.enter_context(fast_layers(trained.model))
        for line in sys.stdin:
            print(trained.seconds(int(line)), flush=True)


def step_of(worker: subprocess.Popen[str], number: int) -> float:
    """The time of a step in another process."""
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(f"{number}\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def measured(case: Case, rounds: int, threads: int) -> dict[str, Any]:
    """Time a step of each kind in each round, the order reversed from round to round; three more rounds warm up."""
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with contextlib.ExitStack() as stack:
        command = [sys.executable, __file__, "--threads", str(threads), "--worker", json.dumps(case)]
        workers = {kind: stack.enter_context(subprocess.Popen([*command, kind], stdin=subprocess.PIPE,
                                                              stdout=subprocess.PIPE, text=True))
                   for kind in KINDS}  # fmt: skip
        for number in range(-3, rounds):
            for kind in sorted(KINDS, reverse=bool(number % 2)):
                seconds = step_of(workers[kind], number % 1000)
                if number >= 0:
                    times[kind].append(seconds)
    ratios = sorted(torchs / own for torchs, own in zip(times["torch"], times[OURS], strict=True))
    batch, at = case[3], len(ratios) // 10
    row = {"what": case[0], "input": [case[1], case[2], case[2]], "batch": batch, "rounds": rounds,
           "ratio": statistics.median(ratios), "p10": ratios[at], "p90": ratios[-1 - at]}  # fmt: skip
    for kind, own in times.items():
        row[f"{kind}_ms"] = 1e3 * statistics.median(own)
        # Of a supernet the mean counts: its paths differ.
        row[f"{kind}_seconds_per_million_images"] = 1e6 * statistics.mean(own) / batch
    return row


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="Steps of each kind.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--remark", default="", help="What else is true of the machine during the measurement.")
    parser.add_argument("--save", type=Path, default=RESULTS)
    parser.add_argument("--worker", nargs=2, metavar=("CASE", "KIND"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.worker:
        name, channels, side, batch = json.loads(given.worker[0])
        work((name, channels, side, batch), given.worker[1])
        return
    rows = []
    for case in CASES:
        rows.append(measured(case, given.rounds, given.threads))
        print(rows[-1])
    conditions = {"threads": given.threads, "memory_format": "channels_last", "device": cpu_model(),
                  "instruction_sets": cpu_features(), "cores": os.cpu_count(), "load_average": os.getloadavg(),
                  "remark": given.remark, "torch": torch.__version__, "timm": timm.__version__,
                  "date": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds")}  # fmt: skip
    write_text(given.save, json.dumps({"conditions": conditions, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
