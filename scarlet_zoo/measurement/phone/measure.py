"""Measure on a phone: push the files, wait for a steady temperature, run, pull the records, and clean up."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.errors import RecordError
from scarlet_zoo.latency import Settings, is_stable
from scarlet_zoo.measurement.phone.adb import About, DeviceError, Phone
from scarlet_zoo.measurement.phone.archive import ROOT, SCRIPT
from scarlet_zoo.measurement.phone.executorch_tool import ExecutorRunner
from scarlet_zoo.measurement.phone.litert_tool import BenchmarkModel
from scarlet_zoo.measurement.phone.perf_tool import PerfTest
from scarlet_zoo.measurement.phone.programs import Job, Program, Tool, measure_with_programs, pinned
from scarlet_zoo.measurement.phone.sysroot import Sysroot
from scarlet_zoo.measurement.records import Record, check_record
from scarlet_zoo.measurement.workloads import Workload
from scarlet_zoo.utils.reading import parse_json

_ABI = "arm64-v8a"
_STEP_S, _WITHIN_C, _SETTLED_STEPS = 5.0, 1.0, 3
_ANSWER = "records.json"
TOOLS: tuple[Tool, ...] = (PerfTest(), BenchmarkModel(), ExecutorRunner())
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class DevicePlan:
    """How to measure on a phone.

    Attributes:
        settings: settings of the measurement. ``affinity`` names cores of the phone; latencies of a big core and of
            a little core are those of two different devices.
        settle_s: longest wait for a steady temperature, in seconds.
        timeout_s: time limit of a run, in seconds.
        programs: runtimes' own benchmark programs of the user's to measure with; our script for ONNX files if there
            are none.
    """

    settings: Settings
    settle_s: float = 120.0
    timeout_s: float = 1800.0
    programs: tuple[Program, ...] = ()


def run_on_phone(phone: Phone, workloads: Sequence[Workload], archive: Callable[[], tuple[Path, Sysroot]],
                 plan: DevicePlan, say: Say = lambda _: None) -> list[Record]:  # fmt: skip
    """Measure files on a phone: ONNX files by our script, or those of each runtime by its own program.

    Args:
        phone: the connected phone.
        workloads: the files.
        archive: gives the archive to push and the root in it; not called if the user's programs measure.
        plan: how to measure.
        say: called with a description of each step as it begins.

    Returns:
        One record for each workload, in order; latencies in milliseconds.

    Raises:
        DeviceError: the phone has no 64-bit ARM processor or goes away, or a run fails.
        RecordError: the phone's answer is not a list of records, or a program's output not that of a measurement.
    """
    programs = programs_for(workloads, plan.programs)
    about = _checked(phone, plan.settings)
    names = [f"{number}{Path(workload.path).suffix}" for number, workload in enumerate(workloads)]
    with phone.folder() as folder:
        say(f"push to {about.name}")
        if programs:
            run = _their_programs(phone, folder, programs, plan)
        else:
            run = _our_program(phone, folder, *archive(), plan)
        for name, workload in zip(names, workloads, strict=True):
            phone.push(workload.path, f"{folder}/{name}")
        say("wait for a steady temperature")
        before = settle(phone, plan.settle_s)
        say("measure")
        rows = run(names, workloads)
        after = phone.temperature_c()
    return [
        _record(row, workload, phone, about, (before, after)) for row, workload in zip(rows, workloads, strict=True)
    ]


Run = Callable[[Sequence[str], Sequence[Workload]], list[dict[str, Any]]]


def _checked(phone: Phone, settings: Settings) -> About:
    about = phone.about()
    if about.abi != _ABI:
        raise DeviceError(f"device {phone.serial}: has {about.abi or 'an unknown processor'}, wanted {_ABI}")
    if any(core >= about.cores for core in settings.affinity or ()):
        got = list(settings.affinity or ())
        raise DeviceError(f"device {phone.serial}: got cores {got}, wanted some of 0 to {about.cores - 1}")
    return about


def _our_program(phone: Phone, folder: str, archive: Path, sysroot: Sysroot, plan: DevicePlan) -> Run:
    """Push and unpack the archive; gives the function that runs our script on the phone."""
    phone.push(archive, f"{folder}/bundle.tar.gz")
    phone.shell(f"cd {folder} && tar -xzf bundle.tar.gz && rm bundle.tar.gz && chmod -R u+rx {ROOT}", 300.0)

    def run(names: Sequence[str], _: Sequence[Workload]) -> list[dict[str, Any]]:
        phone.shell(_command(folder, names, sysroot, plan.settings), plan.timeout_s)
        return read_answer(phone.pull(f"{folder}/{_ANSWER}"), len(names), phone.serial)

    return run


def read_answer(content: bytes, files: int, serial: str) -> list[dict[str, Any]]:
    """Read what our script has written on a phone: one row for each file.

    Args:
        content: the content of its file.
        files: number of files that it was to measure.
        serial: the phone's serial number, for the error.

    Raises:
        RecordError: it is something else.
    """
    try:
        rows = parse_json(content)
    except ValueError as error:
        raise RecordError(f"device {serial}: its answer is not JSON, wanted records of {SCRIPT}") from error
    if not isinstance(rows, list) or len(rows) != files or not all(isinstance(row, dict) for row in rows):
        raise RecordError(f"device {serial}: its answer is {rows!r:.40}, wanted {files} records of {SCRIPT}")
    return rows


def programs_for(workloads: Sequence[Workload], given: Sequence[Program]) -> list[Program]:
    """The program that runs each file; none where our own script runs all of them, which are then ONNX files.

    Raises:
        DeviceError: a file has no program, or a program no file.
    """
    by_suffix = {program.tool.suffix: program for program in given}
    suffixes = {workload.path.suffix for workload in workloads}
    for program in given:
        if program.tool.suffix not in suffixes:
            raise DeviceError(
                f"{program.tool.flag} {program.path}: would be ignored, got no {program.tool.suffix} file"
            )
    for workload in workloads:
        suffix = workload.path.suffix
        flag = next((tool.flag for tool in TOOLS if tool.suffix == suffix), None)
        if flag is None:
            raise DeviceError(f"{workload.label}: a phone runs files of {' '.join(tool.suffix for tool in TOOLS)} only")
        if suffix not in by_suffix and (given or suffix != TOOLS[0].suffix):
            raise DeviceError(f"{workload.label}: got no program that runs it, wanted {flag} FILE")
    return [by_suffix[workload.path.suffix] for workload in workloads] if given else []


def _their_programs(phone: Phone, folder: str, programs: Sequence[Program], plan: DevicePlan) -> Run:
    """Push the user's programs; gives the function that runs them on the phone."""
    for program in {program.tool.name: program for program in programs}.values():
        phone.push(program.path, f"{folder}/{program.tool.name}")
        phone.shell(f"chmod u+rx {folder}/{program.tool.name}")

    def on_phone(command: Sequence[str]) -> str:
        line = pinned(command, plan.settings)
        # What a program logs on stderr is read, too.
        return phone.shell(f"trap 'rm -rf {folder}; exit 129' HUP; cd {folder} && {line} 2>&1", plan.timeout_s)

    def read(name: str) -> bytes:
        return phone.pull(f"{folder}/{name}")

    def run(names: Sequence[str], workloads: Sequence[Workload]) -> list[dict[str, Any]]:
        files = zip(names, workloads, strict=True)
        jobs = [Job(name, workload, plan.settings, on_phone, read) for name, workload in files]
        return measure_with_programs(jobs, programs)

    return run


