"""What the drivers under ``benchmarks``, ``export`` and ``weights`` share with the command line: errors of one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from scarlet_zoo.errors import CheckFailedError, ScarletError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line on stderr where this package raises: exit code 1 for a failed check, else 2."""
    try:
        yield
    except ScarletError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(1 if isinstance(error, CheckFailedError) else 2)
