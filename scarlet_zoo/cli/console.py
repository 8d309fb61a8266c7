"""Output of the command line: results on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from scarlet_zoo.cli.layout import bar as bar
from scarlet_zoo.cli.layout import next_step as next_step
from scarlet_zoo.cli.layout import pairs as pairs
from scarlet_zoo.cli.layout import provider_facts as provider_facts
from scarlet_zoo.cli.layout import records_table as records_table
from scarlet_zoo.cli.layout import sentence as sentence
from scarlet_zoo.cli.layout import table as table
from scarlet_zoo.cli.layout import tell_random_weights as tell_random_weights
from scarlet_zoo.cli.layout import tuning_table as tuning_table
from scarlet_zoo.cli.layout import weights_of as weights_of
from scarlet_zoo.errors import ScarletWarning
from scarlet_zoo.utils.files import json_text
from scarlet_zoo.utils.names import in_utf8, visible
from scarlet_zoo.utils.watching import watching

_NO_WIDTH = 100_000
_LONGEST = 1500  # characters of a line on stderr
_QUIET = ContextVar("quiet", default=False)


def be_quiet(wanted: bool) -> None:
    """Show no progress and no notes from now on, or show them again; results, warnings and errors stay."""
    _QUIET.set(wanted)
    if wanted:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # read when the hub's client is imported, before a download


def _prints() -> bool:
    """Whether this process may print: of the processes that torchrun starts, only the first does."""
    return os.environ.get("RANK", "0") == "0"


def _one_line(message: str) -> str:
    """A message as one line that a terminal shows as it is; what people and files give may be long or hold controls."""
    line = visible(" ".join(in_utf8(message).split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} [...] {line[-_LONGEST // 2 :]}"


def fail(message: str, code: int) -> int:
    """Print an error as one line on stderr; returns the exit code."""
    sys.stderr.write(f"error: {_one_line(message)}\n")
    return code


def say(message: str) -> None:
    """Print a line of progress on stderr if stderr is a terminal."""
    if sys.stderr.isatty() and not _QUIET.get():
        sys.stderr.write(f"{message} ...\n")


def remark(message: str) -> None:
    """Print one line that a user should know beside the result, such as an assumption, on stderr."""
    if _prints() and not _QUIET.get():
        sys.stderr.write(f"note: {_one_line(message)}\n")


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print each of this package's warnings as one line on stderr, while the ``with`` block runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", ScarletWarning)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **rest: Any) -> None:
            if not issubclass(category, ScarletWarning):
                usual(message, category, *place, **rest)
            elif _prints():
                sys.stderr.write(f"warning: {_one_line(str(message))}\n")

        warnings.showwarning = show
        yield


def emit(as_json: bool, value: Any, render: Callable[[Console], None]) -> None:
    """Print a result on stdout, as JSON or as ``render`` draws it."""
    if not _prints():
        return
    try:
        if as_json:
            sys.stdout.write(json_text(value) + "\n")
        else:
            # A pipe has no width to fit. Lines are never cut or broken: a terminal wraps long ones itself, and text
            # copied from it stays whole.
            width = None if sys.stdout.isatty() else _NO_WIDTH
            render(Console(width=width, soft_wrap=True, markup=False, emoji=False))
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # The reader (head, less) closed the pipe. Rich would exit with 1, our code for a failed check. What is still
        # buffered is discarded.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Bar(Protocol):
    """A progress bar, which is called with what is done and expected, and with a note of what is seen."""

    def __call__(self, done: int, expected: int, note: str = "") -> None:
        """Draw the bar."""


def _no_bar(done: int, expected: int, note: str = "") -> None:
    """Draw nothing; a disabled bar of rich before 14.3 writes an empty line at its end."""


class _Times(ProgressColumn):
    """The time that is left, where it is known, and the time that has passed."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """Both times in words."""
        passed, left = (None if time is None else timedelta(seconds=int(time)) for time in
                        (task.finished_time if task.finished else task.elapsed, task.time_remaining))  # fmt: skip
        words = [f"{left} left"] if left is not None and not task.finished else []
        return Text(", ".join([*words, f"{passed or timedelta()} passed"]))


@contextmanager
def progress_bar(what: str) -> Iterator[Bar]:
    """Show a progress bar with the time that has passed and that is left, if stderr is a terminal.

    Yields a function that is called with (done, expected), and if there is something to tell with a note.
    """
    if _QUIET.get() or not (sys.stderr.isatty() and _prints()):
        yield _no_bar
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(20), _Times(),
               TextColumn("{task.fields[note]}", markup=False))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None, note="")

        def draw(done: int, expected: int, note: str = "") -> None:
            progress.update(task, completed=done, total=expected, note=note)

        with watching(partial(_draw_preparation, progress, {})):
            yield draw


def _draw_preparation(progress: Progress, bars: dict[str, TaskID], what: str, done: int, expected: int) -> None:
    """Draw the bar of work inside other work; it goes when that work is done."""
    if what not in bars:
        bars[what] = progress.add_task(what, total=expected, note="")
    progress.update(bars[what], completed=done)
    if done >= expected:
        progress.remove_task(bars.pop(what))
