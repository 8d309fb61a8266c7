"""Two measurements against each other: only if their conditions agree, and with an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.errors import RecordError

# What must be equal for two latencies to mean the same thing.
_MUST_AGREE = (
    "device", "machine", "system", "cores", "governor", "runtime", "runtime_version", "provider",
    "graph_optimization", "mode", "threads", "spin", "warmup", "burst", "input_shape",
)  # fmt: skip
_RESAMPLES = 2000


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


def compare(base: Mapping[str, Any], new: Mapping[str, Any], confidence: float = 0.99, seed: int = 0) -> Comparison:
    """Compare two records of ``measure`` (:meth:`Timing.to_dict`).

    Whole turns are resampled, since runs of one turn are alike; the same turns of both records if
    they were measured together, which takes the machine's drift out of the ratio.

    Raises:
        RecordError: conditions that differ (each is named with both values), or a record without
            samples.
    """
    _refuse_if_different(base, new)
    paired = base["conditions"].get("measurement") == new["conditions"].get("measurement") is not None
    a, b = _turns(base), _turns(new)
    random = np.random.default_rng(seed)
    ratios = np.empty(_RESAMPLES)
    for i in range(_RESAMPLES):
        pick_a = random.integers(len(a), size=len(a))
        pick_b = pick_a if paired and len(a) == len(b) else random.integers(len(b), size=len(b))
        ratios[i] = np.median(b[pick_b]) / np.median(a[pick_a])
    tail = 50 * (1 - confidence)
    low, high = (float(np.percentile(ratios, q)) for q in (tail, 100 - tail))
    verdict = "faster" if high < 1 else "slower" if low > 1 else "no difference"
    ratio = float(np.median(b) / np.median(a))
    return Comparison(str(base["file"]), str(new["file"]), ratio, low, high, confidence, paired, verdict)


def _refuse_if_different(base: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    one, two = (_conditions(record) for record in (base, new))
    apart = [f"{key}: {one.get(key)!r} and {two.get(key)!r}" for key in _MUST_AGREE if one.get(key) != two.get(key)]
    if apart:
        raise RecordError(f"{base['file']} and {new['file']} cannot be compared: {'; '.join(apart)}")


def _conditions(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's conditions, all of them; of the input only the shape matters, not its name."""
    where = f"record of {record.get('file', 'an unnamed file')}"
    conditions, samples = record.get("conditions"), record.get("samples_ms")
    if not isinstance(conditions, Mapping):
        raise RecordError(f"{where}: got conditions {conditions!r}, wanted a record of bench")
    missing = [key for key in _MUST_AGREE if key not in conditions]
    if missing:
        raise RecordError(f"{where}: its conditions lack {' '.join(missing)}, wanted a record of bench")
    burst, shapes = conditions["burst"], conditions["input_shape"]
    if not isinstance(burst, int) or burst < 1 or not isinstance(shapes, Mapping):
        raise RecordError(f"{where}: got burst {burst!r} and input_shape {shapes!r}, wanted a record of bench")
    good = isinstance(samples, list) and all(isinstance(x, (int, float)) and 0 < x < math.inf for x in samples)
    if not good or len(samples or ()) < 2 * burst:
        raise RecordError(f"{where}: samples_ms is not two turns or more of times above 0, wanted a record of bench")
    return {**conditions, "input_shape": list(shapes.values())}


def _turns(record: Mapping[str, Any]) -> NDArray[np.float64]:
    """Samples as (turns, runs of a turn)."""
    burst = record["conditions"]["burst"]
    samples = np.asarray(record["samples_ms"], dtype=np.float64)
    return samples[: len(samples) // burst * burst].reshape(-1, burst)
