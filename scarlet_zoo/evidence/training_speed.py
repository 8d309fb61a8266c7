"""Time training steps as torch alone does them and as a training of ours does.

Each way runs in a process of its own, because one of them sets how memory is kept; the two take turns, step by step:
``python training_speed.py CASE KIND THREADS`` does the step of each number that stdin has.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from scarlet_zoo.arch.spaces import get_space, list_spaces
from scarlet_zoo.nas.sampling import UniformSampler
from scarlet_zoo.nas.strategies.registry import create_strategy
from scarlet_zoo.training.fast_layers import fast_layers
from scarlet_zoo.utils.memory import kept_memory

OURS = "fast"
KINDS = ("torch", OURS)


class Case(NamedTuple):
    """What is trained.

    Attributes:
        what: a supernet by its space, else timm's name of a network.
        channels, side: channels and side in pixels of its images.
        batch: images a step.
    """

    what: str
    channels: int
    side: int
    batch: int


class Trained:
    """A network or a supernet in training on images that are in memory."""

    def __init__(self, case: Case) -> None:
        name, channels, side, batch = case
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
    trained = Trained(case)
    with contextlib.ExitStack() as stack:
        if kind == OURS:
            stack.enter_context(kept_memory())
            stack.enter_context(fast_layers(trained.model))
        for line in sys.stdin:
            sys.stdout.write(f"{trained.seconds(int(line))}\n")
            sys.stdout.flush()


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
        environ = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}  # as on the command line
        command = [sys.executable, "-m", __spec__.name, json.dumps(case)]
        workers = {kind: stack.enter_context(subprocess.Popen([*command, kind, str(threads)], stdin=subprocess.PIPE,
                                                              stdout=subprocess.PIPE, text=True, env=environ))
                   for kind in KINDS}  # fmt: skip
        for number in range(-3, rounds):
            for kind in sorted(KINDS, reverse=bool(number % 2)):
                seconds = step_of(workers[kind], number % 1000)
                if number >= 0:
                    times[kind].append(seconds)
    ratios = sorted(torchs / own for torchs, own in zip(times["torch"], times[OURS], strict=True))
    at = len(ratios) // 10
    row = {"what": case.what, "input": [case.channels, case.side, case.side], "batch": case.batch, "rounds": rounds,
           "ratio": statistics.median(ratios), "p10": ratios[at], "p90": ratios[-1 - at]}  # fmt: skip
    for kind, own in times.items():
        row[f"{kind}_ms"] = 1e3 * statistics.median(own)
        # Of a supernet the mean counts: its paths differ.
        row[f"{kind}_seconds_per_million_images"] = 1e6 * statistics.mean(own) / case.batch
    return row


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    work(Case(*json.loads(sys.argv[1])), sys.argv[2])