def settle(phone: Phone, limit_s: float, sleep: Callable[[float], None] = time.sleep) -> float | None:
    """Wait until the temperature is steady; gives the last one in degrees Celsius, None if none can be read."""
    seen: list[float] = []
    while (now := phone.temperature_c()) is not None:
        seen.append(now)
        recent = seen[-_SETTLED_STEPS - 1 :]
        steady = len(recent) > _SETTLED_STEPS and max(recent) - min(recent) <= _WITHIN_C
        if steady or len(seen) * _STEP_S > limit_s:
            return now
        sleep(_STEP_S)
    return None


def _command(folder: str, names: Sequence[str], sysroot: Sysroot, settings: Settings) -> str:
    """The command line on the phone; if adb hangs up, the shell removes its folder and ends."""
    root = f"{folder}/{ROOT}"
    options = ["--mode", settings.mode, "--threads", str(settings.threads), "--out", _ANSWER]
    options += ["--provider", settings.provider]
    if not settings.spin:
        options.append("--no-spin")
    for shape in settings.shapes:
        options += ["--shape", shape]
    if settings.affinity:
        options += ["--affinity", ",".join(map(str, settings.affinity))]
    environment = " ".join(f"{key}={shlex.quote(value)}" for key, value in sysroot.environment(root).items())
    run = shlex.join([*sysroot.command(root), SCRIPT, *names, *options])
    return f"trap 'rm -rf {folder}; exit 129' HUP; cd {folder} && {environment} {run}"


def _record(row: dict[str, Any], workload: Workload, phone: Phone, about: About,
            temperatures: tuple[float | None, float | None]) -> Record:  # fmt: skip
    """The record of a row that the phone measured, with the phone's name and temperatures."""
    try:
        conditions = {**row["conditions"], "device": about.name}
        for key, value in zip(("before", "after"), temperatures, strict=True):
            state = conditions[key]
            conditions[key] = {**state, "temperature_c": value if value is not None else state["temperature_c"]}
        conditions |= {"processor": row["conditions"]["device"], "phone": {"serial": phone.serial, **asdict(about)}}
        whole = {**row, "file": workload.label, "network": workload.network, "conditions": conditions,
                 "stable": is_stable(row["cv"])}  # fmt: skip
    except (KeyError, TypeError) as error:
        raise RecordError(f"device {phone.serial}: its answer lacks {error}, wanted records of {SCRIPT}") from error
    return check_record(whole, f"device {phone.serial}")
