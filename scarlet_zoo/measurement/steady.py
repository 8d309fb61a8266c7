"""Repeat measurements until they are stable, in this process or in several fresh ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from scarlet_zoo.deployment.runtimes.runner import cold_start, open_runner, quiet_runtimes
from scarlet_zoo.latency import Settings, Timing, measure, statistics
from scarlet_zoo.measurement.records import Record, record_of
from scarlet_zoo.measurement.workloads import Workload
from scarlet_zoo.utils.jobs import worker_pool

Progress = Callable[[int, int], None]

# The fields of a workload that say how a network given by name was exported.
_SOURCE = ("name", "target", "weights", "num_classes", "in_chans")


def measure_records(
    workloads: Sequence[Workload],
    settings: Settings,
    *,
    processes: int = 1,
    repeats: int = 2,
    progress: Progress | None = None,
) -> list[Record]:
    """Measure workloads interleaved, and repeat the measurement while one of them varies by more than 5 %.

    Args:
        workloads: what to measure, from :func:`scarlet_zoo.measurement.workloads.gather`.
        settings: how to measure.
        processes: number of fresh processes to measure in, one after the other; 1 measures in this process. With
            several, the variation from process to process, such as the place of memory, is part of the samples.
        repeats: how many times at most an unstable measurement is repeated. All files are measured again, since they
            are compared with each other. The records hold the attempt whose worst file varies least.
        progress: called with (done, expected).

    Returns:
        One record for each workload, in order; latencies in milliseconds.

    Raises:
        MeasurementError: a file cannot be measured with these settings.
    """
    paths: list[Path] = [workload.path for workload in workloads]
    attempts: list[list[Timing]] = []
    for _ in range(1 + repeats):
        attempts.append(_attempt(paths, settings, processes, progress))
        if all(timing.stable for timing in attempts[-1]):
            break
    best = min(attempts, key=lambda timings: max(timing.cv for timing in timings))
    records = []
    for index, (workload, timing) in enumerate(zip(workloads, best, strict=True)):
        tries = [{"p50_ms": timings[index].p50_ms, "cv": timings[index].cv} for timings in attempts]
        source = {key: value for key, value in asdict(workload).items() if key in _SOURCE and value}
        conditions = {**timing.conditions, "processes": processes} | ({"source": source} if source else {})
        named = replace(timing, file=workload.label, network=workload.network, conditions=conditions)
        records.append(record_of(named, attempts=tries))
    return records


def _attempt(paths: Sequence[Path], settings: Settings, processes: int, progress: Progress | None) -> list[Timing]:
    if processes == 1:
        return measure_here(paths, settings, progress)
    rounds = []
    for process in range(processes):
        # A fresh process, which has not loaded anything yet.
        with worker_pool(1) as pool:
            rounds.append(pool.submit(measure_here, paths, settings).result())
        if progress is not None:
            progress(process + 1, processes)
    return [_merge(row) for row in zip(*rounds, strict=True)]


def measure_here(paths: Sequence[Path], settings: Settings, progress: Progress | None = None) -> list[Timing]:
    """Measure files of any runtime, interleaved, in this process."""
    with quiet_runtimes(paths):
        return measure(paths, settings, progress, open_runner=open_runner, cold_start=cold_start)


def _merge(timings: Sequence[Timing]) -> Timing:
    """Merge the timings of one file in several processes into one timing."""
    first, last = timings[0], timings[-1]
    samples = [sample for timing in timings for sample in timing.samples_ms]
    each = 1 + max(max(timing.opening_of_sample) for timing in timings)
    sessions = [i * each + session for i, timing in enumerate(timings) for session in timing.opening_of_sample]
    return replace(
        first,
        **statistics(samples),
        load_ms=float(np.median([timing.load_ms for timing in timings])),
        first_ms=float(np.median([timing.first_ms for timing in timings])),
        peak_rss_bytes=max(timing.peak_rss_bytes for timing in timings),
        conditions={**first.conditions, "after": last.conditions["after"]},
        samples_ms=samples,
        opening_of_sample=sessions,
    )
