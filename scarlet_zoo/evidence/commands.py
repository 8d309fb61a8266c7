"""Series of scarlet-zoo commands whose reports are kept in a journal, so that a series continues on another machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from scarlet_zoo.errors import CheckFailedError
from scarlet_zoo.utils.files import write_text

# What a journal keeps of a report; the rest is in the folder of the run.
_KEPT = ("arch", "space", "params", "pictures", "validation_pictures", "steps", "seconds", "core_seconds", "hardware",
         "loss", "accuracy", "evaluations")  # fmt: skip


@dataclass(frozen=True)
class Command:
    """One command of scarlet-zoo that writes a folder.

    Attributes:
        name: name of the row in the journal, and of the folder.
        words: the command without ``--out``; its paths are relative to the folder of the series.
        keeps: a file that later commands read; where it is missing the command runs again.
        here: further words that depend on the machine and do not change what is asked for, such as the threads.
    """

    name: str
    words: Sequence[str]
    keeps: str | None = None
    here: Sequence[str] = ()


class Journal:
    """The reports of finished commands, one line of JSON each, in the order in which they finished.

    Args:
        path: the file; a missing one is an empty journal.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, Lock()

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The finished commands by name."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        return {row["name"]: row for row in map(json.loads, lines)}

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; the file is replaced as a whole, so that it is never half a line."""
        with self._lock:
            before = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
            write_text(self.path, before + json.dumps(row) + "\n")


def run_commands(commands: Iterable[Command], journal: Journal, work: Path, at_once: int = 1) -> None:
    """Run those commands that the journal does not have, several at once, and add their reports.

    A command that was interrupted continues from its folder, if that is on this machine.

    Args:
        commands: the series; commands that run at once must not need one another.
        journal: finished commands.
        work: folder of the series, in which the commands run; it gets a folder and a log for each.
        at_once: number of commands that run at the same time.

    Raises:
        CheckFailedError: the journal has a command of this name with other words, or a command failed; the others are
            finished first.
    """
    missing = []
    for command in commands:
        row = journal.rows.get(command.name)
        if row is not None and row["command"] != list(command.words):
            got, wanted = " ".join(row["command"]), " ".join(command.words)
            raise CheckFailedError(f"{journal.path}: {command.name}: got the command {got}, wanted {wanted}")
        if row is None or (command.keeps is not None and not (work / command.keeps).is_file()):
            missing.append(command)
    work.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(at_once) as pool:
        failed = [line for line in pool.map(lambda command: _run(command, journal, work), missing) if line]
    if failed:
        raise CheckFailedError("; ".join(failed))


def _run(command: Command, journal: Journal, work: Path) -> str:
    """Run one command; returns why it failed, or nothing."""
    words = [sys.executable, "-m", "scarlet_zoo", *command.words, *command.here, "--out", command.name, "--json"]
    with (work / f"{command.name}.log").open("w", encoding="utf-8") as log:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=log, text=True, check=False, cwd=work)
    if done.returncode:
        last = (work / f"{command.name}.log").read_text(encoding="utf-8").strip().splitlines()[-1:]
        return f"{command.name}: exit {done.returncode}: {' '.join(last)}"
    report = json.loads(done.stdout)
    kept = {key: report[key] for key in _KEPT if key in report}
    journal.add({"name": command.name, "command": list(command.words), "report": kept})
    return ""
