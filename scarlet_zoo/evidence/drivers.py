"""What the drivers under ``benchmarks``, ``export`` and ``weights`` share with the command line: errors of one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scarlet_zoo.errors import CheckFailedError, ScarletError
from scarlet_zoo.utils.reading import bounded_text, parse_json


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line on stderr where this package raises: exit code 1 for a failed check, else 2."""
    try:
        yield
    except ScarletError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(1 if isinstance(error, CheckFailedError) else 2)


def read_json(path: Path) -> Any:
    """Return what an earlier run of a driver, or another driver, has written.

    Raises:
        ScarletError: the file cannot be read, or is no whole JSON document.
    """
    try:
        return parse_json(bounded_text(path), finite=False)
    except (OSError, ValueError) as error:
        raise ScarletError(
            f"{path}: cannot be read: {error}, wanted a file that a driver wrote; remove it to begin anew"
        ) from error
