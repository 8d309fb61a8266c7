"""How the command line speaks: results on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scarlet_zoo.utils.files import json_text

if TYPE_CHECKING:
    from scarlet_zoo.deployment.tune import Tuning
    from scarlet_zoo.measurement.records import Record


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
            # In a pipe there is no width to fit: a cut cell would be a wrong one.
            render(Console() if sys.stdout.isatty() else Console(width=240))
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # The reader has had enough (head, less), which rich answers by leaving with 1, our code
        # for a failed check. What is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def table(header: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> Table:
    """A table whose columns after the first are aligned to the right."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for position, name in enumerate(header):
        made.add_column(name, justify="left" if position == 0 else "right", no_wrap=position == 0)
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    return made


def pairs(rows: Iterable[tuple[str, object]], title: str | None = None) -> Table:
    """A table of (what, value)."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for what, value in rows:
        made.add_row(escape(what), escape(str(value)))
    return made


def tuning_table(tuning: Tuning) -> Table:
    """The forms that were tried, with their latency."""
    rows = []
    for row in tuning.table:
        timed = (f"{row.record['p50_ms']:.3f}", f"{row.ratio:.2f}x") if row.record and row.ratio else ("", "")
        rows.append((row.form, "yes" if row.verified else "NO", *timed, "kept" if row.chosen else ""))
    return table(("form", "verified", "p50 ms", "of the fastest", ""), rows)


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


def records_table(records: Sequence[Record]) -> object:
    """A row for each record."""
    header = ("file", "p50 ms", "p90 ms", "p99 ms", "min ms", "variation", "runs", "load ms", "first ms", "peak MiB")
    rows = [
        (r.file, f"{r.p50_ms:.3f}", f"{r.p90_ms:.3f}", f"{r.p99_ms:.3f}", f"{r.min_ms:.3f}",
         f"{r.cv:.1%}{'' if r.stable else ' UNSTABLE'}", r.runs, f"{r.load_ms:.0f}", f"{r.first_ms:.1f}",
         f"{r.peak_rss_bytes / 2**20:.0f}" if r.peak_rss_bytes else "")
        for r in records
    ]  # fmt: skip
    return table(header, rows)
