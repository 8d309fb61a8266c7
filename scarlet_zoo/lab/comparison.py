"""Two measurements against each other: only if their conditions agree, and with an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.errors import RecordError
from scarlet_zoo.lab.records import Record, check_record

# What must be equal for two latencies to mean the same thing.
_MUST_AGREE = (
    "device", "machine", "system", "cores", "governor", "cpu_features", "mode", "threads", "spin", "affinity",
    "warmup", "burst", "frame_ms", "processes",
)  # fmt: skip
# What must be equal as well, unless both were measured in turns: then the runtime is what is compared.
_MUST_AGREE_APART = ("runtime", "runtime_version", "runtime_build", "provider", "graph_optimization")
_RESAMPLES = 2000
# Turns of a process, (turns, runs of a turn).
Turns = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The second file's median latency over the first's.

    Attributes:
        base, new: the files.
        ratio: new over base; below 1 the new one is faster.
        low, high: bounds of the bootstrap interval of the ratio.
        confidence: of the interval.
        paired: whether both were measured in turns in one process.
        verdict: ``faster``, ``slower`` or ``no difference`` (the interval holds 1).
    """

    base: str
    new: str
    ratio: float
    low: float
    high: float
    confidence: float
    paired: bool
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def compare(
    base: Record | Mapping[str, Any], new: Record | Mapping[str, Any], confidence: float = 0.99, seed: int = 0
) -> Comparison:
    """Compare two records of ``measure`` (:meth:`Timing.to_dict`) or ``bench``.

    Whole turns are resampled, since runs of one turn are alike, and before them whole processes where there were
    several; the same ones of both records if they were measured together, which takes the machine's drift out of
    the ratio.

    Raises:
        RecordError: conditions that differ (each is named with both values), or what is no sound record.
    """
    one, two = (row if isinstance(row, Record) else check_record(row, _name(row)) for row in (base, new))
    paired = one.conditions.measurement == two.conditions.measurement
    _refuse_if_different(one, two, paired)
    a, b = _processes(one), _processes(two)
    alike = paired and [turns.shape for turns in a] == [turns.shape for turns in b]
    random = np.random.default_rng(seed)
    ratios = np.empty(_RESAMPLES)
    for i in range(_RESAMPLES):
        pick_a = _pick(a, random)
        ratios[i] = _median(b, pick_a if alike else _pick(b, random)) / _median(a, pick_a)
    tail = 50 * (1 - confidence)
    low, high = (float(np.percentile(ratios, q)) for q in (tail, 100 - tail))
    verdict = "faster" if high < 1 else "slower" if low > 1 else "no difference"
    ratio = _median(b) / _median(a)
    return Comparison(one.file, two.file, ratio, low, high, confidence, paired, verdict)


def _name(record: Any) -> str:
    return f"record of {record.get('file', 'an unnamed file')}" if isinstance(record, Mapping) else "record"


def _refuse_if_different(base: Record, new: Record, paired: bool) -> None:
    keys = _MUST_AGREE if paired else (*_MUST_AGREE, *_MUST_AGREE_APART)
    values = {key: (getattr(base.conditions, key), getattr(new.conditions, key)) for key in keys}
    # Of the input only the shape matters, not its name.
    values["input_shape"] = (list(base.conditions.input_shape.values()), list(new.conditions.input_shape.values()))
    apart = [f"{key}: {one!r} and {two!r}" for key, (one, two) in values.items() if one != two]
    if apart:
        raise RecordError(f"{base.file} and {new.file} cannot be compared: {'; '.join(apart)}")


def _processes(record: Record) -> list[Turns]:
    """Samples by process and turn."""
    samples, burst = np.asarray(record.samples_ms), record.conditions.burst
    of = np.asarray(record.process_of_sample or np.zeros(len(samples), int))
    own = [samples[of == process] for process in np.unique(of)]
    return [times[: len(times) // burst * burst].reshape(-1, burst) for times in own]


def _pick(processes: list[Turns], random: np.random.Generator) -> list[tuple[int, NDArray[np.int64]]]:
    """Processes, and turns of each, with replacement."""
    chosen = random.integers(len(processes), size=len(processes)) if len(processes) > 1 else [0]
    return [(int(i), random.integers(len(processes[i]), size=len(processes[i]))) for i in chosen]


def _median(processes: list[Turns], picked: list[tuple[int, NDArray[np.int64]]] | None = None) -> float:
    rows = processes if picked is None else [processes[i][turns] for i, turns in picked]
    return float(np.median(np.concatenate([row.ravel() for row in rows])))
