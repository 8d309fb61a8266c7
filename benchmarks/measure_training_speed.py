"""Time training steps with torch's layers and with ours in turns, for supernets and for networks of others."""

import argparse
import contextlib
import datetime
import json
import os
import statistics
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

RESULTS = Path(__file__).parent / "results" / "training_speed.json"
# What is trained, channels and side of its images, and images a step: supernets by their space, others by timm's name.
CASES = (("scarlet-mini", 1, 28, 96), ("scarlet-rgb32", 3, 32, 96), ("scarlet-rgb96", 3, 96, 32),
         ("scarlet_mini_s", 1, 28, 128), ("tf_efficientnet_lite0", 3, 96, 32), ("mobilenetv3_large_100", 3, 96, 32),
         ("resnet18", 3, 96, 32))  # fmt: skip
KINDS = ("torch", "fast")


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

    def seconds(self, number: int, kind: str) -> float:
        """The time of a step with a kind of layers."""
        with fast_layers(self.model) if kind == "fast" else contextlib.nullcontext():
            begun = time.perf_counter()
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(self.loss(number))
            self.optimizer.step()
            return time.perf_counter() - begun


def measured(case: tuple[str, int, int, int], rounds: int) -> dict[str, Any]:
    """Time a step of each kind in each round, the order reversed from round to round; three more rounds warm up."""
    trained = Trained(*case)
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(-3, rounds):
        for kind in sorted(KINDS, reverse=bool(number % 2)):
            seconds = trained.seconds(number % 1000, kind)
            if number >= 0:
                times[kind].append(seconds)
    ratios = sorted(torchs / own for torchs, own in zip(times["torch"], times["fast"], strict=True))
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
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = []
    for case in CASES:
        rows.append(measured(case, given.rounds))
        print(rows[-1])
    conditions = {"threads": given.threads, "memory_format": "channels_last", "device": cpu_model(),
                  "instruction_sets": cpu_features(), "cores": os.cpu_count(), "load_average": os.getloadavg(),
                  "remark": given.remark, "torch": torch.__version__, "timm": timm.__version__,
                  "date": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds")}  # fmt: skip
    write_text(given.save, json.dumps({"conditions": conditions, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
