"""A phone behind adb: what is asked of it, and what is undone when the conversation ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from scarlet_zoo.errors import ScarletError


class DeviceError(ScarletError):
    """A device that is not there, or does not do what it is asked."""


class Phone:
    """One device.

    Args:
        device: of adbutils.
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        self.serial: str = device.serial

    @contextmanager
    def reversed(self, port: int) -> Iterator[None]:
        """While it lasts, the phone's localhost has this machine's port.

        Raises:
            DeviceError: the device does not carry it.
        """
        from adbutils import AdbError

        try:
            self._device.reverse(f"tcp:{port}", f"tcp:{port}")
        except (AdbError, OSError) as error:
            raise DeviceError(f"device {self.serial}: adb reverse: {_line(error)}") from error
        try:
            yield
        finally:
            with suppress(AdbError, OSError):  # a cable that was pulled has undone it
                self._device.open_transport(f"reverse:killforward:tcp:{port}").close()


def find_phone(serial: str | None) -> Phone:
    """The device of this serial number, or the only one that there is.

    Raises:
        DeviceError: adb's server does not answer, no device, several, or one that is not ready.
    """
    try:
        from adbutils import AdbClient, AdbError
    except ModuleNotFoundError as error:
        raise DeviceError("device: adbutils is not installed, wanted it: pip install 'scarlet-zoo[adb]'") from error
    client = AdbClient()
    try:
        found = {info.serial: info.state for info in client.list()}
    except (AdbError, OSError) as error:
        raise DeviceError(f"device: no answer from adb's server, wanted it running: adb start-server ({_line(error)})"
                          ) from error  # fmt: skip
    names = " ".join(f"{name} ({state})" for name, state in found.items()) or "none"
    if serial is None and len(found) == 1:
        (serial,) = found
    if serial is None or serial not in found:
        raise DeviceError(f"device: got {serial or 'no serial number'}, wanted one of: {names}")
    if found[serial] != "device":
        raise DeviceError(f"device {serial}: is {found[serial]}, wanted it unlocked and this computer allowed on it")
    return Phone(client.device(serial))


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
