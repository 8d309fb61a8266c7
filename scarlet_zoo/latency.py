"""Measure how long networks take on ONNX Runtime, several files interleaved, and record all conditions.

This file stands alone: it needs only numpy and onnxruntime, and writes plain values. It can be copied to a
device and run there (``python latency.py FILE...`` prints JSON).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import io
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort

# The modes of measuring, each with its minimum number of counted runs and their minimum total time in seconds.
MODES = {"hot": (100, 2.0), "cold": (100, 2.0), "camera": (100, 2.0), "sustained": (100, 30.0),
         "single-stream": (1024, 60.0)}  # fmt: skip
RECORD_SCHEMA = 1  # version of the fields of a record
STEADY_CV = 0.05  # a measurement with a larger coefficient of variation is called unstable
# A processor has settled when this many windows in a row agree in median (relative) and in temperature (degrees C).
_WINDOW_S, _WINDOWS, _WITHIN, _WITHIN_C = 1.0, 8, 0.02, 2.0
CPU, _PROVIDER_ENDING = "CPUExecutionProvider", "ExecutionProvider"
MOST_ELEMENTS = 2**26  # of all inputs together, which are made as 64-bit numbers: 512 MiB
RUN_SECONDS = "SCARLET_ZOO_RUN_SECONDS"  # environment variable: most seconds of a run for each image
EMULATED = "SCARLET_ZOO_EMULATED"  # environment variable set under CPU emulation, where measuring is refused
_DTYPES = {
    f"tensor({name})": np.dtype(f"{name}32" if name == "float" else name)
    for name in (
        "float",
        "float16",
        "double",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "int8",
        "int16",
        "int32",
        "int64",
        "bool",
    )
}
# Names that exporters give to the side of a batch; names of sides that are no batch; names that say nothing.
_MOST_NUMBERS = 2**27  # in an input
_SIDE = re.compile(r"\s*0*[1-9][0-9]{0,8}\s*", re.ASCII)
_BATCH, _NO_BATCH = (
    re.compile(r"n|b|bs|.*batch.*"),
    re.compile(r"[hwtlds]|.*(height|width|seq|len|frame|time|sample).*"),
)
_NAMELESS_SIDE = {"", "?", "none", "unk", "unknown"}
# Instruction sets that decide which kernels a runtime chooses.
_FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "asimd",
             "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme")  # fmt: skip


class MeasurementError(ValueError):
    """A measurement that cannot be made as requested."""


@dataclass(frozen=True)
class Provider:
    """An execution provider of ONNX Runtime: what a session runs on, and what a record says that it ran on.

    Attributes:
        name: ONNX Runtime's name of it, such as ``XnnpackExecutionProvider``.
        options: the provider's own options, as pairs of key and value.
    """

    name: str = CPU
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Provider:
        """Read ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``.

        Args:
            text: NAME in any case, with or without ``ExecutionProvider`` at its end, as in ``XNNPACK``.

        Raises:
            MeasurementError: ONNX Runtime knows no such provider, or an option has no ``=``.
        """
        name, _, rest = text.partition(":")
        options = tuple(part.partition("=") for part in rest.split(",") if part)
        names = {plain_name(known): known for known in (*ort.get_all_providers(), *ort.get_available_providers())}
        if plain_name(name) not in names:
            raise MeasurementError(f"provider: got {name!r}, wanted one of those here: {_providers_here()}")
        if not all(key and equals for key, equals, _ in options):
            raise MeasurementError(f"provider: got the options {rest!r}, wanted KEY=VALUE,KEY=VALUE")
        return cls(names[plain_name(name)], tuple((key.strip(), value.strip()) for key, _, value in options))

    def __str__(self) -> str:
        options = ",".join(f"{key}={value}" for key, value in self.options)
        return f"{self.name}:{options}" if options else self.name

    @property
    def short(self) -> str:
        """Its name without ``ExecutionProvider``."""
        return self.name.removesuffix(_PROVIDER_ENDING)

    @property
    def is_cpu(self) -> bool:
        """Whether it is ONNX Runtime's own provider for the CPU, which runs every file."""
        return self.name == CPU

    def open(self, model: str | bytes, options: ort.SessionOptions, where: Path) -> ort.InferenceSession:
        """Open a session on this provider; nodes that it does not take run on the CPU.

        Args:
            model: path of a file, or its content.
            options: options of the session.
            where: the file, for errors.

        Raises:
            MeasurementError: this build of ONNX Runtime lacks the provider, or the provider does not start.
        """
        if self.name not in ort.get_available_providers():
            raise MeasurementError(
                f"{where}: got the provider {self.short}, which this ONNX Runtime ({ort.__version__}) lacks, "
                f"wanted one of: {_providers_here()}"
            )
        own = (self.name, dict(self.options))
        if self.is_cpu:
            return ort.InferenceSession(model, options, providers=[own])
        # Older versions open the session on the CPU instead where a provider does not start, and print that.
        with contextlib.redirect_stdout(io.StringIO()):
            session = ort.InferenceSession(model, options, providers=[own, CPU], enable_fallback=0)
        if session.get_providers()[:1] != [self.name]:
            got = " ".join(session.get_providers())
            raise MeasurementError(f"{where}: runs on {got}, wanted {self.name}, which did not start")
        return session

    def check_nodes(self, nodes: Mapping[str, int], where: Path) -> None:
        """Check that not all nodes of a run were left to other providers.

        Args:
            nodes: from :func:`nodes_of_profile`.
            where: the file, for the error.

        Raises:
            MeasurementError: no node ran on this provider.
        """
        if self.name not in nodes:
            others = ", ".join(f"{count} on {name}" for name, count in nodes.items()) or "none"
            raise MeasurementError(f"{where}: no node ran on the provider {self.short}, wanted one or more; {others}")


