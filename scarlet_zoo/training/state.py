"""What a training leaves on disk while it runs: its checkpoint, its log of steps, its averaged weights."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Mapping
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn

from scarlet_zoo.errors import TrainingError
from scarlet_zoo.utils.files import make_folder, replacing, write_text


class Spent:
    """Time that a training has taken, over all sittings.

    Attributes:
        seconds: on the clock.
        core_seconds: of this process on processors.
    """

    def __init__(self) -> None:
        self.seconds = self.core_seconds = 0.0
        self._at = (0.0, 0.0)

    def begin(self) -> None:
        """A sitting begins."""
        self._at = (time.monotonic(), time.process_time())

    def mark(self) -> None:
        """A step is done."""
        now = (time.monotonic(), time.process_time())
        self.seconds += now[0] - self._at[0]
        self.core_seconds += now[1] - self._at[1]
        self._at = now

    def load(self, content: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        # A checkpoint from before this was counted does not know it.
        self.seconds, self.core_seconds = float(content["seconds"]), float(content.get("core_seconds", math.nan))

    def to_dict(self) -> dict[str, float]:
        """What :meth:`load` reads."""
        return {"seconds": self.seconds, "core_seconds": self.core_seconds}


class EmaWeights:
    """Exponential moving average of a network's weights and statistics.

    Only what a step has moved is averaged, so that in a supernet a choice keeps its average while it
    is not sampled.

    Args:
        model: the network.
        decay: share of the average that stays at each update; smaller at first, (1 + n) / (10 + n).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {key: value.detach().clone() for key, value in model.state_dict().items()}
        self.updates = dict.fromkeys(self.state, 0)

    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        modules = {name.rpartition(".")[0] for name in moved}
        with torch.no_grad():
            for key, value in model.state_dict().items():
                if key not in moved and key.rpartition(".")[0] not in modules:
                    continue
                self.updates[key] = count = self.updates[key] + 1
                if value.dtype.is_floating_point:
                    self.state[key].lerp_(value, 1 - min(self.decay, (1 + count) / (10 + count)))
                else:
                    self.state[key].copy_(value)

    def load(self, content: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        for key, value in content["state"].items():
            self.state[key].copy_(value)
        self.updates = dict(content["updates"])

    def to_dict(self) -> dict[str, Any]:
        """What :meth:`load` reads."""
        return {"state": self.state, "updates": self.updates}


class Writes:
    """Which of a model's tensors a step has written to, by torch's count of the writes to each.

    That needs no copy of the model. A write of the same value counts as one; a batch norm's statistics have no
    count of their own, they are written with its ``num_batches_tracked``.
    """

    def __init__(self, model: nn.Module) -> None:
        # Of the tensors themselves: a state dict's are detached, and share the count.
        self._tensors = dict(model.state_dict())
        self._counts = self._read()

    def _read(self) -> dict[str, int]:
        counts = {name: tensor._version for name, tensor in self._tensors.items()}
        for name in self._tensors:
            module, _, last = name.rpartition(".")
            if last in ("running_mean", "running_var"):
                counts[name] += counts.get(f"{module}.num_batches_tracked", 0)
        return counts

    def since_last(self) -> list[str]:
        """Names written to since this was asked last, in the state dict's order."""
        before, self._counts = self._counts, self._read()
        return [name for name, count in self._counts.items() if count != before[name]]


class StepLog:
    """``steps.jsonl``: one line a step, flushed each step, each step once, also after a kill.

    Args:
        path: of the file.
        first: number of the first step that is going to be written; lines from it on are removed.
        enabled: only one process of a training writes.
    """

    def __init__(self, path: Path, first: int, *, enabled: bool = True) -> None:
        self.path, self.first, self.enabled = path, first, enabled
        self._file: TextIOWrapper | None = None

    def __enter__(self) -> StepLog:
        if self.enabled:
            make_folder(self.path.parent)
            kept = list(_whole_lines(self.path, self.first))
            write_text(self.path, "".join(kept))
            self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a step."""
        if self._file is not None:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()


def _whole_lines(path: Path, before: int) -> list[str]:
    """The lines of steps before a number; a last line that a kill has cut is not one of them."""
    if not path.is_file():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError):
            break
        if step >= before or not line.endswith("\n"):
            break
        kept.append(line)
    return kept


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically."""
    with replacing(path) as temporary:
        torch.save(dict(content), temporary)


def read_state(path: Path, run: Mapping[str, str]) -> dict[str, Any] | None:
    """The checkpoint of a run, if there is one.

    Raises:
        TrainingError: it is another run's, or broken.
    """
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        theirs = content["run"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{path}: broken, wanted the checkpoint of a training, or no file") from error
    apart = [f"{key} {theirs.get(key)!r}, not {value!r}" for key, value in run.items() if theirs.get(key) != value]
    if apart:
        told = "; ".join(apart)[:300]
        raise TrainingError(f"{path}: another run's checkpoint ({told}), wanted the same settings or another --out")
    return content
