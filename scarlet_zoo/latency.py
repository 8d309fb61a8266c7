"""How long a network takes: measured on ONNX Runtime, several files in turn, with all conditions.

This file stands alone: it needs numpy and onnxruntime, emits plain values, and can be copied to a
device and run there (``python latency.py FILE...`` prints JSON).
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort

MIN_RUNS, MIN_SECONDS = 100, 2.0
_PROVIDER = "CPUExecutionProvider"
_DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(float16)": np.float16}


class MeasurementError(ValueError):
    """A measurement that cannot be made as asked."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure.

    Attributes:
        threads: intra-op threads, at least 1; ONNX Runtime's own guess (0) is not allowed.
        warmup: runs of each file before any counts.
        runs: counted runs of each file, at least 100.
        seconds: time spent on each file's counted runs, at least 2; both bounds hold.
        burst: counted runs of one file before the next one's turn; each turn begins with one run
            that does not count, because the other file has emptied the caches.
        spin: whether idle threads spin, which is faster and drains a battery.
    """

    threads: int = 1
    warmup: int = 10
    runs: int = MIN_RUNS
    seconds: float = MIN_SECONDS
    burst: int = 5
    spin: bool = True

    def __post_init__(self) -> None:
        for name, least in (("threads", 1), ("warmup", 1), ("runs", MIN_RUNS), ("seconds", MIN_SECONDS), ("burst", 1)):
            if not getattr(self, name) >= least:
                raise MeasurementError(f"measurement: got {name} = {getattr(self, name)}, wanted {least} or more")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One file's latency, in milliseconds for one batch of one image.

    Attributes:
        file: as it was named.
        p50_ms, p90_ms, p99_ms, min_ms: of the counted runs.
        cv: their standard deviation over their mean.
        load_ms, first_ms: session creation and first run, in a fresh process.
        peak_rss_bytes: largest resident memory of that process, interpreter and runtime included.
        conditions: what the numbers depend on.
        samples_ms: every counted run, in order.
    """

    file: str
    p50_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    cv: float
    runs: int
    load_ms: float
    first_ms: float
    peak_rss_bytes: int
    conditions: Mapping[str, Any]
    samples_ms: Sequence[float] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def measure(
    files: Sequence[str | os.PathLike[str]],
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    open_runner: OpenRunner | None = None,
    cold_start: Callable[[Path, Settings], dict[str, float]] | None = None,
) -> list[Timing]:
    """Measure files side by side in this process.

    The files take turns until each has its runs and its seconds, so that a machine that slows
    down slows down all of them.

    Args:
        files: ONNX files; inputs of any number, dynamic dimensions are taken as 1.
        settings: how; the defaults when left out.
        progress: called after every turn with turns done and turns expected.
        open_runner, cold_start: for files of other runtimes, see :mod:`scarlet_zoo.runtimes.running`.

    Raises:
        MeasurementError: no files, a file that ONNX Runtime does not load, or not on the CPU.
    """
    settings = settings or Settings()
    if not files:
        raise MeasurementError("measurement: no files, wanted one or more")
    paths = [Path(file) for file in files]
    cold = [(cold_start or ort_cold_start)(path, settings) for path in paths]
    before = _load_and_frequency()
    runners = [(open_runner or Runner)(path, settings) for path in paths]
    samples = _take_turns(runners, settings, progress)
    shared = _conditions(settings, before)
    rows = zip(paths, runners, samples, cold, strict=True)
    return [_summarise(*row, shared) for row in rows]


class AnyRunner(Protocol):
    """A loaded file of any runtime."""

    @property
    def feeds(self) -> Mapping[str, Any]:
        """Its inputs by name."""

    @property
    def conditions(self) -> Mapping[str, Any]:
        """The runtime, its version, and how it was set up."""

    def time_ms(self) -> float:
        """Run once; milliseconds."""


OpenRunner = Callable[[Path, Settings], AnyRunner]


class Runner:
    """A loaded file with its input bound, ready to run again and again."""

    conditions: Mapping[str, Any] = {"runtime": "onnxruntime", "runtime_version": ort.__version__,
                                     "provider": _PROVIDER, "graph_optimization": "all"}  # fmt: skip

    def __init__(self, path: Path, settings: Settings) -> None:
        self.session = _open_session(path, settings)
        self.feeds = {item.name: _random_input(path, item) for item in self.session.get_inputs()}
        self.binding = self.session.io_binding()
        for name, value in self.feeds.items():
            self.binding.bind_cpu_input(name, value)
        for output in self.session.get_outputs():
            self.binding.bind_output(output.name)

    def time_ms(self) -> float:
        """Run once; milliseconds."""
        start = time.perf_counter_ns()
        self.session.run_with_iobinding(self.binding)
        return (time.perf_counter_ns() - start) / 1e6


