"""Independent jobs, run one after another in this process or in parallel in worker processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.reading import bounded_text, parse_json

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(work: Callable[[Job], Result], jobs: Iterable[Job], workers: int = 1) -> Iterator[tuple[Job, Result]]:
    """Run all jobs and yield each job with its result, in the order in which they finish.

    Args:
        work: function that is called with each job; a worker process must be able to import it.
        jobs: arguments for ``work``; they must be picklable.
        workers: number of processes; with 1 all jobs run in this process.

    Raises:
        ScarletError: fewer than one worker. An exception of a job is raised too; jobs that wait are then cancelled.
    """
    if workers < 1:
        raise ScarletError(f"got {workers} workers, wanted 1 or more")
    if workers == 1:
        for job in jobs:
            yield job, work(job)
        return
    pool = worker_pool(workers)
    try:
        running = {pool.submit(work, job): job for job in jobs}
        for done in as_completed(running):
            yield running[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def stored_result(file: Path, asked: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Return the result stored in a JSON file; if there is no such file, compute the result and store it.

    Args:
        file: path of the JSON file.
        asked: what the result depends on, as JSON values; stored with the result under the key ``asked``.
        make: computes the result, as JSON values.

    Raises:
        ScarletError: the file holds a result for another ``asked``.
    """
    wanted = json.loads(json_text(asked))
    if not file.is_file():
        write_text(file, json_text({"asked": wanted, **make()}) + "\n")
    try:
        found = dict(parse_json(bounded_text(file)))
    except (OSError, ValueError, TypeError) as error:
        raise ScarletError(f"{file}: not a stored result: {error}, wanted an unused folder") from error
    if found.get("asked") != wanted:
        stored = json_text(found.get("asked"))
        raise ScarletError(f"{file}: holds the result for other settings ({stored[:60]}...), wanted an unused folder")
    return found


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of newly started processes that end when this process ends, even if it is killed.

    Workers of the standard library's pool would outlive a killed parent and wait forever.
    """
    # Not fork: torch in a forked process can wait for threads that do not exist there.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
