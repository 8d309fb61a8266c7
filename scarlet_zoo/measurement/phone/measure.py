"""A measurement on a phone: pushed, settled, run, pulled, and nothing left behind."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.errors import RecordError
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.load import input_shapes
from scarlet_zoo.latency import Settings, is_stable, machine_conditions, make_conditions, runtime_conditions
from scarlet_zoo.measurement.phone.adb import About, DeviceError, Phone
from scarlet_zoo.measurement.phone.archive import ROOT, SCRIPT
from scarlet_zoo.measurement.phone.perf_tool import PROGRAM, perf_test_command, perf_test_method, read_perf_test
from scarlet_zoo.measurement.phone.sysroot import Sysroot
from scarlet_zoo.measurement.records import Record, check_record
from scarlet_zoo.measurement.workloads import Workload

_ABI = "arm64-v8a"
_STEP_S, _WITHIN_C, _SETTLED_STEPS = 5.0, 1.0, 3
_ANSWER = "records.json"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class DevicePlan:
    """How to measure on a phone.

    Attributes:
        settings: of the measurement; its affinity are the phone's cores, which decide what is measured: a big core
            and a little one are two devices.
        settle_s: how long at most to wait for a temperature that stays.
        timeout_s: after which a run is given up.
        perf_test: the user's onnxruntime_perf_test for arm64 Android, to measure instead of ours, and its version.
    """

    settings: Settings
    settle_s: float = 120.0
    timeout_s: float = 1800.0
    perf_test: tuple[Path, str] | None = None


def run_on_phone(phone: Phone, workloads: Sequence[Workload], archive: Callable[[], tuple[Path, Sysroot]],
                 plan: DevicePlan, say: Say = lambda _: None) -> list[Record]:  # fmt: skip
    """Measure ONNX files on a phone.

    Args:
        phone: that is connected.
        workloads: ONNX files, with labels.
        archive: gives the archive that is pushed and the root in it; not asked where the user's program measures.
        plan: how.
        say: told what begins.

    Raises:
        DeviceError: no 64-bit ARM processor, a device that goes away, or a run that fails.
    """
    about = _checked(phone, plan.settings)
    names = [f"{number}.onnx" for number in range(len(workloads))]
    with phone.folder() as folder:
        say(f"push to {about.name}")
        run = _our_program(phone, folder, *archive(), plan) if plan.perf_test is None else _theirs(phone, folder, plan)
        for name, subject in zip(names, workloads, strict=True):
            phone.push(subject.path, f"{folder}/{name}")
        say("wait for a temperature that stays")
        before = settle(phone, plan.settle_s)
        say("measure")
        rows = run(names, workloads)
        after = phone.temperature_c()
    return [_record(row, subject, phone, about, (before, after)) for row, subject in zip(rows, workloads, strict=True)]


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
    """The archive on the phone, and how it is run there."""
    phone.push(archive, f"{folder}/bundle.tar.gz")
    phone.shell(f"cd {folder} && tar -xzf bundle.tar.gz && rm bundle.tar.gz && chmod -R u+rx {ROOT}", 300.0)

    def run(names: Sequence[str], _: Sequence[Workload]) -> list[dict[str, Any]]:
        phone.shell(_command(folder, names, sysroot, plan.settings), plan.timeout_s)
        rows: list[dict[str, Any]] = json.loads(phone.pull(f"{folder}/{_ANSWER}"))
        return rows

    return run


def _theirs(phone: Phone, folder: str, plan: DevicePlan) -> Run:
    """The user's onnxruntime_perf_test on the phone, and how it is run there."""
    assert plan.perf_test is not None
    program, version = plan.perf_test
    phone.push(program, f"{folder}/{PROGRAM}")
    phone.shell(f"chmod u+rx {folder}/{PROGRAM}")
    # The phone's name is put in with its temperatures, for this program as for ours.
    machine = machine_conditions("", "aarch64", "Android", None)
    method = perf_test_method(plan.settings)

    def run(names: Sequence[str], workloads: Sequence[Workload]) -> list[dict[str, Any]]:
        rows = []
        for name, subject in zip(names, workloads, strict=True):
            printed = phone.shell(perf_test_command(folder, name, plan.settings), plan.timeout_s)
            artifact = read_artifact(subject.path)
            runtime = runtime_conditions("onnxruntime", version, opset=artifact.opset, metadata=artifact.description)
            conditions = make_conditions(
                machine, method, runtime, sha256=artifact.sha256, input_shape=input_shapes(subject.path)
            )
            rows.append({**read_perf_test(printed, plan.settings, subject.label), "conditions": conditions})
        return rows

    return run


def settle(phone: Phone, limit_s: float, sleep: Callable[[float], None] = time.sleep) -> float | None:
    """Wait until the temperature has stayed for some steps; the last one, None where none can be read."""
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
    """The command line on the phone; if its shell is hung up on, it takes its children and its folder along."""
    root = f"{folder}/{ROOT}"
    options = ["--mode", settings.mode, "--threads", str(settings.threads), "--out", _ANSWER]
    if not settings.spin:
        options.append("--no-spin")
    if settings.affinity:
        options += ["--affinity", ",".join(map(str, settings.affinity))]
    environment = " ".join(f"{key}={shlex.quote(value)}" for key, value in sysroot.environment(root).items())
    run = shlex.join([*sysroot.command(root), SCRIPT, *names, *options])
    return f"trap 'rm -rf {folder}; exit 129' HUP; cd {folder} && {environment} {run}"


def _record(row: dict[str, Any], subject: Workload, phone: Phone, about: About,
            temperatures: tuple[float | None, float | None]) -> Record:  # fmt: skip
    """As the host's, under the phone's name."""
    try:
        told = {**row["conditions"], "device": about.name}
        for key, value in zip(("before", "after"), temperatures, strict=True):
            told[key] = {**told[key], "temperature_c": value if value is not None else told[key]["temperature_c"]}
        told |= {"processor": row["conditions"]["device"], "phone": {"serial": phone.serial, **asdict(about)}}
        whole = {**row, "file": subject.label, "network": subject.network, "conditions": told,
                 "stable": is_stable(row["cv"])}  # fmt: skip
    except (KeyError, TypeError) as error:
        raise RecordError(f"device {phone.serial}: its answer lacks {error}, wanted records of {SCRIPT}") from error
    return check_record(whole, f"device {phone.serial}")
