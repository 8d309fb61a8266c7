"""Read what others have written: bounded files, and JSON and TOML that cannot exhaust memory, stack or numbers.

What is wrong is an OSError for a file that cannot be read and a ValueError for everything else, so that a caller who
says what it wanted catches these two.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from scarlet_zoo.utils.locks import flags_of

MOST_BYTES = 256 * 2**20
MOST_DEPTH = 100


def bounded_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return a file's content.

    Args:
        path: the file; a pipe or a device is none, because reading it may never end.
        most: the largest size, in bytes.

    Raises:
        OSError: the file cannot be read, or is no regular file.
        ValueError: the file is larger.
    """
    handle = os.open(path, os.O_RDONLY | flags_of("O_NONBLOCK"))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            kind = errno.EISDIR if stat.S_ISDIR(os.fstat(file.fileno()).st_mode) else errno.EINVAL
            raise OSError(kind, "is a folder" if kind == errno.EISDIR else "is a pipe or a device", str(path))
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is larger than {most / 2**20:g} MiB")
    return content


def bounded_text(path: Path, most: int = MOST_BYTES, encoding: str = "utf-8") -> str:
    """Return a file's text.

    Raises:
        OSError, ValueError: as :func:`bounded_bytes`; also a ValueError where the bytes are no text.
    """
    try:
        return bounded_bytes(path, most).decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError("it is not text in UTF-8") from error


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """Return the value of a JSON text.

    Args:
        text: the text.
        finite: whether numbers must be finite; else the caller checks them.

    Raises:
        ValueError: it is not JSON, has a number that is not finite, or is nested more than :data:`MOST_DEPTH` deep.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"nested more than {MOST_DEPTH} deep") from error
    _check(value, finite=finite)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """Return the content of a TOML text.

    Raises:
        tomllib.TOMLDecodeError: as :func:`parse_json`; it is a ValueError.
    """
    try:
        content = tomllib.loads(text)
        _check(content, finite=True)
    except (RecursionError, ValueError) as error:
        reason = f"nested more than {MOST_DEPTH} deep" if isinstance(error, RecursionError) else str(error)
        raise tomllib.TOMLDecodeError(reason) from error
    return content


def _check(value: Any, *, finite: bool) -> None:
    """Check the depth of a value and its numbers; the error names the first number's place."""
    level: list[tuple[tuple[Any, ...], Any]] = [((), [value])]
    for _ in range(MOST_DEPTH + 2):
        inner: list[tuple[tuple[Any, ...], Any]] = []
        for place, holder in level:
            for key, item in holder.items() if isinstance(holder, dict) else enumerate(holder):
                if isinstance(item, (dict, list)):
                    inner.append(((*place, key), item))
                elif finite and isinstance(item, float) and not math.isfinite(item):
                    where = ".".join(map(str, (*place, key)[1:]))[:60] or "the number"
                    raise ValueError(f"{where}: got {item}, wanted a finite number")
        if not inner:
            return
        level = inner
    raise ValueError(f"nested more than {MOST_DEPTH} deep")
