"""Compare two measurements: only if their conditions agree, and with a confidence interval."""

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

# Conditions that must be equal for two latencies to be comparable.
_MUST_AGREE = (
    "device", "machine", "system", "cores", "governor", "cpu_features", "mode", "threads", "spin", "affinity",
    "warmup", "burst", "frame_ms", "processes",
)  # fmt: skip
# Conditions that must be equal as well unless both were measured interleaved; then runtimes are compared.
_MUST_AGREE_APART = ("runtime", "runtime_version", "runtime_build", "provider", "provider_options",
                      "graph_optimization")  # fmt: skip
_RESAMPLES, _AT_ONCE = 2000, 250
# The samples of one session in milliseconds, (bursts, runs of a burst).
Bursts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The ratio of the second file's median latency to the first's.

    Attributes:
        base, new: names of the files.
        ratio: latency of ``new`` over that of ``base``; below 1 ``new`` is faster.
        low, high: bounds of the bootstrap interval of the ratio.
        confidence: confidence level of the interval, between 0 and 1.
        paired: whether both were measured interleaved, in one measurement.
        verdict: ``faster``, ``slower`` or ``no difference`` (the interval contains 1).
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
        """Whether both measurements are stable."""
        return self.base_stable and self.new_stable

    def to_dict(self) -> dict[str, Any]:
        """All fields and ``stable`` as JSON values."""
        return {**asdict(self), "stable": self.stable}


def compare(
    base: Record | Mapping[str, Any], new: Record | Mapping[str, Any], confidence: float = 0.99, seed: int = 0
) -> Comparison:
    """Compare two records of ``measure`` (:meth:`Timing.to_dict`) or ``bench``.

    The ratio is the geometric mean over sessions of the ratio of medians. The bootstrap resamples whole sessions,
    because the place of a file's memory affects every run of its session. If there is only one session, it resamples
    whole bursts, because the runs of one burst are alike. If both records were measured together, the same sessions or
    bursts are drawn from both, which cancels the machine's drift. A percentile interval of few sessions is too narrow;
    it is widened by t(n - 1) / z * sqrt(n / (n - 1)) around the ratio (Hesterberg, "What teachers should know about the
    bootstrap", 2015, section 4.2.1).

    Args:
        base: the record to compare with.
        new: the record whose latency is divided by that of ``base``; a ratio below 1 means that it is faster.
        confidence: confidence level of the interval, between 0 and 1.
        seed: seed of the bootstrap.

    Raises:
        RecordError: conditions differ (each is named with both values), or one is not a valid record.
    """
    one, two = (row if isinstance(row, Record) else check_record(row, _name(row)) for row in (base, new))
    paired = one.conditions.measurement == two.conditions.measurement
    _refuse_if_different(one, two, paired)
    a, b = _sessions(one), _sessions(two)
    alike = paired and [bursts.shape for bursts in a] == [bursts.shape for bursts in b]
    logs = _resampled(b, seed) - _resampled(a, seed if alike else seed + 1)
    centre, tail = _log_median(b) - _log_median(a), 50 * (1 - confidence)
    wider = _widening(min(len(a), len(b)), confidence)
    low, high = (float(np.exp(centre + wider * (np.percentile(logs, q) - centre))) for q in (tail, 100 - tail))
    verdict = "faster" if high < 1 else "slower" if low > 1 else "no difference"
    return Comparison(one.file, two.file, float(np.exp(centre)), low, high, confidence, paired, verdict,
                      one.stable is not False, two.stable is not False)  # fmt: skip


def median_interval(record: Record, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Confidence bounds in milliseconds of a record's median latency, by the bootstrap of :func:`compare`."""
    sessions = _sessions(record)
    logs, centre, tail = _resampled(sessions, seed), _log_median(sessions), 50 * (1 - confidence)
    wider = _widening(len(sessions), confidence)
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


def _sessions(record: Record) -> list[Bursts]:
    """Samples by session and burst."""
    samples, burst = np.asarray(record.samples_ms), record.conditions.burst
    of = np.asarray(record.opening_of_sample or np.zeros(len(samples), int))
    own = [samples[of == session] for session in np.unique(of)]
    return [times[: len(times) // burst * burst].reshape(-1, burst) for times in own if len(times) >= burst]


def _log_median(sessions: list[Bursts]) -> float:
    """Mean over sessions of the logarithm of the median."""
    return float(np.mean([np.log(np.median(bursts)) for bursts in sessions]))


def _resampled(sessions: list[Bursts], seed: int) -> NDArray[np.float64]:
    """:func:`_log_median` of resamples with replacement: of sessions, or of the bursts of a single session.

    The same seed draws the same sessions or bursts whatever the values. The median of a session already holds what
    varies inside it.
    """
    random = np.random.default_rng(seed)
    if len(sessions) > 1:
        logs = np.log([np.median(bursts) for bursts in sessions])
        means: NDArray[np.float64] = logs[random.integers(len(logs), size=(_RESAMPLES, len(logs)))].mean(axis=1)
        return means
    (bursts,) = sessions
    medians = np.empty(_RESAMPLES)
    for start in range(0, _RESAMPLES, _AT_ONCE):
        picked = bursts[random.integers(len(bursts), size=(_AT_ONCE, len(bursts)))]
        medians[start : start + _AT_ONCE] = np.median(picked.reshape(_AT_ONCE, -1), axis=1)
    return np.log(medians)


@cache
def _widening(count: int, confidence: float) -> float:
    """Factor that widens the bootstrap interval of ``count`` independent sessions; 1 for a single session."""
    if count == 1:
        return 1.0
    tail = (1 + confidence) / 2
    return float(t.ppf(tail, count - 1) / NormalDist().inv_cdf(tail) * np.sqrt(count / (count - 1)))
