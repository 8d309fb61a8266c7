"""Work in processes of its own: it does not outlive the one that asked for it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.jobs import run_jobs

PARENT = """
import os, time
from scarlet_zoo.utils.jobs import run_jobs

def work(number):
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    list(run_jobs(work, [1, 2], workers=2))
"""


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        assert all(map(alive, workers))
        parent.kill()
    deadline = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))


def double(number):
    if number < 0:
        raise ScarletError(f"got {number}")
    return 2 * number


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_come_with_what_came_of_them(workers):
    assert dict(run_jobs(double, [1, 2, 3], workers)) == {1: 2, 2: 4, 3: 6}
    with pytest.raises(ScarletError, match="got -1"):
        list(run_jobs(double, [-1], workers))


def test_no_worker_is_refused():
    with pytest.raises(ScarletError, match="got 0 workers, wanted 1 or more"):
        list(run_jobs(double, [1], 0))
