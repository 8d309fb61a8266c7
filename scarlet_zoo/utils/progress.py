"""Progress of work inside other work: a library function reports, and the command line draws it if it shows any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

Report = Callable[[int, int], None]
Display = Callable[[str], AbstractContextManager[Report]]


def _nothing(done: int, expected: int) -> None:
    """Show nothing."""


def _undrawn(what: str) -> AbstractContextManager[Report]:  # noqa: ARG001
    return nullcontext(_nothing)


_display: ContextVar[Display] = ContextVar("display", default=_undrawn)


@contextmanager
def displayed_by(display: Display) -> Iterator[None]:
    """Let ``display`` draw the progress that is reported while the ``with`` block runs.

    Args:
        display: gets a few words about the work and gives a context with a function of (done, expected).
    """
    token = _display.set(display)
    try:
        yield
    finally:
        _display.reset(token)


def reporting(what: str) -> AbstractContextManager[Report]:
    """Return a context whose value is called with (done, expected); it draws nothing outside the command line."""
    return _display.get()(what)
