"""Own a folder or a file's name while a run writes it, so that two runs never mix.

The system gives a lock back when its process ends, however it ends, so a killed run owns nothing; its empty lock file
is taken over by the next run. A forked process does not keep its parent's locks. Where there are no locks, as on
Windows, nothing is locked.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import ParamSpec, TypeVar

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.files import make_folder, remove_leftovers
from scarlet_zoo.utils.locks import is_at, try_lock

_held = set[int]()
P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def owned_folder(folder: Path) -> Iterator[None]:
    """Own a folder while the ``with`` block runs; it is created if it is missing.

    Temporary files that killed runs have left in it are removed. What the block created is removed again if it raises
    an error before it has written anything. Of several processes of one training only the first owns its folder.

    Raises:
        ScarletError: another run owns the folder, or it cannot be created or written to.
    """
    created = [one for one in (folder, *folder.parents) if not one.exists()]
    if os.environ.get("RANK", "0") != "0" or os.name == "nt":  # Windows opens no folder
        make_folder(folder)
        yield
        return
    handle = _opened_folder(folder)
    try:
        remove_leftovers(folder)
        yield
    except BaseException:
        with suppress(OSError):  # the first that holds anything ends it
            for one in created:
                one.rmdir()
        raise
    finally:
        _closed(handle)


@contextmanager
def owned_file(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Own the name of a file in its folder while the ``with`` block runs; the file itself need not exist.

    Args:
        path: path of the file.
        wait: whether to wait until another owner is done, for what takes a moment.

    Raises:
        ScarletError: another run owns the name, or the folder cannot be created or written to.
    """
    make_folder(path.parent)
    lock = path.with_name(f".{path.name}.lock")
    handle = _opened(lock, path, wait)
    try:
        yield
    finally:
        if os.name != "nt":
            lock.unlink(missing_ok=True)  # while it is still ours
        _closed(handle)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Own the name of a file, and yield an empty folder beside it in which the file is made.

    The folder is removed at the end, and by the next run if this one is killed.

    Raises:
        ScarletError: as :func:`owned_file`.
    """
    with owned_file(path):
        folder = path.with_name(f".{path.name}.work")
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _opened_folder(folder: Path) -> int:
    """Open and lock a folder; an owner that has failed may have removed it meanwhile, and then it is made anew."""
    while True:
        make_folder(folder)
        handle = _kept(os.open(folder, os.O_RDONLY))
        if try_lock(handle) is False:
            _closed(handle)
            raise ScarletError(f"folder {folder}: another run writes into it, wanted another --out, or to wait for its "
                               "end")  # fmt: skip
        if is_at(handle, folder):
            return handle
        _closed(handle)


def _opened(lock: Path, path: Path, wait: bool) -> int:
    """Open and lock a file beside the owned one; its last owner removes it, so a removed one is made anew."""
    while True:
        try:
            handle = _kept(os.open(lock, os.O_RDWR | os.O_CREAT, 0o666))
        except OSError as error:
            raise ScarletError(f"{path}: cannot be written: {error.strerror}") from error
        if try_lock(handle, wait=wait) is False:
            _closed(handle)
            raise ScarletError(f"{path}: another run writes it, wanted another name, or to wait for its end")
        if is_at(handle, lock):
            return handle
        _closed(handle)


def _kept(handle: int) -> int:
    _held.add(handle)
    return handle


def _closed(handle: int) -> None:
    if handle in _held:  # a forked process has closed its copy already
        _held.discard(handle)
        os.close(handle)


def _give_up() -> None:
    """Close a forked process's copies of its parent's locks, which stay the parent's."""
    for handle in _held:
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_give_up)
_stack: ContextVar[ExitStack] = ContextVar("locks of the function that runs")


def with_locks(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function own what it asks for with :func:`own_folder` until it returns."""

    @functools.wraps(function)
    def owner(*args: P.args, **kwargs: P.kwargs) -> R:
        with ExitStack() as stack:
            before = _stack.set(stack)
            try:
                return function(*args, **kwargs)
            finally:
                _stack.reset(before)

    return owner


def own_folder(folder: Path) -> None:
    """Own a folder, as :func:`owned_folder` does, until the nearest function under :func:`with_locks` returns.

    Raises:
        ScarletError: as :func:`owned_folder`.
    """
    _stack.get().enter_context(owned_folder(folder))
