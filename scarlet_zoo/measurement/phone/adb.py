"""A phone behind adb: what is asked of it, and what is undone when the conversation ends."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.installing import install_command

FOLDER = "/data/local/tmp"  # where Android lets adb's shell write and run
_PREFIX = "scarlet-zoo-"


class DeviceError(ScarletError):
    """A device that is not there, or does not do what it is asked."""


@dataclass(frozen=True)
class About:
    """What a phone says of itself.

    Attributes:
        name: maker and model.
        abi: of its processor, ``arm64-v8a`` for one.
        cores: that are on.
    """

    name: str
    abi: str
    android: str
    build: str
    cores: int


class Phone:
    """One device.

    Args:
        device: of adbutils.
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        self.serial: str = device.serial

    def shell(self, command: str, timeout_s: float | None = 60.0) -> str:
        """Run a command line on the device; what it prints.

        Raises:
            DeviceError: the device is gone, or the command ends with another code than 0.
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
        """A file's content."""
        with self._asking("pull"):
            content: bytes = self._device.sync.read_bytes(remote)
        return content

    def about(self) -> About:
        """What it is."""
        keys = ("ro.product.manufacturer", "ro.product.model", "ro.product.cpu.abi", "ro.build.version.release",
                "ro.build.fingerprint")  # fmt: skip
        maker, model, abi, android, build = (self.shell(f"getprop {key}").strip() for key in keys)
        cores = self.shell("nproc").strip()
        name = model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()
        return About(name or self.serial, abi, android, build, int(cores) if cores.isdigit() else 1)

    def temperature_c(self) -> float | None:
        """Of the hottest zone that can be read; None where none can."""
        said = self.shell("cat /sys/class/thermal/thermal_zone*/temp 2>/dev/null || true")
        values = [int(line) / 1000 for line in said.split() if line.lstrip("-").isdigit()]
        plausible = [value for value in values if 0 < value < 150]
        return max(plausible, default=None)

    @contextmanager
    def folder(self) -> Iterator[str]:
        """A folder on the device that is gone afterwards, whatever happens; leftovers of earlier ones go first.

        A cable that was pulled leaves nobody to ask: then what is left goes with the next conversation.
        """
        self.shell(f"rm -rf {FOLDER}/{_PREFIX}*")
        made = self.shell(f"mktemp -d {FOLDER}/{_PREFIX}XXXXXX").strip()
        if not made.startswith(f"{FOLDER}/{_PREFIX}"):
            raise DeviceError(f"device {self.serial}: mktemp gave {made!r}, wanted a folder in {FOLDER}")
        try:
            yield made
        finally:
            with suppress(DeviceError):
                # The pattern does not find itself; in a command of its own, beside which the folder is not named.
                word = made[len(FOLDER) + 1 + len(_PREFIX) :]
                self.shell(f"pkill -f {shlex.quote(f'{_PREFIX}[{word[0]}]{word[1:]}')} || true")
                self.shell(f"rm -rf {shlex.quote(made)}")

    @contextmanager
    def reversed(self, port: int) -> Iterator[None]:
        """While it lasts, the phone's localhost has this machine's port."""
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
            # The library asserts that an answer has arrived, which a cable that was pulled belies.
            raise DeviceError(f"device {self.serial}: {what}: {_line(error) or 'went away'}") from error


def find_phone(serial: str | None) -> Phone:
    """The device of this serial number, or the only one that there is.

    Raises:
        DeviceError: adb's server does not answer, no device, several, or one that is not ready.
    """
    try:
        from adbutils import AdbClient, AdbError
    except ModuleNotFoundError as error:
        raise DeviceError(f"device: adbutils is not installed, wanted it: {install_command('adb')}") from error
    client = AdbClient()
    try:
        found = {info.serial: info.state for info in client.list()}
    except (AdbError, OSError) as error:
        wanted = "wanted it running: adb start-server"
        raise DeviceError(f"device: no answer from adb's server, {wanted} ({_line(error)})") from error
    names = " ".join(f"{name} ({state})" for name, state in found.items()) or "none"
    if serial is None and len(found) == 1:
        (serial,) = found
    if serial is None or serial not in found:
        raise DeviceError(f"device: got {serial or 'no serial number'}, wanted one of: {names}")
    if found[serial] != "device":
        raise DeviceError(f"device {serial}: is {found[serial]}, wanted it unlocked and this computer allowed on it")
    return Phone(client.device(serial))


def _line(said: object) -> str:
    lines = str(said).strip().splitlines()
    return lines[-1] if lines else ""
