"""Other processes, where a test is about them: the command line, or any function of a module.

Each is a copy of a process that has imported what the command line imports, which takes Python three seconds, and has
computed nothing. All copies share one hash seed; the process of the tests has another.
"""

import multiprocessing
import os
import signal
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from scarlet_zoo.cli import main

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["scarlet_zoo.cli.main", "scarlet_zoo.nas.train_supernet", "scarlet_zoo.nas.search.explore", "accelerate"]
)


class OtherProcess:
    """A function that runs in another process: its exit code, what it has said so far, and its end."""

    def __init__(self, process, folder):
        self._process, self._folder = process, folder
        self.pid = process.pid

    @property
    def running(self):
        return self._process.is_alive()

    @property
    def out(self):
        return self._said("out")

    @property
    def err(self):
        return self._said("err")

    def _said(self, name):
        file = self._folder / name
        return file.read_text() if file.exists() else ""

    def wait(self, timeout_s=120):
        """Its exit code when it has ended; minus the signal's number where one has ended it."""
        self._process.join(timeout_s)
        assert not self.running, f"still running after {timeout_s} s: {self.err}"
        return self._process.exitcode

    def send(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """End it, and every process that it has started, as nothing can prevent; its exit code."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()
        return self.wait()


@contextmanager
def started(work, *arguments, environ=None):
    """Call a function in another process, in this one's environment or another; whatever is left of it is killed."""
    with TemporaryDirectory() as folder:
        process = _CONTEXT.Process(target=_alone, args=(folder, environ or dict(os.environ), work, arguments))
        process.start()
        other = OtherProcess(process, Path(folder))
        try:
            yield other
        finally:
            other.kill()


def command_line(*arguments, environ=None):
    """``scarlet-zoo ARGUMENTS`` in another process, as :func:`started` does with a function."""
    return started(main.main, list(map(str, arguments)), environ=environ)


def by_torchrun(work, *arguments, timeout_s=240):
    """Call a function in the two processes of one training that ``torchrun --nproc-per-node 2`` starts and watches."""
    environ = {**os.environ, "ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "lo"}
    with started(_launch, work, arguments, environ=environ) as launcher:
        assert launcher.wait(timeout_s) == 0, launcher.err[-4000:]


def _launch(work, arguments):
    # What the program torchrun does with its arguments, but for the method by which it starts a process.
    config = LaunchConfig(1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", run_id="two", start_method="fork")
    elastic_launch(config, work)(*arguments)


def _alone(folder, environ, work, arguments):
    os.setsid()
    os.environ.clear()
    os.environ.update(environ)
    for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
        stream.flush()
        with (Path(folder) / name).open("w") as file:
            os.dup2(file.fileno(), stream.fileno())
    torch.set_num_threads(1)  # as in the process of the tests
    work(*arguments)
