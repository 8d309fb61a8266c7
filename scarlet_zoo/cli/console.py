"""How the command line speaks: results on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from scarlet_zoo.cli.layout import bar as bar
from scarlet_zoo.cli.layout import pairs as pairs
from scarlet_zoo.cli.layout import records_table as records_table
from scarlet_zoo.cli.layout import sentence as sentence
from scarlet_zoo.cli.layout import table as table
from scarlet_zoo.cli.layout import tuning_table as tuning_table
from scarlet_zoo.utils.files import json_text

_NO_WIDTH = 100_000


def _speaks() -> bool:
    """Whether this is the process that answers: of those that torchrun starts, the first."""
    return os.environ.get("RANK", "0") == "0"


def fail(message: str, code: int) -> int:
    """Say on one line of stderr what is wrong; returns the exit code."""
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return code


def say(message: str) -> None:
    """A line of progress on stderr, for a person only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{message} ...\n")


def emit(as_json: bool, value: Any, render: Callable[[Console], None]) -> None:
    """Print a result: as JSON, or as a person likes it."""
    if not _speaks():
        return
    try:
        if as_json:
            sys.stdout.write(json_text(value) + "\n")
        else:
            # In a pipe there is no width to fit. Nothing is cut or broken anywhere: a terminal wraps what is too long
            # by itself, and what is copied from there is whole.
            width = None if sys.stdout.isatty() else _NO_WIDTH
            render(Console(width=width, soft_wrap=True, markup=False, emoji=False))
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # The reader has had enough (head, less), which rich answers by leaving with 1, our code
        # for a failed check. What is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, silence in a pipe; yields the function that moves it (done, expected)."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not (sys.stderr.isatty() and _speaks())
    ) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, expected: progress.update(task, completed=done, total=expected)
