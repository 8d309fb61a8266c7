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
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
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


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, has a number that is not finite, or is nested more than :data:`MOST_DEPTH` deep.
    """
    try:
        value = json.loads(text, parse_constant=_refused, parse_float=_finite)
    except RecursionError as error:
        raise ValueError(f"nested more than {MOST_DEPTH} deep") from error
    _check_depth(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """Return the content of a TOML text.

    Raises:
        tomllib.TOMLDecodeError: as :func:`parse_json`; it is a ValueError.
    """
    try:
        content = tomllib.loads(text, parse_float=_finite)
        _check_depth(content)
    except (RecursionError, ValueError) as error:
        reason = f"nested more than {MOST_DEPTH} deep" if isinstance(error, RecursionError) else str(error)
        raise tomllib.TOMLDecodeError(reason) from error
    return content


def _refused(text: str) -> float:
    raise ValueError(f"the number {text} is not finite")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refused(text if len(text) <= 20 else f"{text[:17]}...")


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if depth > MOST_DEPTH:
            raise ValueError(f"nested more than {MOST_DEPTH} deep")
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list)))
        level = [item for items in inner for item in items if isinstance(item, (dict, list))]
        depth += 1
