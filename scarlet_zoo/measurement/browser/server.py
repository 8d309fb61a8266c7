"""Run the server: the address that it listens on, the URL that a phone opens, and when it ends."""

from __future__ import annotations

import io
import secrets
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.measurement.browser.app import LOCAL, Desk, make_app
from scarlet_zoo.measurement.browser.certificate import write_certificate
from scarlet_zoo.measurement.browser.patience import Patient

if TYPE_CHECKING:
    from starlette.applications import Starlette

_LOOPBACK, _EVERYWHERE = "127.0.0.1", "0.0.0.0"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and how the server listens.

    Attributes:
        lan: whether to listen on every address of this machine, rather than on loopback alone.
        port: port to listen on; 0 takes any free one.
        https: whether to use https, with a self-signed certificate that the user must accept on the phone.
        adb: serial number of a phone connected by adb, whose localhost gets the port forwarded; None for none.
        names: further names and addresses under which the page is opened.
    """

    lan: bool = False
    port: int = 0
    https: bool = False
    adb: str | None = None
    names: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """The address to listen on."""
        return _EVERYWHERE if self.lan else _LOOPBACK


def new_token() -> str:
    """Make a random secret token for one run."""
    return secrets.token_urlsafe(18)


def lan_address() -> str:
    """This machine's address in its local network, found without sending anything.

    Raises:
        ScarletError: this machine is in no network.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address reserved for documentation (RFC 5737)
            return str(probe.getsockname()[0])
        except OSError as error:
            raise ScarletError("serve --lan: this machine is in no network, wanted the phone's network") from error


def qr_code(url: str) -> str | None:
    """A URL as a QR code in characters for a terminal; None if segno is not installed."""
    try:
        import segno
    except ModuleNotFoundError:
        return None
    text = io.StringIO()
    segno.make(url, error="l").terminal(text, compact=True, border=1)
    return text.getvalue().rstrip("\n")


def run_server(desk: Desk, place: Place, tell: Callable[[str, str | None], None], wanted: int | None = None) -> None:
    """Run the server until it is interrupted, or until it has received enough records.

    Args:
        desk: what to serve; its ``done`` is replaced.
        place: where to listen.
        tell: called with the URL to open and the certificate's fingerprint (None for http) once the server listens.
        wanted: number of records and tables after which the server ends; None runs until interrupted.

    Raises:
        ScarletError: the port is in use, or there is no network or no phone.
    """
    with ExitStack() as cleanup:
        listener = cleanup.enter_context(_listen(place))
        port = listener.getsockname()[1]
        host = lan_address() if place.lan else "localhost" if place.adb else _LOOPBACK
        tls, fingerprint = _tls(cleanup, host) if place.https else ({}, None)
        if place.adb is not None:
            from scarlet_zoo.measurement.phone.adb import find_phone

            cleanup.enter_context(find_phone(place.adb).reversed(port))
        desk.hosts = LOCAL | {host} | {name.lower() for name in place.names}
        server = _Server(make_app(desk), tls, wanted)
        desk.done = server.came_in
        scheme = "https" if place.https else "http"
        tell(f"{scheme}://{host}:{port}/#{desk.token}", fingerprint)
        with suppress(KeyboardInterrupt):  # the user ends it with Ctrl-C
            server.run(sockets=[listener])


def _listen(place: Place) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((place.host, place.port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise ScarletError(f"serve: cannot listen on port {place.port}: {error}") from error
    listener.listen(64)
    return listener


def _tls(cleanup: ExitStack, host: str) -> tuple[dict[str, Any], str]:
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="scarlet-zoo-")))
    key, certificate, fingerprint = write_certificate(folder, [host, "localhost", _LOOPBACK])
    return {"ssl_keyfile": str(key), "ssl_certfile": str(certificate)}, fingerprint


class _Server(uvicorn.Server):
    """Uvicorn's server, which ends when it has received enough records and tables."""

    def __init__(self, app: Starlette, tls: dict[str, Any], wanted: int | None) -> None:
        super().__init__(uvicorn.Config(app, http=Patient, log_level="warning", timeout_graceful_shutdown=3, **tls))
        self.wanted = wanted

    def came_in(self) -> None:
        """Count a received record or table."""
        if self.wanted is not None:
            self.wanted -= 1
            self.should_exit = self.wanted <= 0
