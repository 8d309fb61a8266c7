"""A phone connected by adb: commands, files, and cleaning up afterwards."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.installing import install_command
from scarlet_zoo.utils.reading import whole_number

FOLDER = "/data/local/tmp"  # where Android lets adb's shell write and run
_PREFIX = "scarlet-zoo-"


class DeviceError(ScarletError):
    """A device is not there, is not ready, or failed to do what it was asked."""


@dataclass(frozen=True)
class About:
    """The properties that a phone reports.

    Attributes:
        name: maker and model.
        abi: ABI of its processor, for example ``arm64-v8a``.
        android: version of Android.
        build: fingerprint of the Android build.
        cores: number of cores that are online.
    """

    name: str
    abi: str
    android: str
    build: str
    cores: int


class Phone:
    """One connected device.

    Args:
        device: the device object of adbutils.
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        self.serial: str = device.serial

    def shell(self, command: str, timeout_s: float | None = 60.0) -> str:
        """Run a command line on the device and return what it prints.

        Raises:
            DeviceError: the device went away, or the command ended with a code other than 0.
        """
        with self._asking(command.split(maxsplit=1)[0]):
            done = self._device.shell2(command, timeout=timeout_s, encoding="utf-8")
        if done.returncode:
            raise DeviceError(f"device {self.serial}: {command[:60]!r} ended with {done.returncode}: "
                              f"{_line(done.output) or 'no message'}")  # fmt: skip
        return str(done.output)

    def push(self, path: Path, remote: str) -> None:
        """Copy a file to the device."""
        with self._asking("push"):
            self._device.sync.push(path, remote, check=True)

    def pull(self, remote: str) -> bytes:
        """Read a file of the device."""
        with self._asking("pull"):
            content: bytes = self._device.sync.read_bytes(remote)
        return content

    def about(self) -> About:
        """Ask the device for its properties."""
        keys = ("ro.product.manufacturer", "ro.product.model", "ro.product.cpu.abi", "ro.build.version.release",
                "ro.build.fingerprint")  # fmt: skip
        maker, model, abi, android, build = (self.shell(f"getprop {key}").strip() for key in keys)
        cores = self.shell("nproc").strip()
        name = model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()
        return About(name or self.serial, abi, android, build, whole_number(cores) or 1)

    def temperature_c(self) -> float | None:
        """The temperature of the hottest zone that can be read, in degrees Celsius; None if none can be read."""
        printed = self.shell("cat /sys/class/thermal/thermal_zone*/temp 2>/dev/null || true")
        values = [(whole_number(line) or 0) / 1000 for line in printed.split()]
        plausible = [value for value in values if 0 < value < 150]
        return max(plausible, default=None)

    def fastest_cores(self) -> tuple[int, ...]:
        """The cores with the highest frequency that the device states; empty if it states none.

        They are those for ``--affinity``: phones have cores of several kinds, and a program that is moved from one kind
        to another is measured as neither.
        """
        printed = self.shell("grep . /sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq 2>/dev/null || true")
        found = re.findall(r"/cpu(\d+)/cpufreq/cpuinfo_max_freq:(\d+)$", printed, re.MULTILINE)
        highest = max((int(frequency) for _, frequency in found), default=0)
        return tuple(sorted(int(core) for core, frequency in found if int(frequency) == highest))

    @contextmanager
    def folder(self) -> Iterator[str]:
        """A temporary folder on the device; processes in it are ended and it is removed afterwards.

        Folders that earlier calls left are removed first: if the cable is pulled, a folder stays until the next call.
        """
        self.shell(f"rm -rf {FOLDER}/{_PREFIX}*")
        folder = self.shell(f"mktemp -d {FOLDER}/{_PREFIX}XXXXXX").strip()
        if not folder.startswith(f"{FOLDER}/{_PREFIX}"):
            raise DeviceError(f"device {self.serial}: mktemp gave {folder!r}, wanted a folder in {FOLDER}")
        try:
            yield folder
        finally:
            with suppress(DeviceError):
                # The brackets keep the pattern from matching pkill's shell, so this command must not name the folder.
                word = folder[len(FOLDER) + 1 + len(_PREFIX) :]
                self.shell(f"pkill -f {shlex.quote(f'{_PREFIX}[{word[0]}]{word[1:]}')} || true")
                self.shell(f"rm -rf {shlex.quote(folder)}")

    @contextmanager
    def reversed(self, port: int) -> Iterator[None]:
        """Forward a port of the phone's localhost to the same port of this machine, until the context ends."""
        with self._asking("reverse"):
            self._device.reverse(f"tcp:{port}", f"tcp:{port}")
        try:
            yield
        finally:
            with suppress(DeviceError), self._asking("reverse"):
                self._device.reverse_remove(f"tcp:{port}")

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        from adbutils import AdbError

        try:
            yield
        except (AdbError, OSError, EOFError, AssertionError) as error:
            # The library raises AssertionError if no answer arrives, as when the cable is pulled.
            raise DeviceError(f"device {self.serial}: {what}: {_line(error) or 'the device went away'}") from error


def find_phone(serial: str | None) -> Phone:
    """Find the device of this serial number, or the only one that is connected.

    Raises:
        DeviceError: adb's server does not answer, the device is not there or not ready, or several are connected and
            none is named.
    """
    try:
        from adbutils import AdbClient, AdbError
    except ModuleNotFoundError as error:
        raise DeviceError(f"device: adbutils is not installed; install it with: {install_command('adb')}") from error
    client = AdbClient()
    try:
        found = {info.serial: info.state for info in client.list()}
    except (AdbError, OSError) as error:
        wanted = "start it: adb start-server"
        raise DeviceError(f"device: no answer from adb's server; {wanted} ({_line(error)})") from error
    names = " ".join(f"{name} ({state})" for name, state in found.items()) or "none"
    if serial is None and len(found) == 1:
        (serial,) = found
    if serial is None or serial not in found:
        raise DeviceError(f"device: got {serial or 'no serial number'}, wanted one of the connected devices: {names}")
    if found[serial] != "device":
        raise DeviceError(
            f"device {serial}: is {found[serial]}, wanted it unlocked, with USB debugging allowed for this computer"
        )
    return Phone(client.device(serial))


def _line(message: object) -> str:
    lines = str(message).strip().splitlines()
    return lines[-1] if lines else ""
