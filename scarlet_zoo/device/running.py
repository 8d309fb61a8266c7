"""A measurement on a phone: pushed, settled, run, pulled, and nothing left behind."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.device.bundle import ROOT, SCRIPT, make_bundle_archive
from scarlet_zoo.device.phone import About, DeviceError, Phone
from scarlet_zoo.device.sysroot import Sysroot
from scarlet_zoo.errors import RecordError
from scarlet_zoo.lab.records import Record, check_record
from scarlet_zoo.lab.subjects import Subject
from scarlet_zoo.latency import STEADY_CV, Settings

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
    """

    settings: Settings
    settle_s: float = 120.0
    timeout_s: float = 1800.0


def run_on_phone(phone: Phone, subjects: Sequence[Subject], sysroot: Sysroot, work: Path, plan: DevicePlan,
                 say: Say = lambda _: None) -> list[Record]:  # fmt: skip
    """Measure ONNX files on a phone.

    Args:
        phone: that is connected.
        subjects: ONNX files, with labels.
        sysroot: arm64 Python and runtime.
        work: folder of the archive that is pushed.
        plan: how.
        say: told what begins.

    Raises:
        DeviceError: no 64-bit ARM processor, a device that goes away, or a run that fails.
    """
    about = phone.about()
    if about.abi != _ABI:
        raise DeviceError(f"device {phone.serial}: has {about.abi or 'an unknown processor'}, wanted {_ABI}")
    affinity = plan.settings.affinity or ()
    if any(core >= about.cores for core in affinity):
        raise DeviceError(f"device {phone.serial}: got cores {list(affinity)}, wanted some of 0 to {about.cores - 1}")
    archive = make_bundle_archive(sysroot, work / "arm64.tar.gz")
    with phone.folder() as folder:
        say(f"push {archive.stat().st_size / 1e6:.0f} MB to {about.name}")
        phone.push(archive, f"{folder}/bundle.tar.gz")
        phone.shell(f"cd {folder} && tar -xzf bundle.tar.gz && rm bundle.tar.gz && chmod -R u+rx {ROOT}", 300.0)
        names = [f"{number}.onnx" for number in range(len(subjects))]
        for name, subject in zip(names, subjects, strict=True):
            phone.push(subject.path, f"{folder}/{name}")
        say("wait for a temperature that stays")
        before = settle(phone, plan.settle_s)
        say("measure")
        phone.shell(_command(folder, names, sysroot, plan.settings), plan.timeout_s)
        rows = json.loads(phone.pull(f"{folder}/{_ANSWER}"))
        after = phone.temperature_c()
    return [_record(row, subject, phone, about, (before, after)) for row, subject in zip(rows, subjects, strict=True)]


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


def _record(row: dict[str, Any], subject: Subject, phone: Phone, about: About,
            temperatures: tuple[float | None, float | None]) -> Record:  # fmt: skip
    """As the host's, under the phone's name."""
    try:
        told = {**row["conditions"], "device": about.name}
        for key, value in zip(("before", "after"), temperatures, strict=True):
            told[key] = {**told[key], "temperature_c": value if value is not None else told[key]["temperature_c"]}
        told |= {"processor": row["conditions"]["device"], "phone": {"serial": phone.serial, **asdict(about)}}
        whole = {**row, "file": subject.label, "conditions": told, "stable": row["cv"] <= STEADY_CV}
    except (KeyError, TypeError) as error:
        raise RecordError(f"device {phone.serial}: its answer lacks {error}, wanted records of {SCRIPT}") from error
    return check_record(whole, f"device {phone.serial}")
