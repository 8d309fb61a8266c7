"""Independent pieces of work, one after another here or side by side in processes of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from scarlet_zoo.errors import ScarletError

Job = TypeVar("Job")
Made = TypeVar("Made")


def run_jobs(work: Callable[[Job], Made], jobs: Iterable[Job], workers: int = 1) -> Iterator[tuple[Job, Made]]:
    """Do all jobs; yields each with what came of it, in the order in which they are finished.

    Args:
        work: what is done, a function that another process can import.
        jobs: values that can be sent there.
        workers: processes; with 1 all is done in this one.

    Raises:
        ScarletError: fewer than one worker, or what a job has raised; the others are then not begun.
    """
    if workers < 1:
        raise ScarletError(f"got {workers} workers, wanted 1 or more")
    if workers == 1:
        for job in jobs:
            yield job, work(job)
        return
    # A forked torch can wait for threads that it does not have.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        running = {pool.submit(work, job): job for job in jobs}
        for done in as_completed(running):
            yield running[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)
