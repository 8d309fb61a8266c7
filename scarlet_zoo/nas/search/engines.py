"""Engines that evaluate architectures: in this process, or on the workers of a Ray cluster."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import TrainingError, unknown_name
from scarlet_zoo.utils.installing import install_command

Done = tuple[int, dict[str, float], float]
# What is asked of each architecture; it must be possible to send it to another process.
Evaluate = Callable[[Arch], dict[str, float]]


class Engine(Protocol):
    """Evaluates a list of architectures."""

    def run(self, archs: Sequence[Arch]) -> Iterator[Done]:
        """Yield position, values and seconds of each architecture, in the order in which they finish."""


class InProcess:
    """Evaluates architectures one after the other in this process."""

    def __init__(self, evaluation: Evaluate) -> None:
        self._evaluation = evaluation

    def run(self, archs: Sequence[Arch]) -> Iterator[Done]:
        """Yield position, values and seconds of each architecture, in order."""
        for position, arch in enumerate(archs):
            begun = time.monotonic()
            values = self._evaluation(arch)
            yield position, values, time.monotonic() - begun


class OnRay:
    """Evaluates architectures on the Ray cluster that ``RAY_ADDRESS`` names, else on local Ray workers.

    Args:
        evaluation: the evaluation that each worker runs.
        workers: number of workers.

    Raises:
        TrainingError: Ray is not installed or does not start.
    """

    def __init__(self, evaluation: Evaluate, workers: int) -> None:
        try:
            import ray
        except ModuleNotFoundError as error:
            raise TrainingError(f"engine ray: Ray is not installed; install it with: {install_command('ray')}"
                                ) from error  # fmt: skip
        self._ray: Any = ray
        if not ray.is_initialized():
            local: dict[str, Any] = (
                {} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers, "include_dashboard": False}
            )
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **local)
            except (ConnectionError, RuntimeError, ValueError) as error:
                reason = str(error).strip().split("\n")[0]
                raise TrainingError(f"engine ray: Ray does not start: {reason}") from error
        worker = ray.remote(num_cpus=1)(_Worker)
        self._workers: list[Any] = [worker.remote(evaluation) for _ in range(workers)]

    def run(self, archs: Sequence[Arch]) -> Iterator[Done]:
        """Yield position, values and seconds of each architecture, in the order in which they finish."""
        waiting, running = list(enumerate(archs)), dict[Any, tuple[int, Any]]()
        idle: list[Any] = list(self._workers)
        while waiting or running:
            while waiting and idle:
                position, arch = waiting.pop(0)
                worker = idle.pop()
                running[worker.evaluate.remote(arch)] = (position, worker)
            ready, _ = self._ray.wait(list(running), num_returns=1)
            for reference in ready:
                position, worker = running.pop(reference)
                idle.append(worker)
                values, seconds = self._ray.get(reference)
                yield position, values, seconds


class _Worker:
    """The actor in one of Ray's processes."""

    def __init__(self, evaluation: Evaluate) -> None:
        self._evaluation = evaluation

    def evaluate(self, arch: Arch) -> tuple[dict[str, float], float]:
        begun = time.monotonic()
        return self._evaluation(arch), time.monotonic() - begun


def get_engine(name: str, evaluation: Evaluate, workers: int) -> Engine:
    """Create an engine by name: ``local`` or ``ray``.

    Raises:
        UnknownNameError: there is no such engine.
        TrainingError: Ray is not installed or does not start.
    """
    if name == "local":
        return InProcess(evaluation)
    if name == "ray":
        return OnRay(evaluation, workers)
    raise unknown_name("engine", name, ("local", "ray"))
