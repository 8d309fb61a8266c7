"""A connection that does not wait for ever: half a request is closed after a while, and there are not too many."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 10.0  # in which the first line and the headers of a request have arrived
MOST_CONNECTIONS = 128


class Patient(H11Protocol):
    """Uvicorn's connection, which waits for a whole request for :data:`REQUEST_S` seconds only.

    Uvicorn times the pause between two requests, but not a request that has begun. A connection above
    :data:`MOST_CONNECTIONS` is closed at once.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.close()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; the wait ends with the last of its headers."""
        if self._deadline is None and not self._is_answering:
            self._wait()
        super().data_received(data)
        if self._is_answering:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for a request whose first part has come while the one before was answered."""
        super().on_response_complete()
        if self._deadline is None and not self._is_answering and self.conn.trailing_data[0]:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the wait."""
        self._stop_waiting()
        super().connection_lost(exc)

    @property
    def _is_answering(self) -> bool:
        cycle = cast(Any, self.cycle)
        return cycle is not None and not cycle.response_complete

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_S, self._close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        self._deadline = None
        self.transport.close()
