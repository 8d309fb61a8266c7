"""Locks of open files, which the system gives back when a process ends; Windows and some file systems have none."""

from __future__ import annotations

import os
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]


def try_lock(handle: int, *, wait: bool = False) -> bool | None:
    """Lock an open file or folder.

    Args:
        handle: its descriptor.
        wait: whether to wait until another process gives it back.

    Returns:
        True if it is ours now, False if another process has it, None where there are no locks.
    """
    if fcntl is None:
        return None  # type: ignore[unreachable]
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_at(handle: int, path: Path) -> bool:
    """Whether an open file is the one that a path names now."""
    try:
        return os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def flags_of(*names: str) -> int:
    """Return flags for ``os.open`` by name, without those that this system does not have."""
    found = 0
    for name in (*names, "O_BINARY"):
        found |= int(getattr(os, name, 0))
    return found
