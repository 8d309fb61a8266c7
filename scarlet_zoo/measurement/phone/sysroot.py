"""An arm64 Python with ONNX Runtime in a folder, unpacked from Debian's packages and Python wheels.

It runs on an arm64 Linux kernel, such as a phone's, through its own loader, and on this machine under qemu's user
emulation. Nothing of the system is changed: apt works in a folder of its own, and nothing is installed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.latency import EMULATED
from scarlet_zoo.utils.files import make_folder, write_text
from scarlet_zoo.utils.reading import bounded_text, parse_json

MACHINE = "aarch64"
LOADER = "lib/ld-linux-aarch64.so.1"
_LIBRARIES = ("lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu")
_PACKAGES = ("python3", "libstdc++6")
_WHEELS = ("numpy", "onnxruntime")
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
_MADE = "made.json"
# Processors that qemu emulates, with the part number and features of their /proc/cpuinfo. ONNX Runtime chooses its
# kernels by that file; without one in the emulated root it reads the host's and crashes.
CPUS: Mapping[str, tuple[str, str]] = {
    "cortex-a57": ("0xd07", "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"),
    "cortex-a76": ("0xd0b", "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc "
                            "dcpop asimddp"),
}  # fmt: skip


@dataclass(frozen=True)
class Sysroot:
    """An unpacked root.

    Attributes:
        folder: the folder that it is unpacked in.
        python: path of its interpreter, relative to the folder.
        versions: the versions of ``python``, ``numpy`` and ``onnxruntime``.
    """

    folder: Path
    python: str
    versions: Mapping[str, str]

    def command(self, root: str) -> list[str]:
        """The command of its interpreter on an arm64 kernel, where the folder is at ``root``."""
        libraries = ":".join(f"{root}/{name}" for name in _LIBRARIES)
        return [f"{root}/{LOADER}", "--library-path", libraries, f"{root}/{self.python}"]

    def environment(self, root: str) -> dict[str, str]:
        """The environment variables that its interpreter needs, where the folder is at ``root``."""
        return {"PYTHONHOME": f"{root}/usr", "PYTHONPATH": f"{root}/site", "PYTHONDONTWRITEBYTECODE": "1",
                "SCARLET_ZOO_PYTHON": json.dumps(self.command(root))}  # fmt: skip

    def emulated(self, cpu: str) -> tuple[list[str], dict[str, str]]:
        """The command and environment of its interpreter under qemu, emulating a processor of :data:`CPUS`.

        Raises:
            ScarletError: qemu is not installed, or there is no such processor.
        """
        root = str(self.folder)
        self.play(cpu)
        # With EMULATED set, the script refuses to measure: times of an emulated processor mean nothing. Bytecode is
        # kept, since compiling under emulation takes longer than all else at the start of the interpreter.
        environment = self.environment(root) | {EMULATED: cpu, "PYTHONDONTWRITEBYTECODE": ""}
        # The loader takes its own words off the stack. Of an odd number of them the program would find the pairs of
        # /proc/self/auxv, which qemu reads from there, out of step, and in them no instruction sets.
        loader, *rest = self.command(root)
        return [qemu(MACHINE), "-cpu", cpu, "-L", root, loader, "--inhibit-cache", *rest], environment

    def unpack_wheels(self, folder: Path, wanted: Sequence[str]) -> None:
        """Unpack Python packages with all that they need into a folder for PYTHONPATH, unless they are there.

        Args:
            folder: the folder; downloads go to ``FOLDER.fetched`` beside it.
            wanted: pip's requirements, such as ``numpy==2.4.6``.

        Raises:
            ScarletError: pip fails.
        """
        record = folder / _MADE
        if record.is_file() and parse_json(bounded_text(record)) == list(wanted):
            return
        fetched = folder.with_name(f"{folder.name}.fetched")
        _unpack(_fetch_wheels(fetched, wanted, self.versions["python"]), folder)
        write_text(record, json.dumps(list(wanted)) + "\n")

    def play(self, cpu: str) -> None:
        """Write the files in which a kernel describes this processor; qemu looks for absolute paths in its root first.

        Raises:
            ScarletError: there is no such processor.
        """
        if cpu not in CPUS:
            raise ScarletError(f"processor {cpu!r}: unknown, wanted one of {' '.join(CPUS)}")
        part, features = CPUS[cpu]
        description = (f"processor\t: 0\nBogoMIPS\t: 100.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
                f"CPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: {part}\nCPU revision\t: 0\n\n")  # fmt: skip
        write_text(self.folder / "proc" / "cpuinfo", description)
        for name in ("possible", "present"):
            write_text(self.folder / "sys" / "devices" / "system" / "cpu" / name, "0\n")


def qemu(machine: str) -> str:
    """The path of qemu's user emulation for a kind of processor.

    Raises:
        ScarletError: qemu is not installed.
    """
    found = shutil.which(f"qemu-{machine}-static") or shutil.which(f"qemu-{machine}")
    if found is None:
        raise ScarletError(f"qemu-{machine}-static: is not installed; install it with: apt install qemu-user-static")
    return found


def make_sysroot(folder: Path, runtime: str | None = None) -> Sysroot:
    """Download and unpack a root, or use the one that is there.

    Args:
        folder: folder of the root; downloads go to ``FOLDER.fetched`` beside it.
        runtime: version of ONNX Runtime; the newest when None.

    Raises:
        ScarletError: apt, dpkg or pip is missing or fails.
    """
    if (folder / _MADE).is_file():
        record = parse_json(bounded_text(folder / _MADE))
        if runtime in (None, record["versions"]["onnxruntime"]):
            return Sysroot(folder, record["python"], record["versions"])
    make_folder(folder)
    fetched = folder.with_name(f"{folder.name}.fetched")
    for package in _fetch_packages(fetched / "apt"):
        _run(["dpkg-deb", "-x", str(package), str(folder)], "dpkg-deb")
    python = min(folder.glob("usr/bin/python3.[0-9]*"), key=lambda path: len(path.name))
    version = python.name.removeprefix("python")
    wanted = [f"{name}=={runtime}" if runtime and name == "onnxruntime" else name for name in _WHEELS]
    # Measuring needs these alone; a phone has little room.
    wheels = _fetch_wheels(fetched / "wheels", ["--no-deps", *wanted], version)
    _unpack(wheels, folder / "site")
    versions = {"python": version, **{wheel.name.split("-")[0]: wheel.name.split("-")[1] for wheel in wheels}}
    relative = str(python.relative_to(folder))
    write_text(folder / _MADE, json.dumps({"python": relative, "versions": versions}, indent=1) + "\n")
    return Sysroot(folder, relative, versions)


def _unpack(wheels: Sequence[Path], folder: Path) -> None:
    """Unpack wheels without the tests that some carry, which are most of their size."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if {"test", "tests"}.isdisjoint(name.split("/"))]
            archive.extractall(folder, members)


