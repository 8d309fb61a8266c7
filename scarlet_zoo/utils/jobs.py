"""Independent pieces of work, one after another here or side by side in processes of their own."""

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


def kept(file: Path, asked: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """What was made and kept in a file before, or is made now and kept there, with ``asked`` in it.

    Args:
        file: JSON.
        asked: JSON values of what it depends on.
        make: makes JSON values.

    Raises:
        ScarletError: the file holds what was made of something else.
    """
    wanted = json.loads(json_text(asked))
    if not file.is_file():
        write_text(file, json_text({"asked": wanted, **make()}) + "\n")
    found = dict(json.loads(file.read_text(encoding="utf-8")))
    if found.get("asked") != wanted:
        raise ScarletError(f"{file}: was made of {json_text(found.get('asked'))[:60]}..., wanted another folder")
    return found


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