def _open_session(path: Path, settings: Settings) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if settings.spin else "0")
    # Between runs nobody spins: a thread of the last file's would take a core from the next one's.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = ort.InferenceSession(str(path), options, providers=[_PROVIDER])
    except Exception as error:
        # The runtime's exceptions have no common base but Exception.
        reason = str(error).strip().split("\n")[0]
        raise MeasurementError(f"{path}: ONNX Runtime {ort.__version__} does not load it: {reason}") from error
    if session.get_providers() != [_PROVIDER]:
        raise MeasurementError(f"{path}: runs on {session.get_providers()}, wanted {_PROVIDER}")
    return session


def _random_input(path: Path, item: Any) -> Any:
    if item.type not in _DTYPES:
        raise MeasurementError(f"{path}: input {item.name!r} is {item.type}, wanted one of {' '.join(_DTYPES)}")
    shape = [side if isinstance(side, int) else 1 for side in item.shape]
    random = np.random.default_rng(0)
    if item.type == "tensor(uint8)":
        return random.integers(0, 256, shape, dtype=np.uint8)
    return random.standard_normal(shape).astype(_DTYPES[item.type])


def _take_turns(
    runners: Sequence[AnyRunner], settings: Settings, progress: Callable[[int, int], None] | None
) -> list[list[float]]:
    for runner in runners:
        for _ in range(settings.warmup):
            runner.time_ms()
    samples: list[list[float]] = [[] for _ in runners]
    spent_ms, turn = [0.0] * len(runners), 0
    while len(samples[0]) < settings.runs or min(spent_ms) < settings.seconds * 1e3:
        for i, runner in enumerate(runners):
            runner.time_ms()
            burst = [runner.time_ms() for _ in range(settings.burst)]
            samples[i] += burst
            spent_ms[i] += sum(burst)
        turn += 1
        if progress is not None:
            done = min(len(samples[0]) / settings.runs, min(spent_ms) / (settings.seconds * 1e3))
            progress(turn, max(turn, round(turn / done)))
    return samples


def ort_cold_start(path: Path, settings: Settings) -> dict[str, float]:
    """Load and first run in a process of their own, where nothing is warm and memory is the file's alone."""
    # Asked here first, so that a bad file is an error of this process and not of the child.
    _open_session(path, settings)
    command = [sys.executable, __file__, "--cold", "--threads", str(settings.threads), str(path)]
    return in_fresh_process(command, path)


def in_fresh_process(command: Sequence[str], path: Path) -> dict[str, float]:
    """What a command that measures a cold start prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").split("\n")[-1]
        raise MeasurementError(f"{path}: fails in a fresh process: {reason}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def measure_cold(open_runner: OpenRunner, path: Path, settings: Settings) -> dict[str, float]:
    """Load and run a file once, in this process, which should be a fresh one."""
    start = time.perf_counter_ns()
    runner = open_runner(path, settings)
    loaded = time.perf_counter_ns()
    first_ms = runner.time_ms()
    return {"load_ms": (loaded - start) / 1e6, "first_ms": first_ms, "peak_rss_bytes": peak_rss_bytes()}


def peak_rss_bytes() -> int:
    """High-water mark of this process's memory; getrusage's would remember the parent's across exec."""
    status = _read("/proc/self/status")
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _summarise(
    path: Path, runner: AnyRunner, times: Sequence[float], cold: Mapping[str, float], shared: Mapping[str, Any]
) -> Timing:
    p50, p90, p99 = (float(np.percentile(times, q)) for q in (50, 90, 99))
    own = {
        **runner.conditions,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "input_shape": {name: list(value.shape) for name, value in runner.feeds.items()},
    }
    return Timing(
        file=str(path),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        min_ms=min(times),
        cv=float(np.std(times) / np.mean(times)),
        runs=len(times),
        load_ms=cold["load_ms"],
        first_ms=cold["first_ms"],
        peak_rss_bytes=int(cold["peak_rss_bytes"]),
        conditions={**shared, **own},
        samples_ms=list(times),
    )


def _conditions(settings: Settings, before: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "device": cpu_model(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": os.cpu_count(),
        "mode": "hot",
        **asdict(settings),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
        "before": dict(before),
        "after": _load_and_frequency(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "measurement": uuid.uuid4().hex,
    }


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith(("model name", "Hardware")):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _load_and_frequency() -> dict[str, Any]:
    mhz = [float(line.partition(":")[2]) for line in _read("/proc/cpuinfo").splitlines() if line.startswith("cpu MHz")]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"load_average": load, "cpu_mhz": mhz or None}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _main() -> None:
    parser = argparse.ArgumentParser(description="Measure ONNX files and print JSON.")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cold", action="store_true", help="one load and one run of one file, in this process")
    arguments = parser.parse_args()
    settings = Settings(threads=arguments.threads)
    paths = [Path(file) for file in arguments.files]
    result: Any = (
        measure_cold(Runner, paths[0], settings) if arguments.cold else [t.to_dict() for t in measure(paths, settings)]
    )
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    _main()
