"""Independent pieces of work, one after another here or side by side in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import threading
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
    pool = worker_pool(workers)
    try:
        running = {pool.submit(work, job): job for job in jobs}
        for done in as_completed(running):
            yield running[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Fresh processes that end with this one, however it ends.

    A worker of the standard library's pool that is at work when its parent is killed goes on, and then waits for ever.
    """
    # A forked torch can wait for threads that it does not have.
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
