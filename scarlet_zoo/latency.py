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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort

# Each way of measuring, with the least number of counted runs and the least seconds that they take together.
MODES = {"hot": (100, 2.0), "cold": (100, 2.0), "camera": (100, 2.0), "sustained": (100, 30.0),
         "single-stream": (1024, 60.0)}  # fmt: skip
STEADY_CV = 0.05  # more variation than that and a measurement is called unstable
# A processor has settled when so many windows in a row agree in median and in temperature.
_WINDOW_S, _WINDOWS, _WITHIN, _WITHIN_C = 1.0, 8, 0.02, 2.0
_PROVIDER = "CPUExecutionProvider"
EMULATED = "SCARLET_ZOO_EMULATED"  # in the environment of a processor that is only played: nothing is measured there
_DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(float16)": np.float16}
# What decides which kernels a runtime chooses.
_FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp",
             "i8mm", "bf16", "sve", "sve2", "sme")  # fmt: skip


class MeasurementError(ValueError):
    """A measurement that cannot be made as asked."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure.

    Attributes:
        mode: ``hot``: files in turns, each in bursts of runs back to back; ``cold``: all caches are swept before
            every run; ``camera``: a run, then idle until the next frame; ``sustained``: one file after the other,
            back to back until median and temperature have settled, which is what counts; ``single-stream``: one
            file after the other as in MLPerf, 1,024 runs and a minute at least, whose score is ``p90_ms``.
        threads: intra-op threads, at least 1; ONNX Runtime's own guess (0) is not allowed.
        warmup: runs of each file before any counts.
        runs, seconds: counted runs of each file, and the time they take together, at least; both bounds hold, and
            are the mode's own when left out (:data:`MODES`).
        burst: counted runs of one file before the next one's turn; each turn begins with one run
            that does not count, because the other file has emptied the caches.
        openings: how often all files are opened anew, in modes that take turns. Where a file's memory happens to
            lie makes a difference for as long as it is open.
        spin: whether idle threads spin, which is faster and drains a battery.
        affinity: processors that may be used; all that this process may use when left out.
        frame_ms: of mode ``camera``.
        limit_s: of mode ``sustained``: after so long what has not settled is called so.
    """

    mode: str = "hot"
    threads: int = 1
    warmup: int = 10
    runs: int | None = None
    seconds: float | None = None
    burst: int = 5
    openings: int = 16
    spin: bool = True
    affinity: tuple[int, ...] | None = None
    frame_ms: float = 1000 / 30
    limit_s: float = 600.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise MeasurementError(f"measurement: got mode {self.mode!r}, wanted one of {' '.join(MODES)}")
        runs, seconds = MODES[self.mode]
        for name, given, least in (("runs", self.runs, runs), ("seconds", self.seconds, seconds)):
            object.__setattr__(self, name, least if given is None else given)
        own = {"threads": 1, "warmup": 1, "burst": 1, "openings": 1, "frame_ms": 1}
        least_of = {**own, "runs": runs, "seconds": seconds}
        for name, least in least_of.items():
            if not getattr(self, name) >= least:
                where = f"mode {self.mode}" if name in ("runs", "seconds") else "measurement"
                raise MeasurementError(f"{where}: got {name} = {getattr(self, name)}, wanted {least} or more")
        if self.limit_s < (self.seconds or 0):
            raise MeasurementError(f"measurement: got limit_s = {self.limit_s}, wanted {self.seconds} or more")

    def enough(self, samples_ms: Sequence[float]) -> float:
        """Counted runs as a share of what is wanted; 1 or more is enough."""
        assert self.runs is not None
        assert self.seconds is not None
        return min(len(samples_ms) / self.runs, sum(samples_ms) / (1e3 * self.seconds))


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
        network: name of the network as its file says it; empty where the file does not.
        samples_ms: every counted run, in order.
        opening_of_sample: in which opening of the file each of them was made.
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
    network: str = ""
    samples_ms: Sequence[float] = field(repr=False)
    opening_of_sample: Sequence[int] = field(repr=False)

    @property
    def stable(self) -> bool:
        """Whether the runs varied by at most 5 %."""
        return is_stable(self.cv)

    def to_dict(self) -> dict[str, Any]:
        """All fields and ``stable`` as JSON values."""
        return {**asdict(self), "stable": self.stable}


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
    down slows down all of them; in the modes that heat a processor up, one is measured after the other.

    Args:
        files: ONNX files; inputs of any number, dynamic dimensions are taken as 1.
        settings: how; the defaults when left out.
        progress: called after every turn with turns done and turns expected.
        open_runner, cold_start: for files of other runtimes, see :mod:`scarlet_zoo.deployment.runtimes.runner`.

    Raises:
        MeasurementError: no files, a file that ONNX Runtime does not load, or not on the CPU.
    """
    settings = settings or Settings()
    if not files:
        raise MeasurementError("measurement: no files, wanted one or more")
    paths = [Path(file) for file in files]
    with _on_processors(settings.affinity) as allowed:
        cold = [(cold_start or ort_cold_start)(path, settings) for path in paths]
        before = _state()
        subjects = [_Subject(path, open_runner or Runner) for path in paths]
        if settings.mode in ("sustained", "single-stream"):
            _one_by_one(subjects, settings, progress)
        else:
            _take_turns(subjects, settings, progress)
        shared = _conditions_here(settings, before, allowed)
        return [_summarise(subject, start, shared) for subject, start in zip(subjects, cold, strict=True)]


def measure_groups(
    groups: Sequence[Sequence[str | os.PathLike[str]]],
    settings: Settings | None = None,
    turns: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure files that are run after one another, as the pieces of one network are.

    In its turn a group is gone through once uncounted and ``burst`` times counted, from its first file to its last:
    so each file finds in the caches what the rest of its group left there.

    Args:
        groups: ONNX files; a whole network is a group of its own.
        settings: how; its least runs and seconds do not apply.
        turns: of each group.
        progress: called after every turn with turns done and turns in all.

    Returns:
        ``conditions``, ``samples_ms`` (groups, files of a group, runs), and ``sha256`` (groups, files of a group).
    """
    settings = settings or Settings()
    with _on_processors(settings.affinity) as allowed:
        paths = [[Path(file) for file in group] for group in groups]
        before = _state()
        runners = [[Runner(path, settings) for path in group] for group in paths]
        samples: list[list[list[float]]] = [[[] for _ in group] for group in groups]
        for turn in range(turns):
            for group, times in zip(runners, samples, strict=True):
                for _ in range(1 if turn else settings.warmup):
                    for runner in group:
                        runner.time_ms()
                for _ in range(settings.burst):
                    for runner, own in zip(group, times, strict=True):
                        own.append(runner.time_ms())
            if progress is not None:
                progress(turn + 1, turns)
        own_conditions = {key: value for key, value in runners[0][0].conditions.items() if key != "arch"}
        conditions = {**_conditions_here(settings, before, allowed), **own_conditions, "turns": turns}
    digests = [[hashlib.sha256(path.read_bytes()).hexdigest() for path in group] for group in paths]
    return {"conditions": conditions, "samples_ms": samples, "sha256": digests}


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

    def __init__(self, path: Path, settings: Settings, profile_to: Path | None = None) -> None:
        self.session = _open_session(path, settings, profile_to)
        self.feeds = {item.name: _random_input(path, item) for item in self.session.get_inputs()}
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.network = network_said(metadata)
        self.conditions = runtime_conditions(
            "onnxruntime", ort.__version__, build=ort.get_build_info(), opset=opset_of(path.read_bytes()),
            metadata=metadata,
        )  # fmt: skip
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