def _fetch_packages(folder: Path) -> list[Path]:
    """Download Debian's arm64 packages with their dependencies, by an apt that works in one folder."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        make_folder(folder / name)
    write_text(folder / "status", "")
    settings = {"APT::Architecture": "arm64", "APT::Architectures": "arm64", "Dir::State": str(folder / "state"),
                "Dir::State::status": str(folder / "status"), "Dir::Cache": str(folder / "cache"),
                "APT::Sandbox::User": "root", "Debug::NoLocking": "1"}  # fmt: skip
    configuration = folder / "apt.conf"
    write_text(configuration, "".join(f'{key} "{value}";\n' for key, value in settings.items()))
    environment = {**os.environ, "APT_CONFIG": str(configuration)}
    _run(["apt-get", "-qq", "update"], "apt-get update", environment)
    _run(["apt-get", "-qq", "-y", "--download-only", "--no-install-recommends", "install", *_PACKAGES],
         "apt-get install", environment)  # fmt: skip
    return sorted((folder / "cache" / "archives").glob("*.deb"))


def _fetch_wheels(folder: Path, wanted: Sequence[str], version: str) -> list[Path]:
    make_folder(folder)
    for wheel in folder.glob("*.whl"):
        wheel.unlink()
    platforms = [part for name in _PLATFORMS for part in ("--platform", name)]
    _run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
          "--only-binary=:all:", "--python-version", version, *platforms, "--dest", str(folder), *wanted],
         "pip download")  # fmt: skip
    return sorted(folder.glob("*.whl"))


def _run(command: Sequence[str], what: str, environment: Mapping[str, str] | None = None) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError as error:
        raise ScarletError(f"{what}: {command[0]} is not installed, wanted Debian's") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise ScarletError(f"{what}: ended with {done.returncode}: {lines[-1]}")
