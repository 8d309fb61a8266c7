"""Two measurements against each other: only if their conditions agree, and with an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from scarlet_zoo.errors import RecordError
from scarlet_zoo.measurement.records import Record, check_record

# What must be equal for two latencies to mean the same thing.
_MUST_AGREE = (
    "device", "machine", "system", "cores", "governor", "cpu_features", "mode", "threads", "spin", "affinity",
    "warmup", "burst", "frame_ms", "processes",
)  # fmt: skip
# What must be equal as well, unless both were measured in turns: then the runtime is what is compared.
_MUST_AGREE_APART = ("runtime", "runtime_version", "runtime_build", "provider", "graph_optimization")
_RESAMPLES, _AT_ONCE = 2000, 250
# Turns of an opening, (turns, runs of a turn).
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
        base_stable, new_stable: whether each one's runs varied by at most 5 %.
    """

    base: str
    new: str
    ratio: float
    low: float
    high: float
    confidence: float
    paired: bool
    verdict: str
    base_stable: bool
    new_stable: bool

    @property
    def stable(self) -> bool:
        """Whether the verdict stands on steady measurements alone."""
        return self.base_stable and self.new_stable

    def to_dict(self) -> dict[str, Any]:
        """All fields and ``stable`` as JSON values."""
        return {**asdict(self), "stable": self.stable}


def compare(
    base: Record | Mapping[str, Any], new: Record | Mapping[str, Any], confidence: float = 0.99, seed: int = 0
) -> Comparison:
    """Compare two records of ``measure`` (:meth:`Timing.to_dict`) or ``bench``.

    The ratio is the geometric mean over openings of the ratio of medians. Whole openings are resampled, because where
    a file's memory lies makes a difference for as long as it is open, or whole turns of a single one, since runs of one
    turn are alike; the same ones of both records if they were measured together, which takes the machine's drift out.
    A percentile interval of few openings is too narrow; it is widened by t(n - 1) / z * sqrt(n / (n - 1)) around the
    ratio (Hesterberg, "What teachers should know about the bootstrap", 2015, section 4.2.1).

    Args:
        base: the record that is compared with.
        new: the record whose latency is told as a ratio of the base's; below 1 it is faster.
        confidence: of the interval.
        seed: of the resamples.

    Raises:
        RecordError: conditions that differ (each is named with both values), or what is no sound record.
    """
    one, two = (row if isinstance(row, Record) else check_record(row, _name(row)) for row in (base, new))
    paired = one.conditions.measurement == two.conditions.measurement
    _refuse_if_different(one, two, paired)
    a, b = _openings(one), _openings(two)
    alike = paired and [turns.shape for turns in a] == [turns.shape for turns in b]
    logs = _resampled(b, seed) - _resampled(a, seed if alike else seed + 1)
    centre, tail = _log_median(b) - _log_median(a), 50 * (1 - confidence)
    wider = _widening(min(len(a), len(b)), confidence)
    low, high = (float(np.exp(centre + wider * (np.percentile(logs, q) - centre))) for q in (tail, 100 - tail))
    verdict = "faster" if high < 1 else "slower" if low > 1 else "no difference"
    return Comparison(one.file, two.file, float(np.exp(centre)), low, high, confidence, paired, verdict,
                      one.stable is not False, two.stable is not False)  # fmt: skip


def median_interval(record: Record, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Bounds in milliseconds of a record's median latency, by the bootstrap of :func:`compare`."""
    openings = _openings(record)
    logs, centre, tail = _resampled(openings, seed), _log_median(openings), 50 * (1 - confidence)
    wider = _widening(len(openings), confidence)
    low, high = (float(np.exp(centre + wider * (np.percentile(logs, q) - centre))) for q in (tail, 100 - tail))
    return min(low, record.p50_ms), max(high, record.p50_ms)


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


def _openings(record: Record) -> list[Turns]:
    """Samples by opening and turn."""
    samples, burst = np.asarray(record.samples_ms), record.conditions.burst
    of = np.asarray(record.opening_of_sample or np.zeros(len(samples), int))
    own = [samples[of == opening] for opening in np.unique(of)]
    return [times[: len(times) // burst * burst].reshape(-1, burst) for times in own if len(times) >= burst]


def _log_median(openings: list[Turns]) -> float:
    """Mean over openings of the logarithm of the median."""
    return float(np.mean([np.log(np.median(turns)) for turns in openings]))


def _resampled(openings: list[Turns], seed: int) -> NDArray[np.float64]:
    """The same of resamples with replacement: of openings, or of the turns of a single one.

    One seed draws the same of any values. What varies inside an opening is in its median already.
    """
    random = np.random.default_rng(seed)
    if len(openings) > 1:
        logs = np.log([np.median(turns) for turns in openings])
        means: NDArray[np.float64] = logs[random.integers(len(logs), size=(_RESAMPLES, len(logs)))].mean(axis=1)
        return means
    (turns,) = openings
    medians = np.empty(_RESAMPLES)
    for start in range(0, _RESAMPLES, _AT_ONCE):
        picked = turns[random.integers(len(turns), size=(_AT_ONCE, len(turns)))]
        medians[start : start + _AT_ONCE] = np.median(picked.reshape(_AT_ONCE, -1), axis=1)
    return np.log(medians)


@cache
def _widening(count: int, confidence: float) -> float:
    """How much wider an interval of so few independent values is than its resamples say; 1 for a single opening."""
    if count == 1:
        return 1.0
    tail = (1 + confidence) / 2
    return float(t.ppf(tail, count - 1) / NormalDist().inv_cdf(tail) * np.sqrt(count / (count - 1)))
