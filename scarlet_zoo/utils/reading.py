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
MOST_DIGITS = 9
# Python takes up to 250 bytes for each list or object of three characters, and 32 for each number.
MOST_HOLDERS, MOST_VALUES = 4_000_000, 20_000_000
# Of TOML. Python's time for one key grows with the square of its parts: 500,000 take half an hour.
MOST_TOML, MOST_DOTS = 2**20, 1000


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
        ValueError: it is not JSON, has a number that is not finite or text that UTF-8 cannot write, is nested more than
            :data:`MOST_DEPTH` deep, or has so many values that they would fill the memory.
    """
    marks = [text.count(mark) if isinstance(text, str) else text.count(mark.encode()) for mark in "[{,"]
    if marks[0] + marks[1] > MOST_HOLDERS or sum(marks) > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_HOLDERS:,} lists and objects, or {MOST_VALUES:,} values")
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"nested more than {MOST_DEPTH} deep") from error
    _check(value, finite=finite)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """Return the content of a TOML text.

    Raises:
        tomllib.TOMLDecodeError: as :func:`parse_json`, or it is longer than :data:`MOST_TOML`, or a line may
            be a key of more than :data:`MOST_DOTS` parts; it is a ValueError.
    """
    if len(text) > MOST_TOML or any(line.count(".") > MOST_DOTS for line in text.splitlines()):
        raise tomllib.TOMLDecodeError(f"it has more than {MOST_TOML:,} characters, or {MOST_DOTS:,} dots in a line")
    try:
        content = tomllib.loads(text)
        _check(content, finite=True)
    except (RecursionError, ValueError) as error:
        reason = f"nested more than {MOST_DEPTH} deep" if isinstance(error, RecursionError) else str(error)
        raise tomllib.TOMLDecodeError(reason) from error
    return content


def whole_number(text: str) -> int | None:
    """Return the whole number from 0 that a text is in at most :data:`MOST_DIGITS` plain digits; None if it is none.

    ``str.isdigit`` is true for superscripts, which ``int`` refuses, and ``int`` refuses more than 4300 digits.
    """
    digits = text.strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS else None


# A place in a nested value: the place that holds it, and its key or its number there.
_Place = tuple[Any, ...]


def _check(value: Any, *, finite: bool) -> None:
    """Check the depth of a value, its numbers and its texts; the error names the place of the first wrong one."""
    level: list[tuple[_Place, Any]] = [((), [value])]
    for _ in range(MOST_DEPTH + 2):
        inner: list[tuple[_Place, Any]] = []
        for place, holder in level:
            for key, item in holder.items() if isinstance(holder, dict) else enumerate(holder):
                if isinstance(item, (dict, list)):
                    inner.append(((place, key), item))
                wanted = _lacking(key, item, finite=finite)
                if wanted:
                    raise ValueError(f"{_named((place, key))}: got {ascii(item)[:40]}, wanted {wanted}")
        if not inner:
            return
        level = inner
    raise ValueError(f"nested more than {MOST_DEPTH} deep")


def _named(place: _Place) -> str:
    """A place as the keys and numbers that lead to it, joined by dots, without that of the value itself."""
    keys: list[str] = []
    while place:
        place, key = place
        keys.insert(0, str(key))
    return ascii(".".join(keys[1:]))[1:-1][:60] or "the value"


def _lacking(key: Any, item: Any, *, finite: bool) -> str:
    """What an entry of an object or a list should be and is not; empty where it may stay."""
    if finite and isinstance(item, (int, float)) and not _is_finite(item):
        return "a finite number"
    return "" if _is_text(key) and _is_text(item) else "text that UTF-8 can write"


def _is_finite(number: float) -> bool:
    """Whether a number is finite as a float; whole numbers of JSON and TOML have no bound of their own."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _is_text(value: object) -> bool:
    """Whether a value is no text with half a character, which JSON's escapes can express and no file can hold."""
    if not isinstance(value, str) or value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
