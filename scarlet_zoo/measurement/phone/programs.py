"""Runtimes' own benchmark programs on a phone: which file needs which, and how their sessions become records.

A session is one start of a program: it loads one file, warms up and runs it. All files have the same number of
sessions, interleaved, so that a phone that slows down slows down all of them.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from scarlet_zoo.errors import RecordError
from scarlet_zoo.latency import Settings, machine_conditions, make_conditions, statistics
from scarlet_zoo.measurement.workloads import Workload
from scarlet_zoo.utils.files import file_sha256

_MOST = 1e9  # of any number that a program prints


@dataclass(frozen=True)
class Session:
    """What one start of a program has measured.

    Attributes:
        samples_ms: times of the counted runs, or of one mean of them, in milliseconds.
        load_ms, first_ms: time of loading the file, and of its first run.
        runs_per_sample: number of runs that a sample is the mean of.
        conditions: what the program says of where the file ran, as conditions of the record.
    """

    samples_ms: Sequence[float]
    load_ms: float
    first_ms: float
    runs_per_sample: int = 1
    conditions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A file on a phone, to be run by a program beside it.

    Attributes:
        file: name of the file in the phone's folder.
        workload: what it is.
        settings: how to measure.
        run: runs a command line in that folder, on the cores that were asked for; gives what it prints.
        read: reads a file of that folder by its name.
        first: whether no session of this file was run before.
    """

    file: str
    workload: Workload
    settings: Settings
    run: Callable[[Sequence[str]], str]
    read: Callable[[str], bytes]
    first: bool = True

    @property
    def counted(self) -> int:
        """Counted runs of a session: whole bursts, so that all sessions together have the runs that are asked for."""
        own = self.settings
        return own.burst * math.ceil((own.runs or 0) / own.openings / own.burst)


class Tool(Protocol):
    """A runtime's benchmark program.

    Attributes:
        name: name of the program.
        flag: option of ``device run`` that names it.
        suffix: suffix of the files that it runs.
        means: whether a session gives the mean of its runs rather than each of them.
    """

    name: str
    flag: str
    suffix: str
    means: bool

    def runtime(self, job: Job, version: str) -> dict[str, Any]:
        """The conditions that depend on the runtime and the file."""

    def session(self, job: Job) -> Session:
        """Run one session, and read what the program prints.

        Raises:
            RecordError: the output is not that of a whole session.
        """


@dataclass(frozen=True)
class Program:
    """A user's program.

    Attributes:
        tool: what it is.
        path: its file, for arm64 Android.
        version: version of the runtime that it was built from, as the user states it.
    """

    tool: Tool
    path: Path
    version: str


def pinned(command: Sequence[str], settings: Settings) -> str:
    """A command line that runs on the cores of the settings."""
    cores = ["taskset", f"{sum(1 << core for core in settings.affinity):x}"] if settings.affinity else []
    return shlex.join([*cores, *command])


def number_in(text: str, program: str, where: str) -> float:
    """A positive number that a program printed.

    Raises:
        RecordError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= _MOST:
        raise RecordError(f"{where}: {program} printed {text!r}, wanted a time")
    return value


def unfit(program: str, printed: str, where: str, why: str) -> RecordError:
    """The error of an output that is not that of a whole session, with its last line."""
    lines = printed.strip().splitlines() or ["nothing"]
    return RecordError(f"{where}: {program} {why}; its last line: {lines[-1][:80]}")


def measure_with_programs(jobs: Sequence[Job], programs: Sequence[Program]) -> list[dict[str, Any]]:
    """Measure files with their runtimes' programs, interleaved.

    Args:
        jobs: the files on the phone, with the same settings.
        programs: the program that runs each of them.

    Returns:
        The fields of a record for each file, in order.

    Raises:
        RecordError: a program's output is not that of a whole session.
    """
    sessions: list[list[Session]] = [[] for _ in jobs]
    for number in range(jobs[0].settings.openings):
        order = list(enumerate(zip(jobs, programs, strict=True)))
        for place, (job, program) in order if number % 2 == 0 else reversed(order):
            sessions[place].append(program.tool.session(replace(job, first=number == 0)))
    # The phone's name and temperatures are added later. One measurement, so that the files can be compared.
    shared = make_conditions(machine_conditions("", "aarch64", "Android", None), {}, {})
    return [_row(own, program, job, shared) for own, job, program in zip(sessions, jobs, programs, strict=True)]


def _row(sessions: Sequence[Session], program: Program, job: Job, shared: Mapping[str, Any]) -> dict[str, Any]:
    samples, settings = [sample for session in sessions for sample in session.samples_ms], job.settings
    method = {
        "mode": "hot", "threads": settings.threads, "spin": settings.spin,
        "affinity": list(settings.affinity) if settings.affinity else None, "warmup": settings.warmup,
        "burst": 1 if program.tool.means else settings.burst, "runs": settings.runs, "seconds": settings.seconds,
        "openings": len(sessions), "runs_per_sample": min(session.runs_per_sample for session in sessions),
        "program": program.tool.name, "program_sha256": file_sha256(program.path),
    }  # fmt: skip
    return {
        **statistics(samples),
        "samples_ms": samples,
        "opening_of_sample": [number for number, session in enumerate(sessions) for _ in session.samples_ms],
        "load_ms": float(np.median([session.load_ms for session in sessions])),
        "first_ms": float(np.median([session.first_ms for session in sessions])),
        "conditions": {**shared, **method, **program.tool.runtime(job, program.version), **sessions[0].conditions},
    }
