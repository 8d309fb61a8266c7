"""The state of a training: its checkpoint, its log of steps, its averaged weights and the time it has taken."""

from __future__ import annotations

import ast
import json
import math
import sys
import time
import warnings
from collections.abc import Mapping
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from scarlet_zoo.errors import ScarletWarning, TrainingError
from scarlet_zoo.utils.files import make_folder, replacing, write_text
from scarlet_zoo.utils.reading import parse_json
from scarlet_zoo.utils.schema_versions import SCHEMA_KEY, SCHEMAS, refuse_newer

STEPS_FILE = "steps.jsonl"
# The default of a fact that has none: every checkpoint must have it.
_NEEDED = object()


class Spent:
    """The time that a training has taken, over all sessions.

    Attributes:
        seconds: wall-clock time.
        core_seconds: processor time of this process; NaN if an early session did not count it.
    """

    def __init__(self) -> None:
        self.seconds = self.core_seconds = 0.0
        self._at = (0.0, 0.0)

    def begin(self) -> None:
        """Start the clock of a session."""
        self._at = (time.monotonic(), time.process_time())

    def mark(self) -> None:
        """Add the time since the last call, at the end of a step."""
        now = (time.monotonic(), time.process_time())
        self.seconds += now[0] - self._at[0]
        self.core_seconds += now[1] - self._at[1]
        self._at = now

    def load(self, content: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        # Old checkpoints have no core_seconds.
        self.seconds, self.core_seconds = float(content["seconds"]), float(content.get("core_seconds", math.nan))

    def to_dict(self) -> dict[str, float]:
        """Return what :meth:`load` reads."""
        return {"seconds": self.seconds, "core_seconds": self.core_seconds}


class EmaWeights:
    """The exponential moving average of a network's weights and batch norm statistics.

    Only the tensors that a step has changed are updated, so the average of a supernet's choice is constant while
    the choice is not sampled.

    Args:
        model: the network.
        decay: share of the old average in each update; (1 + n) / (10 + n) for update n while that is smaller.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {key: value.detach().clone() for key, value in model.state_dict().items()}
        self.updates = dict.fromkeys(self.state, 0)

    def update(self, model: nn.Module) -> None:
        """Update the average with the weights after a step."""
        moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        modules = {name.rpartition(".")[0] for name in moved}
        # One call for all tensors of a share: on an accelerator each call takes as long as a small tensor's update.
        averages: dict[float, tuple[list[Tensor], list[Tensor]]] = {}
        counters: tuple[list[Tensor], list[Tensor]] = ([], [])
        with torch.no_grad():
            for key, value in model.state_dict().items():
                if key not in moved and key.rpartition(".")[0] not in modules:
                    continue
                self.updates[key] = count = self.updates[key] + 1
                if value.dtype.is_floating_point:
                    own, new = averages.setdefault(1 - min(self.decay, (1 + count) / (10 + count)), ([], []))
                    own.append(self.state[key])
                    new.append(value)
                else:
                    counters[0].append(self.state[key])
                    counters[1].append(value)
            for share, (own, new) in averages.items():
                torch._foreach_lerp_(own, new, share)
            if counters[0]:
                torch._foreach_copy_(*counters)

    def load(self, content: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        for key, value in content["state"].items():
            self.state[key].copy_(value)
        self.updates = dict(content["updates"])

    def to_dict(self) -> dict[str, Any]:
        """Return what :meth:`load` reads."""
        return {"state": self.state, "updates": self.updates}


class Writes:
    """Lists which of a model's tensors a step has written to, by torch's version counters.

    That needs no copy of the model. Writing the same value counts as a write. The counters of a batch norm's running
    statistics do not change; the counter of its ``num_batches_tracked``, which is updated with them, is added.
    """

    def __init__(self, model: nn.Module) -> None:
        # The tensors of a state dict are detached and share the version counters of the originals.
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
        """Return the names of the tensors written to since the last call, in the state dict's order."""
        before, self._counts = self._counts, self._read()
        return [name for name, count in self._counts.items() if count != before[name]]


class StepLog:
    """Writes ``steps.jsonl``: one flushed line for each step, and no step twice even after a killed run.

    Args:
        path: the file.
        first: number of the next step; lines of this step and later ones are removed.
        enabled: whether this process writes; only one process of a training does.
    """

    def __init__(self, path: Path, first: int, *, enabled: bool = True) -> None:
        self.path, self.first, self.enabled = path, first, enabled
        self._file: TextIOWrapper | None = None

    def __enter__(self) -> StepLog:
        if self.enabled:
            make_folder(self.path.parent)
            remaining = _whole_lines(self.path, self.first)
            if len(remaining) < self.first:
                warnings.warn(
                    f"{self.path}: holds {len(remaining)} of the {self.first} steps before this one; the training goes "
                    "on, its log has a gap",
                    ScarletWarning,
                    stacklevel=2,
                )
            write_text(self.path, "".join(remaining))
            self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Write the line of a step."""
        if self._file is not None:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()


def _whole_lines(path: Path, before: int) -> list[str]:
    """The complete lines of the steps before a number; a killed run may leave an incomplete last line."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            whole = int(parse_json(line)["step"]) < before and line.endswith("\n")
        except (ValueError, KeyError, TypeError):
            break
        if not whole:
            break
        lines.append(line)
    return lines


def read_losses(path: Path) -> list[float]:
    """Return the loss of each step that a log of steps holds, in order; none where there is no log.

    Raises:
        TrainingError: a step has no loss.
    """
    try:
        return [float(row["loss"]) for row in read_steps(path)]
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{path}: a step without a loss, wanted the log of a training") from error


def read_steps(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a log of steps up to the first incomplete one; none where there is no log."""
    return [parse_json(line) for line in _whole_lines(path, sys.maxsize)]


def load_checkpoint(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """Load the checkpoint of a training, with its identity under ``run``; no code of the file runs.

    Args:
        path: the file.
        mmap: whether tensors are read when they are used.

    Raises:
        TrainingError: the file is broken, or is something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        valid = isinstance(content, dict) and isinstance(content.get("run"), dict)
    except Exception as error:  # a broken file can make torch's reader raise anything
        raise TrainingError(f"{path}: a broken file, wanted the checkpoint of a training or no file") from error
    if not valid:
        raise TrainingError(f"{path}: has no run, wanted the checkpoint of a training or no file")
    refuse_newer("checkpoint", content, path, TrainingError)
    found: dict[str, Any] = content
    return found


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically."""
    with replacing(path) as temporary:
        torch.save({SCHEMA_KEY: SCHEMAS["checkpoint"], **content}, temporary)


def read_state(path: Path, run: Mapping[str, str], defaults: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """Read the checkpoint of a run; None if there is no file.

    Args:
        path: the checkpoint.
        run: identity of the run, which must equal the checkpoint's.
        defaults: values of settings by name. A setting that the checkpoint does not have, because it is older, must
            have its default.

    Raises:
        TrainingError: the checkpoint is broken, belongs to another run, or a newer version of this package wrote it.
    """
    if not path.is_file():
        return None
    content = load_checkpoint(path)
    theirs = content["run"]
    differing = [
        f"{key} {theirs.get(key)!r}, not {value!r}"
        for key, value in run.items()
        if not _is_same(theirs.get(key), value, (defaults or {}).get(key, _NEEDED))
    ]
    if differing:
        differences = "; ".join(differing)[:300]
        raise TrainingError(
            f"{path}: the checkpoint of another run ({differences}), wanted the same settings or another --out; "
            "--continue-from starts a new run in another --out from the result of a finished one"
        )
    return content


def _is_same(theirs: str | None, ours: str, default: Any) -> bool:
    """Whether a fact of a run is that of its checkpoint; what an older checkpoint lacks must have its default."""
    if theirs is None or theirs == ours:
        return theirs == ours or (default is not _NEEDED and ours == str(default))
    try:
        old, new = ast.literal_eval(theirs), ast.literal_eval(ours)
    except (ValueError, SyntaxError):
        return False
    if not (isinstance(old, dict) and isinstance(new, dict) and isinstance(default, dict)):
        return False
    return all(value == (old[key] if key in old else default.get(key)) for key, value in new.items()) and (
        old.keys() <= new.keys()
    )
