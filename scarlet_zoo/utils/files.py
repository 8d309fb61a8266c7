"""Files that are never half written, made beside their place and renamed into it, and JSON that every parser reads."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from scarlet_zoo.errors import ScarletError

_PACKAGE = Path(__file__).parents[1]


def shipped_folder(name: str) -> Path:
    """A folder of the repository that is installed with the package: ``_name`` inside it in a wheel, else beside it.

    Where neither is there it is the wheel's place, which then does not exist.
    """
    inside = _PACKAGE / f"_{name}"
    beside = _PACKAGE.parent / name
    return inside if inside.is_dir() or not beside.is_dir() else beside


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; what was written there takes the place of ``path`` at the end.

    If the body raises, ``path`` is untouched and nothing is left behind.

    Raises:
        ScarletError: the folder cannot be written to.
    """
    make_folder(path.parent)
    if path.is_dir():
        raise ScarletError(f"{path}: is a folder, wanted a file's path")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise ScarletError(f"{path}: cannot be written: {error.strerror}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(path: Path) -> None:
    """Create a folder with its parents.

    Raises:
        ScarletError: a file is in the way, or it is not allowed.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScarletError(f"folder {path}: cannot be made: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise ScarletError(f"folder {path}: is not writable")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/scarlet_zoo``, else where the platform keeps caches."""
    configured = os.environ.get("XDG_CACHE_HOME")
    return Path(configured) / "scarlet_zoo" if configured else Path(platformdirs.user_cache_path("scarlet_zoo"))


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON of a nested value; numbers that JSON cannot say (infinite, none) become null, paths text."""
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
