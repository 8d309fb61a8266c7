"""Measure with a user's own ``onnxruntime_perf_test``: its command line, and how its output is read.

With ``-v`` it prints ``iteration:N,time_cost:SECONDS`` for each counted run (onnxruntime,
test/perftest/performance_runner.h), and how long creating the session and the first run took. It measures one file
after the other, so its times cannot be compared with interleaved measurements.
"""

from __future__ import annotations

import math
import re
import shlex
from typing import Any

from scarlet_zoo.errors import RecordError
from scarlet_zoo.latency import Settings, statistics

PROGRAM = "onnxruntime_perf_test"
_MOST = 1e6  # of its seconds or milliseconds
_RUN = re.compile(r"^iteration:\d+,time_cost:(\S+)$", re.MULTILINE)
_LOAD = re.compile(r"^Session creation time cost: (\S+) s", re.MULTILINE)
_FIRST = re.compile(r"^First inference time cost: (\S+) ms", re.MULTILINE)


def perf_test_command(folder: str, name: str, settings: Settings) -> str:
    """The command line that measures the file ``name`` in a folder on the phone."""
    pinned = ["taskset", f"{sum(1 << core for core in settings.affinity):x}"] if settings.affinity else []
    counts = ["-r", str(settings.runs), "-x", str(settings.threads), "-y", "1"]
    options = ["-e", "cpu", "-I", "-v", "-m", "times", *counts]
    if not settings.spin:
        options.append("-D")
    run = shlex.join([*pinned, f"./{PROGRAM}", *options, name, f"{name}.result"])
    return f"trap 'rm -rf {folder}; exit 129' HUP; cd {folder} && {run}"


def read_perf_test(printed: str, settings: Settings, where: str) -> dict[str, Any]:
    """Read the program's output into the fields of a record.

    Args:
        printed: all that the program printed.
        settings: the settings that it was run with.
        where: the file's name, for error messages.

    Raises:
        RecordError: the output lacks runs, or the time of loading or of the first run.
    """
    samples = [1e3 * _number(text, where) for text in _RUN.findall(printed)]
    found = {name: pattern.search(printed) for name, pattern in (("load_ms", _LOAD), ("first_ms", _FIRST))}
    missing = [name for name, match in found.items() if match is None]
    if len(samples) < 2 * settings.burst or missing:
        lines = printed.strip().splitlines() or ["nothing"]
        raise RecordError(f"{where}: {PROGRAM} printed {len(samples)} runs and no {' '.join(missing) or 'more'}, "
                          f"wanted {settings.runs} runs of -v; its last line: {lines[-1][:80]}")  # fmt: skip
    load, first = (_number(match[1], where) for match in found.values() if match is not None)
    return {**statistics(samples), "samples_ms": samples, "load_ms": 1e3 * load, "first_ms": first}


def perf_test_method(settings: Settings) -> dict[str, Any]:
    """The part of a record's conditions that says how the program measures with these settings."""
    return {
        "mode": "hot", "threads": settings.threads, "spin": settings.spin,
        "affinity": list(settings.affinity) if settings.affinity else None, "warmup": 1, "burst": settings.burst,
        "runs": settings.runs, "seconds": settings.seconds, "openings": 1, "program": PROGRAM,
    }  # fmt: skip


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= _MOST:
        raise RecordError(f"{where}: {PROGRAM} printed {text!r}, wanted a time")
    return value