def _open_session(path: Path, settings: Settings, profile_to: Path | None = None) -> ort.InferenceSession:
    if EMULATED in os.environ:
        raise MeasurementError(
            f"{path}: on an emulated {os.environ[EMULATED]}, whose times say nothing; wanted a real one"
        )
    options = ort.SessionOptions()
    if profile_to is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile_to)
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


def opset_of(content: bytes) -> int | None:
    """Version of the standard operators that an ONNX file says it uses, read without the onnx package.

    A model's field 8 is an operator set, whose field 1 is its domain and field 2 its version (onnx.proto).
    """
    for field_number, value in _protobuf_fields(content):
        if field_number == 8 and isinstance(value, bytes):
            inner = dict(_protobuf_fields(value))
            if inner.get(1, b"") in (b"", b"ai.onnx") and isinstance(inner.get(2), int):
                return int(inner[2])
    return None


def _protobuf_fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a message's own fields, without looking into them."""
    at = 0

    def number() -> int:
        nonlocal at
        result = shift = 0
        while True:
            result |= (content[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if content[at - 1] < 128:
                return result

    try:
        while at < len(content):
            key = number()
            if key & 7 == 0:
                yield key >> 3, number()
            else:
                length = number() if key & 7 == 2 else {1: 8, 5: 4}[key & 7]
                yield key >> 3, content[at : at + length]
                at += length
    except (IndexError, KeyError):
        return  # not protobuf, as an .ort file


def _random_input(path: Path, item: Any) -> Any:
    if item.type not in _DTYPES:
        raise MeasurementError(f"{path}: input {item.name!r} is {item.type}, wanted one of {' '.join(_DTYPES)}")
    shape = [side if isinstance(side, int) else 1 for side in item.shape]
    random = np.random.default_rng(0)
    if item.type == "tensor(uint8)":
        return random.integers(0, 256, shape, dtype=np.uint8)
    return random.standard_normal(shape).astype(_DTYPES[item.type])


class _Subject:
    """A file while it is measured."""

    def __init__(self, path: Path, open_runner: OpenRunner) -> None:
        self.path, self.open_runner = path, open_runner
        self.runner: AnyRunner | None = None
        self.samples_ms: list[float] = []
        self.openings: list[int] = []
        self.told: dict[str, Any] = {}

    def open(self, settings: Settings) -> AnyRunner:
        """Open the file, closing it first if it is open, and warm it up."""
        self.runner = None
        self.runner = self.open_runner(self.path, settings)
        for _ in range(settings.warmup):
            self.runner.time_ms()
        return self.runner


def _take_turns(subjects: Sequence[_Subject], settings: Settings, progress: Callable[[int, int], None] | None) -> None:
    """Bursts in turns; what happens before each counted run is the mode's.

    Files are opened, and take their turns, now in one order and now in another: who comes first is at an advantage.
    """
    sweep = _cache_sweep() if settings.mode == "cold" else None
    turn, done = 0, 0.0
    for opening in range(settings.openings):
        order = list(subjects if opening % 2 == 0 else reversed(subjects))
        for subject in order:
            subject.open(settings)
        while done < (opening + 1) / settings.openings:
            for subject in order if turn % 2 == 0 else reversed(order):
                _burst(subject, settings, sweep)
                subject.openings += [opening] * settings.burst
            turn, done = turn + 1, min(settings.enough(subject.samples_ms) for subject in subjects)
            if progress is not None:
                progress(turn, max(turn, round(turn / done)))


def _burst(subject: _Subject, settings: Settings, sweep: Any) -> None:
    """One run that does not count, and a few that do."""
    runner = subject.runner
    assert runner is not None
    spent = runner.time_ms()
    for _ in range(settings.burst):
        if sweep is not None:
            sweep += 1  # every line of a buffer larger than the caches
            subject.told["swept_bytes"] = sweep.nbytes
        elif settings.mode == "camera":
            time.sleep(max(settings.frame_ms - spent, 0) / 1e3)
        spent = runner.time_ms()
        subject.samples_ms.append(spent)


def _one_by_one(subjects: Sequence[_Subject], settings: Settings, progress: Callable[[int, int], None] | None) -> None:
    """Each file's runs back to back: all of them, or of mode ``sustained`` those after it has settled."""
    for index, subject in enumerate(subjects):
        runner = subject.open(settings)
        windows: list[list[float]] = []
        heat: list[float | None] = []
        begun = time.perf_counter()
        while True:
            windows.append([runner.time_ms()])
            while sum(windows[-1]) < 1e3 * _WINDOW_S or len(windows[-1]) < settings.burst:
                windows[-1].append(runner.time_ms())
            heat.append(_temperature_c())
            times = [time_ms for window in windows for time_ms in window]
            done, settled = settings.enough(times), _settled(windows, heat)
            if progress is not None:
                progress(round(100 * (index + min(done, 1))), 100 * len(subjects))
            late = time.perf_counter() - begun > settings.limit_s
            if done >= 1 and (settings.mode != "sustained" or settled or late):
                break
        if settings.mode == "sustained":
            medians = [float(np.median(window)) for window in windows]
            subject.told |= {"settled": settled, "windows_p50_ms": medians, "windows_c": heat}
            times = [time_ms for window in windows[-_WINDOWS:] for time_ms in window]
        subject.samples_ms, subject.openings = times, [0] * len(times)


def _settled(windows: Sequence[Sequence[float]], heat: Sequence[float | None]) -> bool:
    """Whether the last windows agree in median, and in temperature where it can be read."""
    if len(windows) < 2 * _WINDOWS:
        return False
    medians = [float(np.median(window)) for window in windows[-_WINDOWS:]]
    read = [degrees for degrees in heat[-_WINDOWS:] if degrees is not None]
    return max(medians) / min(medians) - 1 <= _WITHIN and (not read or max(read) - min(read) <= _WITHIN_C)


def _cache_sweep() -> Any:
    """A buffer twice as large as the largest cache that the system tells of."""
    sizes = [_read(str(path)) for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    largest = max([int(size[:-1]) << {"K": 10, "M": 20}[size[-1]] for size in sizes if size[-1:] in "KM"] or [32 << 20])
    return np.zeros(2 * min(largest, 256 << 20), np.uint8)


@contextmanager
def _on_processors(affinity: Sequence[int] | None) -> Iterator[list[int] | None]:
    """Only these processors for this process, whose children and new threads inherit them; gives those allowed."""
    if not hasattr(os, "sched_setaffinity"):
        if affinity is not None:
            raise MeasurementError(f"affinity: got {tuple(affinity)}, this system cannot be told, wanted none")
        yield None
        return
    before = os.sched_getaffinity(0)
    if (affinity is not None and not set(affinity) <= before) or affinity == ():
        raise MeasurementError(f"affinity: got {tuple(affinity or ())}, wanted some of {' '.join(map(str, before))}")
    try:
        os.sched_setaffinity(0, affinity or before)
        yield sorted(affinity or before)
    finally:
        os.sched_setaffinity(0, before)


def ort_cold_start(path: Path, settings: Settings) -> dict[str, float]:
    """Load and first run in a process of their own, where nothing is warm and memory is the file's alone."""
    # Asked here first, so that a bad file is an error of this process and not of the child.
    _open_session(path, settings)
    command = [*_interpreter(), __file__, "--cold", "--threads", str(settings.threads), str(path)]
    return in_fresh_process(command, path)


def _interpreter() -> list[str]:
    """How this Python is started: by itself, or as ``SCARLET_ZOO_PYTHON`` says in JSON, where it needs a loader."""
    told = os.environ.get("SCARLET_ZOO_PYTHON")
    return [str(part) for part in json.loads(told)] if told else [sys.executable]


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


def _summarise(subject: _Subject, cold: Mapping[str, float], shared: Mapping[str, Any]) -> Timing:
    path, runner = subject.path, subject.runner
    assert runner is not None
    own = {
        **runner.conditions,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        "input_shape": {name: list(value.shape) for name, value in runner.feeds.items()},
        **subject.told,
    }
    return Timing(
        file=str(path),
        **statistics(subject.samples_ms),
        load_ms=cold["load_ms"],
        first_ms=cold["first_ms"],
        peak_rss_bytes=int(cold["peak_rss_bytes"]),
        conditions={**shared, **own},
        network=str(getattr(runner, "network", "")),
        samples_ms=subject.samples_ms,
        opening_of_sample=subject.openings,
    )


def statistics(samples_ms: Sequence[float]) -> dict[str, Any]:
    """What is told of counted runs: ``p50_ms p90_ms p99_ms min_ms cv runs``."""
    p50, p90, p99 = (float(np.percentile(samples_ms, q)) for q in (50, 90, 99))
    cv = float(np.std(samples_ms) / np.mean(samples_ms))
    return {"p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "min_ms": min(samples_ms), "cv": cv, "runs": len(samples_ms)}


def network_said(metadata: Mapping[str, str | None]) -> str:
    """The name of the network in a file, from what the file says of itself; empty where it says nothing.

    A network of an architecture without a name is called by its architecture, not by the class of its module.
    """
    model, arch = metadata.get("model"), metadata.get("arch")
    return (arch if model in (None, _NAMELESS) else None) or model or ""


_NAMELESS = "scarlet_net"


def is_stable(cv: float) -> bool:
    """Whether a measurement whose runs vary so much, as a share of their mean, counts as a steady one."""
    return cv <= STEADY_CV


def runtime_conditions(
    runtime: str,
    version: str,
    *,
    provider: str = _PROVIDER,
    graph_optimization: str = "all",
    build: str | None = None,
    opset: int | None = None,
    metadata: Mapping[str, str | None] = {},
) -> dict[str, Any]:
    """The part of a measurement's conditions that a runtime and the file that it runs decide.

    Args:
        runtime, version, build: name, version and build of the runtime.
        provider: what the runtime computes on.
        graph_optimization: how far the runtime rewrites the graph.
        opset: of the file, where it is an ONNX file.
        metadata: what the file says of itself: ``form precision weights arch``.
    """
    return {
        "runtime": runtime, "runtime_version": version, "runtime_build": build, "provider": provider,
        "graph_optimization": graph_optimization, "opset": opset,
        **{key: metadata.get(key) for key in ("form", "precision", "weights", "arch")},
    }  # fmt: skip


def machine_conditions(
    device: str,
    machine: str,
    system: str,
    cores: int | None,
    *,
    cpu_features: Sequence[str] | None = None,
    governor: str | None = None,
) -> dict[str, Any]:
    """The part of a measurement's conditions that the machine decides.

    Args:
        device: name under which records of this machine are compared.
        machine: kind of processor, such as ``x86_64``.
        system: operating system, or the browser.
        cores: how many there are; None where it is not known.
        cpu_features: instruction sets; None where they are not known.
        governor: of the clock's frequency.
    """
    features = None if cpu_features is None else list(cpu_features)
    return {"device": device, "cpu_features": features, "machine": machine, "system": system, "cores": cores,
            "governor": governor}  # fmt: skip


def make_conditions(
    machine: Mapping[str, Any],
    method: Mapping[str, Any],
    runtime: Mapping[str, Any],
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The conditions of a measurement that ends now: every record's are made here, whatever measured it.

    Args:
        machine: from :func:`machine_conditions`.
        method: how it was measured: ``mode threads spin affinity warmup burst runs seconds openings`` and what
            else the mode needs.
        runtime: from :func:`runtime_conditions`, or empty where each file's is added to it.
        before, after: ``load_average cpu_mhz temperature_c`` of the machine; unknown when left out.
        more: what only some measurements have.
    """
    return {
        **machine,
        **method,
        "before": dict(before or _UNKNOWN_STATE),
        "after": dict(after or _UNKNOWN_STATE),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "measurement": uuid.uuid4().hex,
        **runtime,
        **more,
    }


_UNKNOWN_STATE = {"load_average": None, "cpu_mhz": None, "temperature_c": None}


def _conditions_here(settings: Settings, before: Mapping[str, Any], allowed: Sequence[int] | None) -> dict[str, Any]:
    """On this machine, without what each file adds."""
    governor = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None
    system = f"{platform.system()} {platform.release()}"
    here = machine_conditions(cpu_model(), platform.machine(), system, os.cpu_count(), cpu_features=cpu_features(),
                              governor=governor)  # fmt: skip
    method = {**asdict(settings), "affinity": None if allowed is None else list(allowed)}
    return make_conditions(here, method, {}, before=before, after=_state())


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith(("model name", "Hardware")):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """The processor's instruction sets that matter to a neural network, as the system names them."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith(("flags", "Features")):
            has = set(line.partition(":")[2].split())
            return [name for name in _FEATURES if name in has]
    return []


def _state() -> dict[str, Any]:
    """Of the machine, now."""
    mhz = [float(line.partition(":")[2]) for line in _read("/proc/cpuinfo").splitlines() if line.startswith("cpu MHz")]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"load_average": load, "cpu_mhz": mhz or None, "temperature_c": _temperature_c()}


def _temperature_c() -> float | None:
    """Of the hottest zone; none where it cannot be read, as in a virtual machine."""
    zones = [_read(str(path)) for path in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    return max((int(zone) / 1e3 for zone in zones if zone.lstrip("-").isdigit()), default=None)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _main() -> None:
    parser = argparse.ArgumentParser(description="Measure ONNX files and print JSON.")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--groups", type=Path, help="manifest.json of a bundle to measure")
    parser.add_argument("--turns", type=int, default=8, help="of each group")
    parser.add_argument("--out", type=Path, help="file to write to, rather than print")
    parser.add_argument("--mode", default="hot", choices=list(MODES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-spin", action="store_true", help="idle threads sleep")
    parser.add_argument("--affinity", help="processors that may be used, such as 0,1")
    parser.add_argument("--cold", action="store_true", help="one load and one run of one file, in this process")
    given = parser.parse_args()
    affinity = tuple(map(int, given.affinity.split(","))) if given.affinity else None
    settings = Settings(mode=given.mode, threads=given.threads, spin=not given.no_spin, affinity=affinity)
    paths = [Path(file) for file in given.files]
    result: Any
    if given.groups is not None:
        rows = json.loads(given.groups.read_text(encoding="utf-8"))["groups"]
        groups = [[given.groups.parent / name for name in row["files"].values()] for row in rows]
        result = measure_groups(groups, settings, given.turns)
    elif given.cold:
        result = measure_cold(Runner, paths[0], settings)
    else:
        result = [timing.to_dict() for timing in measure(paths, settings)]
    text = json.dumps(result) + "\n"
    if given.out is None:
        sys.stdout.write(text)
    else:
        beside = given.out.with_name(f".{given.out.name}.tmp")
        beside.write_text(text, encoding="utf-8")
        beside.replace(given.out)


if __name__ == "__main__":
    _main()