def plain_name(provider: str) -> str:
    """A provider's name as it is compared: in small letters and without ``ExecutionProvider``."""
    return provider.strip().casefold().removesuffix(_PROVIDER_ENDING.casefold())


def _providers_here() -> str:
    return " ".join(name.removesuffix(_PROVIDER_ENDING) for name in reversed(ort.get_available_providers()))


def nodes_of_profile(path: str | os.PathLike[str]) -> dict[str, int]:
    """The number of nodes that ran on each execution provider, by ONNX Runtime's profile of a session.

    A provider that compiles a part of the graph runs that part as one node.

    Raises:
        MeasurementError: the file is no such profile.
    """
    try:
        events = json.loads(Path(path).read_text(encoding="utf-8", errors="replace"))
        ran = {(event["name"], event["args"].get("node_index")): str(event["args"]["provider"]) for event in events
               if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")}  # fmt: skip
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MeasurementError(f"{path}: is no profile of ONNX Runtime: {type(error).__name__}") from error
    return dict(Counter(ran.values()))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure.

    Attributes:
        mode: ``hot``: bursts of runs back to back, the files interleaved; ``cold``: like ``hot``, but all caches are
            swept before every run; ``camera``: like ``hot``, but idle after each run until the next frame;
            ``sustained``: one file after the other, back to back, and only the runs after median and temperature
            have settled count; ``single-stream``: one file after the other as in MLPerf, at least 1,024 runs and
            60 seconds, with ``p90_ms`` as the score.
        threads: intra-op threads, at least 1; ONNX Runtime's own guess (0) is not allowed.
        warmup: uncounted runs of each file at the start of each session.
        runs, seconds: minimum number of counted runs of each file, and their minimum total time. Both must be
            reached. The defaults depend on the mode (:data:`MODES`).
        burst: counted runs of one file before the next file runs. Each burst begins with one uncounted run,
            because the other files have emptied the caches.
        openings: number of sessions in the interleaved modes: all files are loaded again for each. Where a file
            happens to lie in memory changes its speed for as long as it is loaded.
        spin: whether idle threads spin, which is faster and drains a battery.
        affinity: numbers of the processors to use; by default all that this process may use.
        frame_ms: milliseconds per frame in mode ``camera``.
        limit_s: seconds after which mode ``sustained`` stops and reports a file that has not settled as such.
        shapes: shapes of inputs with dynamic sides, such as ``1,3,48,320`` or ``NAME=1,3,48,320``.
        provider: execution provider of ONNX Runtime, as :meth:`Provider.parse` reads it.
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
    shapes: tuple[str, ...] = ()
    provider: str = CPU

    def __post_init__(self) -> None:
        object.__setattr__(self, "provider", str(Provider.parse(self.provider)))
        if self.mode not in MODES:
            raise MeasurementError(f"measurement: got mode {self.mode!r}, wanted one of {' '.join(MODES)}")
        runs, seconds = MODES[self.mode]
        for name, given, least in (("runs", self.runs, runs), ("seconds", self.seconds, seconds)):
            object.__setattr__(self, name, least if given is None else given)
        own = {"threads": 1, "warmup": 1, "burst": 1, "openings": 1, "frame_ms": 1}
        least_of = {**own, "runs": runs, "seconds": seconds}
        for name, least in least_of.items():
            if not least <= getattr(self, name) < 2**31:
                where = f"mode {self.mode}" if name in ("runs", "seconds") else "measurement"
                wanted = f"{least} or more" if not getattr(self, name) >= 2**31 else "less than 2**31"
                raise MeasurementError(f"{where}: got {name} = {getattr(self, name)}, wanted {wanted}")
        if self.limit_s < (self.seconds or 0):
            raise MeasurementError(f"measurement: got limit_s = {self.limit_s}, wanted {self.seconds} or more")

    def enough(self, samples_ms: Sequence[float]) -> float:
        """How much of the required runs and seconds is reached, as a share; 1 or more is enough."""
        assert self.runs is not None
        assert self.seconds is not None
        return min(len(samples_ms) / self.runs, sum(samples_ms) / (1e3 * self.seconds))


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One file's latency, in milliseconds for one batch of one image.

    Attributes:
        file: the path as it was given.
        p50_ms, p90_ms, p99_ms, min_ms: percentiles and minimum of the counted runs.
        cv: coefficient of variation of the counted runs (standard deviation over mean).
        runs: number of counted runs.
        load_ms, first_ms: time to create a session and time of its first run, in a fresh process.
        peak_rss_bytes: largest resident memory of that process, interpreter and runtime included.
        conditions: everything that the numbers depend on.
        network: name of the network from the file's metadata; empty if the file has none.
        samples_ms: time of every counted run, in order.
        opening_of_sample: number of the session, from 0, in which each sample was taken.
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
        """All fields, ``stable`` and ``schema_version`` as JSON values."""
        return {**asdict(self), "stable": self.stable, "schema_version": RECORD_SCHEMA}


def measure(
    files: Sequence[str | os.PathLike[str]],
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    open_runner: OpenRunner | None = None,
    cold_start: Callable[[Path, Settings], dict[str, float]] | None = None,
) -> list[Timing]:
    """Measure the latency of files side by side in this process.

    The runs of the files are interleaved until each file has its runs and its seconds, so that a machine that slows
    down slows down all of them. In modes ``sustained`` and ``single-stream`` the files are measured one by one.

    Args:
        files: ONNX files with any number of inputs. A dynamic batch is 1; other dynamic sides need ``shapes``.
        settings: how to measure; the defaults of :class:`Settings` when left out.
        progress: called after every round with the rounds done and the rounds expected.
        open_runner, cold_start: for files of other runtimes, see :mod:`scarlet_zoo.deployment.runtimes.runner`.

    Raises:
        MeasurementError: there are no files, ONNX Runtime cannot load or run one of them, the provider is not there
            or runs no node of one of them, or an input has a dynamic side that ``shapes`` does not give.
    """
    settings = settings or Settings()
    if not files:
        raise MeasurementError("measurement: got no files, wanted one or more")
    paths = [Path(file) for file in files]
    with _on_processors(settings.affinity) as allowed:
        cold = [(cold_start or ort_cold_start)(path, settings) for path in paths]
        before = _state()
        workloads = [_Workload(path, open_runner or Runner) for path in paths]
        for workload in workloads:
            workload.extra_conditions |= nodes_condition([workload.path], settings)
        if settings.mode in ("sustained", "single-stream"):
            _one_by_one(workloads, settings, progress)
        else:
            _interleave(workloads, settings, progress)
        shared = _conditions_here(settings, before, allowed)
        return [_summarise(workload, start, shared) for workload, start in zip(workloads, cold, strict=True)]


def measure_groups(
    groups: Sequence[Sequence[str | os.PathLike[str]]],
    settings: Settings | None = None,
    turns: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure groups of files that run after one another, as the pieces of one network do.

    In each round every group is run once uncounted and ``burst`` times counted, from its first file to its last.
    So each file finds in the caches what the rest of its group has left there.

    Args:
        groups: lists of ONNX files; a whole network is a group of one file.
        settings: how to measure; ``runs`` and ``seconds`` do not apply.
        turns: number of rounds.
        progress: called after every round with the rounds done and the rounds in total.

    Returns:
        ``conditions``, ``samples_ms`` (groups, files of a group, runs) and ``sha256`` (groups, files of a group).
    """
    settings = settings or Settings()
    with _on_processors(settings.affinity) as allowed:
        paths = [[Path(file) for file in group] for group in groups]
        before = _state()
        runners = [[Runner(path, settings) for path in group] for group in paths]
        samples: list[list[list[float]]] = [[[] for _ in group] for group in groups]
        for finished in range(turns):
            for group, times in zip(runners, samples, strict=True):
                for _ in range(1 if finished else settings.warmup):
                    for runner in group:
                        runner.time_ms()
                for _ in range(settings.burst):
                    for runner, own in zip(group, times, strict=True):
                        own.append(runner.time_ms())
            if progress is not None:
                progress(finished + 1, turns)
        nodes = nodes_condition([path for group in paths for path in group], settings)
        own_conditions = {key: value for key, value in runners[0][0].conditions.items() if key != "arch"} | nodes
        conditions = {**_conditions_here(settings, before, allowed), **own_conditions, "turns": turns}
    digests = [[hashlib.sha256(path.read_bytes()).hexdigest() for path in group] for group in paths]
    return {"conditions": conditions, "samples_ms": samples, "sha256": digests}


class AnyRunner(Protocol):
    """A file that any runtime has loaded."""

    @property
    def feeds(self) -> Mapping[str, Any]:
        """The input arrays by name."""

    @property
    def conditions(self) -> Mapping[str, Any]:
        """The runtime, its version and its options."""

    def time_ms(self) -> float:
        """Run once and return the time in milliseconds."""


OpenRunner = Callable[[Path, Settings], AnyRunner]


class Runner:
    """A loaded file with its input bound, ready to run again and again."""

    def __init__(self, path: Path, settings: Settings, profile_to: Path | None = None) -> None:
        self.path, self.session = path, _open_session(path, settings, profile_to)
        inputs = self.session.get_inputs()
        shapes = shapes_of_inputs(path, [(item.name, item.shape) for item in inputs], settings.shapes)
        self.feeds = {item.name: random_input(path, item.name, item.type, shapes[item.name]) for item in inputs}
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.network = network_said(metadata)
        self.conditions = runtime_conditions(
            "onnxruntime", ort.__version__, build=ort.get_build_info(), opset=opset_of(path.read_bytes()),
            metadata=metadata, **provider_conditions(settings),
        )  # fmt: skip
        self.binding, self._bound, self._has_run = self.session.io_binding(), True, False
        for name, value in self.feeds.items():
            self.binding.bind_cpu_input(name, value)
        for output in self.session.get_outputs():
            self.binding.bind_output(output.name)

    def time_ms(self) -> float:
        """Run once and return the time in milliseconds."""
        start = time.perf_counter_ns()
        try:
            if self._has_run:
                self._run()
            else:
                with run_limit(max((len(value) for value in self.feeds.values() if value.ndim), default=1)) as options:
                    self._run(options)
                self._has_run = True
        except Exception as error:
            # The runtime's exceptions have no common base but Exception.
            shapes = " ".join(f"{name}={','.join(map(str, value.shape))}" for name, value in self.feeds.items())
            raise MeasurementError(
                f"{self.path}: ONNX Runtime does not run it on {shapes}: {reason_of(error)}"
            ) from error
        return (time.perf_counter_ns() - start) / 1e6

    def _run(self, options: ort.RunOptions | None = None) -> None:
        if self._bound:
            try:
                self.session.run_with_iobinding(self.binding, options)
                return
            except Exception:
                # Some files declare an output of another rank than they give, which only a binding checks.
                self._bound = self.conditions["bound"] = False
        self.session.run(None, self.feeds, options)


def _open_session(path: Path, settings: Settings, profile_to: Path | None = None) -> ort.InferenceSession:
    if EMULATED in os.environ:
        raise MeasurementError(
            f"{path}: got an emulated {os.environ[EMULATED]}, whose times mean nothing; wanted a real processor"
        )
    options = ort.SessionOptions()
    if profile_to is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile_to)
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # what it would say is in its exceptions
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if settings.spin else "0")
    # No thread spins between runs: one of the previous file would take a core from the next file.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return Provider.parse(settings.provider).open(str(path), options, path)
    except MeasurementError:
        raise
    except Exception as error:
        # The runtime's exceptions have no common base but Exception.
        why = reason_of(error)
        raise MeasurementError(f"{path}: ONNX Runtime {ort.__version__} does not load it: {why}") from error


def nodes_condition(paths: Sequence[Path], settings: Settings) -> dict[str, Any]:
    """The condition ``provider_nodes``: how many nodes of files run on which provider; none on the CPU, which has all.

    Raises:
        MeasurementError: a file does not run, or no node of any file runs on the provider.
    """
    provider, found = Provider.parse(settings.provider), Counter[str]()
    if provider.is_cpu:
        return {}
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            runner = Runner(path, settings, profile_to=Path(folder) / "profile")
            runner.time_ms()
            found.update(nodes_of_profile(runner.session.end_profiling()))
    provider.check_nodes(found, paths[0])
    return {"provider_nodes": dict(found)}


def opset_of(content: bytes) -> int | None:
    """Read the opset version of the standard operators from the bytes of an ONNX file, without the onnx package.

    In onnx.proto field 8 of a model is an operator set; its field 1 is the domain and its field 2 the version.
    None if the bytes hold no such field.
    """
    for field_number, value in _protobuf_fields(content):
        if field_number == 8 and isinstance(value, bytes):
            inner = dict(_protobuf_fields(value))
            if inner.get(1, b"") in (b"", b"ai.onnx") and isinstance(inner.get(2), int):
                return int(inner[2])
    return None


def _protobuf_fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each top-level field of a protobuf message."""
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
        return  # not protobuf, for example an .ort file


@contextmanager
def run_limit(images: int = 1) -> Iterator[ort.RunOptions]:
    """Options of a run that ONNX Runtime ends between two nodes when it takes too long, as a loop without end would.

    The limit is 60 seconds for each image and 600 in all; ``SCARLET_ZOO_RUN_SECONDS`` sets another one for an image.

    Args:
        images: number of images in the run.

    Raises:
        MeasurementError: the run was ended, or the variable has no number of seconds.
    """
    each = _seconds_of_a_run()
    most = max(each, min(each * images, 600.0))
    options = ort.RunOptions()
    options.log_severity_level = 4  # what it would say is in its exceptions
    timer = threading.Timer(most, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield options
    except Exception as error:
        if options.terminate:
            raise MeasurementError(f"got no answer in {most:g} s, wanted one; {RUN_SECONDS}=N allows N s") from error
        raise
    finally:
        timer.cancel()


def _seconds_of_a_run() -> float:
    said = os.environ.get(RUN_SECONDS) or "60"
    with contextlib.suppress(ValueError):
        if 0 < float(said) <= 1e6:
            return float(said)
    raise MeasurementError(f"{RUN_SECONDS}: got {said!r}, wanted seconds above 0, at most 1000000")


def reason_of(error: Exception) -> str:
    """A runtime's message on one line, without its code and cut to a length that can be read."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(str(error).split()))
    return text if len(text) <= 400 else f"{text[:397]}..."


def shapes_of_inputs(
    path: Path, inputs: Sequence[tuple[str, Sequence[Any]]], given: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """The shape to feed each input with: fixed sides as they are, a dynamic batch of 1, and what is given.

    Args:
        path: the file, for errors.
        inputs: name and declared sides of each input; a side that is not a positive number is dynamic, and a text
            is its name. Sides of one name are equal.
        given: shapes such as ``1,3,48,320``, for the only input with dynamic sides, or ``NAME=1,3,48,320``.

    Raises:
        MeasurementError: a shape cannot be read or does not fit, or a dynamic side is not given.
    """
    said = _given_shapes(path, inputs, given)
    named = {side: value for name, sides in inputs for side, value in zip(sides, said.get(name, ()), strict=False)
             if _name_of_side(side)}  # fmt: skip
    shapes = {}
    for name, sides in inputs:
        found = [side if _fixed(side) else named.get(side) for side in sides]
        batch = batch_axis(sides)
        if name not in said and batch is not None and found[batch] is None:
            found[batch] = 1
        shapes[name] = said.get(name, tuple(side or 0 for side in found))
        if 0 in shapes[name]:
            example = ",".join(str(side or (224 if len(sides) == 4 else 16)) for side in shapes[name])
            raise MeasurementError(
                f"{path}: input {name!r} is {_sides(sides)}, and its dynamic sides are not given, wanted for example "
                f"--shape {example if len(inputs) == 1 else f'{name}={example}'}"
            )
    elements = sum(math.prod(shape) for shape in shapes.values())
    if elements > MOST_ELEMENTS:
        raise MeasurementError(f"{path}: its inputs have {elements:,} elements, wanted at most {MOST_ELEMENTS:,}")
    return shapes


def _given_shapes(
    path: Path, inputs: Sequence[tuple[str, Sequence[Any]]], given: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    declared, said = dict(inputs), {}
    for text in given:
        name, equals, sides = text.rpartition("=")
        if not all(_SIDE.fullmatch(side) for side in sides.split(",")):
            raise MeasurementError(f"{path}: got the shape {text!r}, wanted sides such as 1,3,48,320")
        if not equals:
            some = [key for key, own in inputs if not all(map(_fixed, own))] if len(inputs) > 1 else list(declared)
            name = some[0] if len(some) == 1 else ""
        if name not in declared:
            wanted = f"NAME=SIDES with one of the inputs {' '.join(declared)}"
            raise MeasurementError(f"{path}: got the shape {text!r}, wanted {wanted}")
        shape, own = tuple(map(int, sides.split(","))), declared[name]
        fits = len(shape) == len(own) and all(not _fixed(a) or a == b for a, b in zip(own, shape, strict=True))
        if own and not fits:  # the runtime reports no sides also where the rank is unknown
            raise MeasurementError(f"{path}: got the shape {text!r}, but its input {name!r} is {_sides(own)}")
        said[name] = shape
    return said


def _fixed(side: Any) -> bool:
    return isinstance(side, int) and side > 0


def _name_of_side(side: Any) -> str:
    return side if isinstance(side, str) and side.lower() not in _NAMELESS_SIDE else ""


def _sides(sides: Sequence[Any]) -> str:
    return f"({', '.join(str(side) if _fixed(side) else _name_of_side(side) or '?' for side in sides)})"


def batch_axis(sides: Sequence[Any]) -> int | None:
    """The axis of the batch if it is dynamic: the one that is named so, else the first of two or more; else None."""
    names = [None if _fixed(side) else _name_of_side(side).lower() for side in sides]
    for axis, name in enumerate(names):
        if name is not None and _BATCH.fullmatch(name):
            return axis
    return 0 if len(names) > 1 and names[0] is not None and not _NO_BATCH.fullmatch(names[0]) else None


def random_input(path: Path, name: str, kind: str, shape: Sequence[int], seed: int = 0) -> Any:
    """A random input: normal where it is floating point, any pixel where it is uint8, 0 or 1 in other integers.

    0 and 1 are valid as indices, as masks and as truth values.
    """
    if kind not in _DTYPES:
        raise MeasurementError(f"{path}: input {name!r} is {kind}, wanted one of {' '.join(_DTYPES)}")
    if math.prod(shape) > _MOST_NUMBERS:
        raise MeasurementError(f"{path}: input {name!r} is {_sides(shape)}, wanted at most {_MOST_NUMBERS} numbers")
    random, dtype = np.random.default_rng(seed), _DTYPES[kind]
    if dtype.kind == "f":
        return np.asarray(random.standard_normal(tuple(shape)), dtype)
    return np.asarray(random.integers(0, 256 if dtype == np.uint8 else 2, tuple(shape)), dtype)


class _Workload:
    """One file and its samples while it is measured."""

    def __init__(self, path: Path, open_runner: OpenRunner) -> None:
        self.path, self.open_runner = path, open_runner
        self.runner: AnyRunner | None = None
        self.samples_ms: list[float] = []
        self.session_of_sample: list[int] = []
        self.extra_conditions: dict[str, Any] = {}

    def open(self, settings: Settings) -> AnyRunner:
        """Start a new session of the file, after closing the previous one, and warm it up."""
        self.runner = None
        self.runner = self.open_runner(self.path, settings)
        for _ in range(settings.warmup):
            self.runner.time_ms()
        return self.runner


def _interleave(
    workloads: Sequence[_Workload], settings: Settings, progress: Callable[[int, int], None] | None
) -> None:
    """Interleave bursts of the files; the mode decides what happens before each counted run.

    The order of the files alternates between sessions and between rounds, because the first file has an advantage.
    """
    sweep = _cache_sweep() if settings.mode == "cold" else None
    finished, done = 0, 0.0
    for session in range(settings.openings):
        order = list(workloads if session % 2 == 0 else reversed(workloads))
        for workload in order:
            workload.open(settings)
        while done < (session + 1) / settings.openings:
            for workload in order if finished % 2 == 0 else reversed(order):
                _burst(workload, settings, sweep)
                workload.session_of_sample += [session] * settings.burst
            finished, done = finished + 1, min(settings.enough(workload.samples_ms) for workload in workloads)
            if progress is not None:
                progress(finished, max(finished, round(finished / done)))


def _burst(workload: _Workload, settings: Settings, sweep: Any) -> None:
    """Run once uncounted, then ``burst`` times counted."""
    runner = workload.runner
    assert runner is not None
    spent = runner.time_ms()
    for _ in range(settings.burst):
        if sweep is not None:
            sweep += 1  # writes to every line of a buffer larger than the caches
            workload.extra_conditions["swept_bytes"] = sweep.nbytes
        elif settings.mode == "camera":
            time.sleep(max(settings.frame_ms - spent, 0) / 1e3)
        spent = runner.time_ms()
        workload.samples_ms.append(spent)


def _one_by_one(
    workloads: Sequence[_Workload], settings: Settings, progress: Callable[[int, int], None] | None
) -> None:
    """Measure one file after the other, back to back; mode ``sustained`` counts only the last windows."""
    for index, workload in enumerate(workloads):
        runner = workload.open(settings)
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
                progress(round(100 * (index + min(done, 1))), 100 * len(workloads))
            late = time.perf_counter() - begun > settings.limit_s
            if done >= 1 and (settings.mode != "sustained" or settled or late):
                break
        if settings.mode == "sustained":
            medians = [float(np.median(window)) for window in windows]
            workload.extra_conditions |= {"settled": settled, "windows_p50_ms": medians, "windows_c": heat}
            times = [time_ms for window in windows[-_WINDOWS:] for time_ms in window]
        workload.samples_ms, workload.session_of_sample = times, [0] * len(times)


def _settled(windows: Sequence[Sequence[float]], heat: Sequence[float | None]) -> bool:
    """Whether the last windows agree in median, and in temperature if it can be read."""
    if len(windows) < 2 * _WINDOWS:
        return False
    medians = [float(np.median(window)) for window in windows[-_WINDOWS:]]
    read = [degrees for degrees in heat[-_WINDOWS:] if degrees is not None]
    return max(medians) / min(medians) - 1 <= _WITHIN and (not read or max(read) - min(read) <= _WITHIN_C)


def _cache_sweep() -> Any:
    """A buffer twice as large as the largest cache that the system reports, at most 512 MiB."""
    sizes = [_read(str(path)) for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    largest = max([int(size[:-1]) << {"K": 10, "M": 20}[size[-1]] for size in sizes if size[-1:] in "KM"] or [32 << 20])
    return np.zeros(2 * min(largest, 256 << 20), np.uint8)


@contextmanager
def _on_processors(affinity: Sequence[int] | None) -> Iterator[list[int] | None]:
    """Restrict this process, its children and new threads to some processors; yields those allowed, None if unknown."""
    if not hasattr(os, "sched_setaffinity"):
        if affinity is not None:
            raise MeasurementError(f"affinity: got {tuple(affinity)}, which this system cannot set; wanted none")
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
    """Measure load and first run in a fresh process, where nothing is warm and no other file takes memory."""
    # Run here first, so that a bad file raises its error in this process and not in the child.
    Runner(path, settings).time_ms()
    shapes = [part for text in settings.shapes for part in ("--shape", text)]
    command = [*_interpreter(), __file__, "--cold", "--threads", str(settings.threads), "--provider", settings.provider,
               *shapes, str(path)]  # fmt: skip
    return in_fresh_process(command, path)


def _interpreter() -> list[str]:
    """The command that starts this Python: its executable, or the JSON list in ``SCARLET_ZOO_PYTHON``."""
    command = os.environ.get("SCARLET_ZOO_PYTHON")
    return [str(part) for part in json.loads(command)] if command else [sys.executable]


def in_fresh_process(command: Sequence[str], path: Path) -> dict[str, float]:
    """Run a command that measures a cold start, and return the JSON object that it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").split("\n")[-1]
        raise MeasurementError(f"{path}: cannot be run in a fresh process: {reason}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def measure_cold(open_runner: OpenRunner, path: Path, settings: Settings) -> dict[str, float]:
    """Load a file and run it once, in this process, which should be a fresh one."""
    start = time.perf_counter_ns()
    runner = open_runner(path, settings)
    loaded = time.perf_counter_ns()
    first_ms = runner.time_ms()
    return {"load_ms": (loaded - start) / 1e6, "first_ms": first_ms, "peak_rss_bytes": peak_rss_bytes()}


def peak_rss_bytes() -> int:
    """Peak resident memory of this process in bytes; on Linux getrusage would include the parent's peak."""
    status = _read("/proc/self/status")
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _summarise(workload: _Workload, cold: Mapping[str, float], shared: Mapping[str, Any]) -> Timing:
    path, runner = workload.path, workload.runner
    assert runner is not None
    own = {
        **runner.conditions,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        "input_shape": {name: list(value.shape) for name, value in runner.feeds.items()},
        **workload.extra_conditions,
    }
    return Timing(
        file=str(path),
        **statistics(workload.samples_ms),
        load_ms=cold["load_ms"],
        first_ms=cold["first_ms"],
        peak_rss_bytes=int(cold["peak_rss_bytes"]),
        conditions={**shared, **own},
        network=str(getattr(runner, "network", "")),
        samples_ms=workload.samples_ms,
        opening_of_sample=workload.session_of_sample,
    )


def statistics(samples_ms: Sequence[float]) -> dict[str, Any]:
    """Summarise counted runs: ``p50_ms p90_ms p99_ms min_ms cv runs``."""
    p50, p90, p99 = (float(np.percentile(samples_ms, q)) for q in (50, 90, 99))
    cv = float(np.std(samples_ms) / np.mean(samples_ms))
    return {"p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "min_ms": min(samples_ms), "cv": cv, "runs": len(samples_ms)}


def network_said(metadata: Mapping[str, str | None]) -> str:
    """The name of the network in a file, from the file's metadata; empty if the metadata has none.

    A network whose architecture has no name is named by its identity string, not by the class of its module.
    """
    model, arch = metadata.get("model"), metadata.get("arch")
    return (arch if model in (None, _NAMELESS) else None) or model or ""


_NAMELESS = "scarlet_net"


def is_stable(cv: float) -> bool:
    """Whether a measurement with this coefficient of variation counts as stable."""
    return cv <= STEADY_CV


def runtime_conditions(
    runtime: str,
    version: str,
    *,
    provider: str = CPU,
    graph_optimization: str = "all",
    build: str | None = None,
    opset: int | None = None,
    metadata: Mapping[str, str | None] = {},
    **more: Any,
) -> dict[str, Any]:
    """The conditions of a measurement that depend on the runtime and the file it runs.

    Args:
        runtime, version, build: name, version and build of the runtime.
        provider: execution provider of the runtime.
        graph_optimization: optimisation level of the runtime.
        opset: opset version of an ONNX file; None for other files.
        metadata: the file's metadata, of which ``form precision weights arch`` are used.
        more: conditions that only some runtimes have.
    """
    return {
        "runtime": runtime, "runtime_version": version, "runtime_build": build, "provider": provider,
        "graph_optimization": graph_optimization, "opset": opset,
        **{key: metadata.get(key) for key in ("form", "precision", "weights", "arch")}, **more,
    }  # fmt: skip


def provider_conditions(settings: Settings) -> dict[str, Any]:
    """The conditions that name the execution provider: ``provider``, and ``provider_options`` if it was given any."""
    provider = Provider.parse(settings.provider)
    return {"provider": provider.name} | ({"provider_options": dict(provider.options)} if provider.options else {})


def machine_conditions(
    device: str,
    machine: str,
    system: str,
    cores: int | None,
    *,
    cpu_features: Sequence[str] | None = None,
    governor: str | None = None,
) -> dict[str, Any]:
    """The conditions of a measurement that depend on the machine.

    Args:
        device: name under which records of this machine are compared.
        machine: processor architecture, such as ``x86_64``.
        system: operating system, or the browser.
        cores: number of cores; None if unknown.
        cpu_features: instruction sets; None if unknown.
        governor: CPU frequency governor; None if unknown.
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
    """Build the conditions of a measurement that ends now; every record of every instrument gets them from here.

    Args:
        machine: from :func:`machine_conditions`.
        method: how it was measured: ``mode threads spin affinity warmup burst runs seconds openings`` and what
            else the mode needs.
        runtime: from :func:`runtime_conditions`; empty if the caller adds the conditions of each file later.
        before, after: ``load_average cpu_mhz temperature_c`` of the machine; unknown when left out.
        more: conditions that only some measurements have.
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
    """The conditions of a measurement on this machine, without those of each file."""
    governor = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None
    system = f"{platform.system()} {platform.release()}"
    here = machine_conditions(cpu_model(), platform.machine(), system, os.cpu_count(), cpu_features=cpu_features(),
                              governor=governor)  # fmt: skip
    affinity = None if allowed is None else list(allowed)
    method = {**asdict(settings), "affinity": affinity, "shapes": list(settings.shapes)}
    return make_conditions(here, method, {}, before=before, after=_state())


def cpu_model() -> str:
    """The processor's name as the system reports it."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith(("model name", "Hardware")):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """The processor's instruction sets that matter for neural networks, under the system's names."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith(("flags", "Features")):
            has = set(line.partition(":")[2].split())
            return [name for name in _FEATURES if name in has]
    return []


def _state() -> dict[str, Any]:
    """Load average, clock frequencies and temperature of this machine now; None if unknown."""
    mhz = [float(line.partition(":")[2]) for line in _read("/proc/cpuinfo").splitlines() if line.startswith("cpu MHz")]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"load_average": load, "cpu_mhz": mhz or None, "temperature_c": _temperature_c()}


def _temperature_c() -> float | None:
    """Temperature of the hottest thermal zone; None if none can be read, for example in a virtual machine."""
    zones = [_read(str(path)) for path in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    return max((int(zone) / 1e3 for zone in zones if zone.lstrip("-").isdecimal()), default=None)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _main() -> None:
    parser = argparse.ArgumentParser(description="Measure the latency of ONNX files and print JSON.")
    parser.add_argument("files", nargs="*", help="ONNX files to measure")
    parser.add_argument("--groups", type=Path, help="manifest.json of a bundle of file groups to measure")
    parser.add_argument("--turns", type=int, default=8, help="rounds in which each group of --groups is measured")
    parser.add_argument("--out", type=Path, help="write the JSON to this file instead of printing it")
    parser.add_argument("--mode", default="hot", choices=list(MODES), help="how to measure")
    parser.add_argument("--threads", type=int, default=1, help="intra-op threads")
    parser.add_argument("--no-spin", action="store_true", help="let idle threads sleep instead of spin")
    parser.add_argument("--affinity", help="numbers of the processors to use, such as 0,1")
    parser.add_argument("--shape", action="append", default=[], help="shape of an input with dynamic sides, [NAME=]N,N")
    parser.add_argument("--provider", default=CPU, help="execution provider, NAME or NAME:KEY=VALUE,KEY=VALUE")
    parser.add_argument("--cold", action="store_true", help="load and run one file once, in this process")
    given = parser.parse_args()
    affinity = tuple(map(int, given.affinity.split(","))) if given.affinity else None
    settings = Settings(mode=given.mode, threads=given.threads, spin=not given.no_spin, affinity=affinity,
                        shapes=tuple(given.shape), provider=given.provider)  # fmt: skip
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
        temporary = given.out.with_name(f".{given.out.name}.tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(given.out)


if __name__ == "__main__":
    _main()
