"""Measure ``.pte`` files with a user's own ``executor_runner`` of ExecuTorch: its command lines and its output.

It prints ``Model executed successfully N time(s) in X ms.``, the sum of all executions and nothing of each
(executorch, examples/portable/executor_runner/executor_runner.cpp), and has no warm-up. So each session starts it
twice: for one execution, and for one more than are counted. The difference of the two sums over the number of counted
executions is the session's sample.
"""

from __future__ import annotations

import re
from typing import Any

from scarlet_zoo.latency import runtime_conditions
from scarlet_zoo.measurement.phone.programs import Job, Session, number_in, unfit
from scarlet_zoo.measurement.workloads import described_file

_EXECUTED = re.compile(r"Model executed successfully (\d{1,9}) time\(s\)(?: in (\S+) ms)?")
_LOADED = re.compile(r"^\w (\d\d):(\d\d):(\d\d\.\d+) executorch:[^\n]*\] Method loaded\.$", re.MULTILINE)
# Names of backends as files hold them: a part of a graph that was delegated can run on its backend alone.
_BACKENDS = {"XNNPACK": b"XnnpackBackend", "QNN": b"QnnBackend", "CoreML": b"CoreMLBackend", "Vulkan": b"VulkanBackend",
             "MPS": b"MPSBackend", "Ethos-U": b"EthosUBackend"}  # fmt: skip


class ExecutorRunner:
    """ExecuTorch's program."""

    name, flag, suffix, means = "executor_runner", "--executor-runner", ".pte", True

    def runtime(self, job: Job, version: str) -> dict[str, Any]:
        """The conditions that depend on the runtime and the file.

        ``provider`` names the backends that the file holds parts for; a runner without one of them does not load it.
        """
        content = job.workload.path.read_bytes()
        backends = [name for name, mark in _BACKENDS.items() if mark in content]
        return runtime_conditions(
            "executorch", version, provider=" ".join(backends) or "CPU", graph_optimization="the runtime's own",
            delegated="part or all" if backends else "none", **described_file(job.workload.path),
        )  # fmt: skip

    def session(self, job: Job) -> Session:
        """Run one session of a file.

        Raises:
            RecordError: an output is not that of all executions.
        """
        first = self.read(job.run(self.command(job, 1)), 1, job.workload.label)
        return self.difference(first, job.run(self.command(job, job.counted + 1)), job.counted, job.workload.label)

    def command(self, job: Job, executions: int) -> list[str]:
        """The command line that executes a file this many times."""
        return [f"./{self.name}", f"--model_path={job.file}", f"--num_executions={executions}",
                f"--cpu_threads={job.settings.threads}"]  # fmt: skip

    def read(self, printed: str, executions: int, where: str) -> tuple[float, float]:
        """The milliseconds of loading and of all executions."""
        found, loaded = _EXECUTED.search(printed), _LOADED.search(printed)
        if found is None or loaded is None or int(found[1]) != executions:
            got = "no sum" if found is None else f"{found[1]} executions"
            raise unfit(self.name, printed, where, f"printed {got} and {'no' if loaded is None else 'the'} time of "
                        f"loading, wanted {executions} executions by a build with logging")  # fmt: skip
        if found[2] is None:
            raise unfit(self.name, printed, where, "printed no time of them, wanted a newer executor_runner")
        hours, minutes, seconds = (float(part) for part in loaded.groups())
        load_ms = 1e3 * (3600 * hours + 60 * minutes + seconds)
        return number_in(str(load_ms), self.name, where), number_in(found[2], self.name, where)

    def difference(self, first: tuple[float, float], printed: str, counted: int, where: str) -> Session:
        """The session of a start with one execution and of what a start with one more than ``counted`` printed."""
        _, all_ms = self.read(printed, counted + 1, where)
        load_ms, first_ms = first
        if all_ms <= first_ms:
            got = f"took {first_ms:g} ms for one execution and {all_ms:g} ms for {counted + 1}"
            raise unfit(self.name, printed, where, f"{got}, wanted more")
        return Session([(all_ms - first_ms) / counted], load_ms, first_ms, counted)
