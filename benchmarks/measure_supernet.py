"""Measure what a supernet costs over its plain networks, in step time and peak memory."""

import datetime
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.latency import cpu_model, peak_rss_bytes
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.models.supernet import Supernet
from scarlet_zoo.utils.files import write_text

ROUNDS, ARCHS, PROCESSES = 20, 6, 5
BATCH = {"scarlet": 8, "scarlet-mini": 64}


def make_step(model: nn.Module, name: str) -> Callable[..., float]:
    """Create a function that runs one training step on random images and returns its seconds."""
    space, size = get_space(name), BATCH[name]
    shape = (size, space.in_chans, space.input_size, space.input_size)
    images, targets = (
        torch.randn(shape).to(memory_format=torch.channels_last),
        torch.randint(space.num_classes, (size,)),
    )
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, nesterov=True, weight_decay=1e-4)

    def step(*path: Arch) -> float:
        begun = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(images, *path), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return time.perf_counter() - begun

    return step


def print_peak(name: str, kind: str, archs: list[Arch]) -> None:
    """Print the peak memory in bytes, beyond that of the libraries, of steps of a supernet or of plain networks."""
    idle = peak_rss_bytes()
    shared = make_step(Supernet(get_space(name)), name) if kind == "supernet" else None
    _ = [shared(arch) if shared else make_step(create_model(arch, stabilized=True), name)() for arch in archs]
    print(peak_rss_bytes() - idle)


def median_peak(name: str, kind: str) -> int:
    """Median of the peak memory over several processes, since allocators differ from process to process."""
    command = [sys.executable, __file__, "--memory", name, kind]
    return int(np.median([int(subprocess.check_output(command)) for _ in range(PROCESSES)]))


def compare(name: str, archs: list[Arch]) -> dict[str, Any]:
    """Compare the steps of a supernet with those of its architectures as plain networks, interleaved."""
    supernet = Supernet(get_space(name))
    shared, own = make_step(supernet, name), [make_step(create_model(a, stabilized=True), name) for a in archs]
    rounds = [[(shared(a), plain()) for a, plain in zip(archs, own, strict=True)] for _ in range(ROUNDS + 3)][3:]
    ratios = [sum(s for s, _ in pairs) / sum(p for _, p in pairs) for pairs in rounds]
    peak = median_peak(name, "plain")
    own_bytes = sum(parameter.numel() * parameter.element_size() for parameter in supernet.parameters())
    return {"space": name, "batch": BATCH[name], "archs": list(map(str, archs)), "rounds": ROUNDS,
            "step_ratio": dict(zip(("p10", "p50", "p90"), np.percentile(ratios, (10, 50, 90)), strict=True)),
            "supernet_parameter_bytes": own_bytes, "supernet_peak_bytes": median_peak(name, "supernet"),
            "plain_peak_bytes": peak, "bound_bytes": 2 * own_bytes + peak,
            "memory_processes": PROCESSES,
            "conditions": {"device": cpu_model(), "torch": torch.__version__, "threads": torch.get_num_threads(),
                           "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}}  # fmt: skip


if __name__ == "__main__":
    with one_line_errors():
        torch.manual_seed(0)
        torch.set_num_threads(1)
        drawn = {name: [Arch.sample(get_space(name), random.Random(seed)) for seed in range(ARCHS)] for name in BATCH}
        if sys.argv[1:2] == ["--memory"]:
            print_peak(*sys.argv[2:], drawn[sys.argv[2]])  # type: ignore[call-arg, arg-type]
        else:
            rows = [compare(name, archs) for name, archs in drawn.items()]
            write_text(Path(__file__).parent / "results" / "supernet.json", json.dumps(rows, indent=1) + "\n")
