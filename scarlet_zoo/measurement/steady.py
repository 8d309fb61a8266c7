"""Measurements that are repeated until they are steady, in one process or in several fresh ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from scarlet_zoo.deployment.runtimes.runner import cold_start, open_runner, quiet_runtimes
from scarlet_zoo.latency import Settings, Timing, measure, statistics
from scarlet_zoo.measurement.records import Record, record_of
from scarlet_zoo.measurement.workloads import Workload
from scarlet_zoo.utils.jobs import worker_pool

Progress = Callable[[int, int], None]


def measure_records(
    workloads: Sequence[Workload],
    settings: Settings,
    *,
    processes: int = 1,
    repeats: int = 2,
    progress: Progress | None = None,
) -> list[Record]:
    """Measure workloads together; again while one of them varies by more than 5 %.

    Args:
        workloads: what to measure, see :func:`scarlet_zoo.measurement.workloads.gather`.
        settings: how.
        processes: fresh processes to measure in, one after the other; 1 is this one. What changes from process to
            process, such as where memory lies, becomes part of what is compared.
        repeats: how often an unsteady measurement is made again at most. All files are measured again, since they
            are compared with each other, and of all attempts the one is kept whose worst file varies least.
        progress: told (done, expected).

    Raises:
        MeasurementError: a file that cannot be measured as asked.
    """
    paths: list[Path] = [subject.path for subject in workloads]
    attempts: list[list[Timing]] = []
    for _ in range(1 + repeats):
        attempts.append(_attempt(paths, settings, processes, progress))
        if all(timing.stable for timing in attempts[-1]):
            break
    best = min(attempts, key=lambda timings: max(timing.cv for timing in timings))
    records = []
    for index, (subject, timing) in enumerate(zip(workloads, best, strict=True)):
        told: dict[str, Any] = {"attempts": [{"p50_ms": made[index].p50_ms, "cv": made[index].cv} for made in attempts]}
        source = {
            key: value for key, value in asdict(subject).items() if key in ("name", "target", "weights") and value
        }
        conditions = {**timing.conditions, "processes": processes} | ({"source": source} if source else {})
        named = replace(timing, file=subject.label, network=subject.network, conditions=conditions)
        records.append(record_of(named, **told))
    return records


def _attempt(paths: Sequence[Path], settings: Settings, processes: int, progress: Progress | None) -> list[Timing]:
    if processes == 1:
        return measure_here(paths, settings, progress)
    made = []
    for process in range(processes):
        # A process for itself, which has not loaded anything yet.
        with worker_pool(1) as pool:
            made.append(pool.submit(measure_here, paths, settings).result())
        if progress is not None:
            progress(process + 1, processes)
    return [_merge(row) for row in zip(*made, strict=True)]


def measure_here(paths: Sequence[Path], settings: Settings, progress: Progress | None = None) -> list[Timing]:
    """Files of any runtime, in this process."""
    with quiet_runtimes(paths):
        return measure(paths, settings, progress, open_runner=open_runner, cold_start=cold_start)


def _merge(timings: Sequence[Timing]) -> Timing:
    """One timing of the same file in several processes."""
    first, last = timings[0], timings[-1]
    samples = [sample for timing in timings for sample in timing.samples_ms]
    each = 1 + max(max(timing.opening_of_sample) for timing in timings)
    openings = [i * each + opening for i, timing in enumerate(timings) for opening in timing.opening_of_sample]
    return replace(
        first,
        **statistics(samples),
        load_ms=float(np.median([timing.load_ms for timing in timings])),
        first_ms=float(np.median([timing.first_ms for timing in timings])),
        peak_rss_bytes=max(timing.peak_rss_bytes for timing in timings),
        conditions={**first.conditions, "after": last.conditions["after"]},
        samples_ms=samples,
        opening_of_sample=openings,
    )
