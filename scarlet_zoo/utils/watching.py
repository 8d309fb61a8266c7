"""Who is told how far a long preparation is, so that a terminal can show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Called with what is being done, the number of things done, and the number of all.
Watcher = Callable[[str, int, int], None]
_WATCHER: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Tell a watcher how far preparations are, while the ``with`` block runs."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def tell_watcher(what: str, done: int, expected: int) -> None:
    """Tell the watcher, if there is one, how far a preparation is."""
    watcher = _WATCHER.get()
    if watcher is not None:
        watcher(what, done, expected)
