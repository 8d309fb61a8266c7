"""Atomic file writing, the folders of this package, and JSON that every parser reads."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.locks import flags_of, is_at, try_lock
from scarlet_zoo.utils.names import in_utf8

_PACKAGE = Path(__file__).parents[1]
_TEMPORARY = ".tmp"  # how the names of temporary files end


def shipped_folder(name: str) -> Path:
    """Return a folder of the repository that is shipped with the package.

    In a wheel it is ``scarlet_zoo/_<name>``, in a clone ``<name>`` beside the package. If neither exists, the path
    for the wheel is returned.
    """
    inside = _PACKAGE / f"_{name}"
    beside = _PACKAGE.parent / name
    return inside if inside.is_dir() or not beside.is_dir() else beside


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and rename it to ``path`` when the ``with`` block ends.

    If the block raises, ``path`` is unchanged and the temporary file is removed.

    Raises:
        ScarletError: the folder is not writable, ``path`` is a folder, or the disk is full, whatever exception of a
            library the block has raised for that.
    """
    make_folder(path.parent)
    if path.is_dir():
        raise ScarletError(f"{path}: is a folder, wanted a file's path")
    try:
        handle, temporary = _temporary(path)
    except OSError as error:
        raise ScarletError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException as error:
        reason = _why_not(temporary, error) if isinstance(error, Exception) else None
        temporary.unlink(missing_ok=True)
        if reason is not None:
            raise ScarletError(f"{path}: cannot be written: {reason}") from error
        raise
    finally:
        if handle is not None:
            os.close(handle)


def _why_not(temporary: Path, error: Exception) -> str | None:
    """Why a file can grow no further, such as a full disk; None if it can.

    Libraries raise exceptions of their own for what the system refuses; Rust's have its number.
    """
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number is not None:
        return os.strerror(int(number[1]))
    try:
        with temporary.open("ab") as file:
            file.write(bytes(2**16))
    except FileNotFoundError:
        return None  # the block has moved it
    except OSError as error:
        return error.strerror
    return None


def _temporary(path: Path) -> tuple[int | None, Path]:
    """A new file beside a path, locked as long as its handle is open; the handle is None where there are no locks.

    Its name is always the same, so that the next writer takes over what a killed one has left. While another process
    writes the same path it is another name.
    """
    own = path.with_name(f".{path.name}{_TEMPORARY}")
    with suppress(OSError):  # what somebody else left there
        handle = os.open(own, os.O_RDWR | os.O_CREAT | flags_of("O_NOFOLLOW"), 0o600)
        locked = try_lock(handle)
        if locked and is_at(handle, own):
            os.truncate(handle, 0)
            return handle, own
        os.close(handle)
        if locked is None:
            own.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY)
    if try_lock(handle):
        return handle, Path(name)
    os.close(handle)  # Windows renames no file that is open
    return None, Path(name)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes have left in a folder.

    The system gives their locks back, so a file that can be locked has no writer any more.
    """
    with os.scandir(folder) as entries:
        found = [Path(entry.path) for entry in entries if entry.name.startswith(".") and
                 entry.name.endswith(_TEMPORARY) and entry.is_file(follow_symlinks=False)]  # fmt: skip
    for path in found:
        with suppress(OSError):
            handle = os.open(path, os.O_RDWR | flags_of("O_NOFOLLOW"))
            try:
                if try_lock(handle):
                    path.unlink(missing_ok=True)
            finally:
                os.close(handle)


@contextmanager
def in_text(path: Path) -> Iterator[Path]:
    """Yield a path of the same file that is text, for libraries that take no other; most paths are.

    Raises:
        OSError: the file cannot be opened.
    """
    if is_text(path):
        yield path
        return
    with path.open("rb") as file:
        yield Path(f"/dev/fd/{file.fileno()}")


def is_text(path: Path) -> bool:
    """Whether UTF-8 can write a path."""
    return in_utf8(str(path)) == str(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(in_utf8(text), encoding="utf-8")


def make_folder(path: Path) -> None:
    """Create a folder with its parents.

    Raises:
        ScarletError: a file has the same name, or the folder cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScarletError(f"folder {path}: cannot be created: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise ScarletError(f"folder {path}: is not writable")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Return this package's cache folder: ``$XDG_CACHE_HOME/scarlet_zoo``, else the platform's usual place."""
    configured = os.environ.get("XDG_CACHE_HOME")
    return Path(configured) / "scarlet_zoo" if configured else Path(platformdirs.user_cache_path("scarlet_zoo"))


def json_text(value: Any, indent: int | None = None) -> str:
    """Return a nested value as JSON text; infinite numbers and NaN become null, paths become text.

    Bytes of names that are not UTF-8 are written as escapes.
    """
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {in_utf8(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return in_utf8(str(value)) if isinstance(value, (str, Path)) else value
