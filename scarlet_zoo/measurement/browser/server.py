"""The server while it runs: where it listens, what a phone must open, and when it ends."""

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
from scarlet_zoo.measurement.browser.app import Desk, make_app
from scarlet_zoo.measurement.browser.certificate import write_certificate

if TYPE_CHECKING:
    from starlette.applications import Starlette

_LOOPBACK, _EVERYWHERE = "127.0.0.1", "0.0.0.0"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where to listen.

    Attributes:
        lan: on every address of this machine, rather than on loopback alone.
        port: 0 is any that is free.
        https: with a certificate of our own, which the phone is asked to trust.
        adb: serial number of a phone on a cable, to whose localhost the port is carried.
    """

    lan: bool = False
    port: int = 0
    https: bool = False
    adb: str | None = None

    @property
    def host(self) -> str:
        """The address to listen on."""
        return _EVERYWHERE if self.lan else _LOOPBACK


def new_token() -> str:
    """A word that nobody guesses, for one run."""
    return secrets.token_urlsafe(18)


def lan_address() -> str:
    """This machine's address in its network; nothing is sent to find it.

    Raises:
        ScarletError: it is in none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address of documentation (RFC 5737)
            return str(probe.getsockname()[0])
        except OSError as error:
            raise ScarletError("serve --lan: this machine is in no network, wanted one that the phone is in") from error


def qr_code(url: str) -> str | None:
    """A URL as a code for a phone's camera, in characters of a terminal; None where segno is not installed."""
    try:
        import segno
    except ModuleNotFoundError:
        return None
    text = io.StringIO()
    segno.make(url, error="l").terminal(text, compact=True, border=1)
    return text.getvalue().rstrip("\n")


def run_server(desk: Desk, place: Place, tell: Callable[[str, str | None], None], wanted: int | None = None) -> None:
    """Serve until interrupted, or until so much has come in.

    Args:
        desk: what is served; its ``done`` is taken.
        place: where.
        tell: told the URL to open, and a certificate's fingerprint, when connections are taken.
        wanted: records and tables after which it ends; None is never.

    Raises:
        ScarletError: the port is taken, or there is no network or phone.
    """
    with ExitStack() as cleanup:
        listener = cleanup.enter_context(_listen(place))
        port = listener.getsockname()[1]
        host = lan_address() if place.lan else "localhost" if place.adb else _LOOPBACK
        tls, fingerprint = _tls(cleanup, host) if place.https else ({}, None)
        if place.adb is not None:
            from scarlet_zoo.measurement.phone.adb import find_phone

            cleanup.enter_context(find_phone(place.adb).reversed(port))
        server = _Server(make_app(desk), tls, wanted)
        desk.done = server.came_in
        scheme = "https" if place.https else "http"
        tell(f"{scheme}://{host}:{port}/#{desk.token}", fingerprint)
        with suppress(KeyboardInterrupt):  # which is how a person ends it
            server.run(sockets=[listener])


def _listen(place: Place) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((place.host, place.port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise ScarletError(f"serve: port {place.port} cannot be listened on: {error}") from error
    listener.listen(64)
    return listener


def _tls(cleanup: ExitStack, host: str) -> tuple[dict[str, Any], str]:
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="scarlet-zoo-")))
    key, certificate, fingerprint = write_certificate(folder, [host, "localhost", _LOOPBACK])
    return {"ssl_keyfile": str(key), "ssl_certfile": str(certificate)}, fingerprint


class _Server(uvicorn.Server):
    """Uvicorn's, which ends when enough has come in."""

    def __init__(self, app: Starlette, tls: dict[str, Any], wanted: int | None) -> None:
        super().__init__(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3, **tls))
        self.wanted = wanted

    def came_in(self) -> None:
        """A record or a table is there."""
        if self.wanted is not None:
            self.wanted -= 1
            self.should_exit = self.wanted <= 0
