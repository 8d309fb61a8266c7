"""Measure ONNX files with a user's own ``onnxruntime_perf_test``: its command lines, and how its output is read.

With ``-v`` it prints ``iteration:N,time_cost:SECONDS`` for each counted run (onnxruntime,
test/perftest/performance_runner.h), and how long creating the session and the first run took.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.load import input_shapes
from scarlet_zoo.latency import MeasurementError, Provider, nodes_of_profile, provider_conditions, runtime_conditions
from scarlet_zoo.measurement.phone.programs import Job, Session, number_in, unfit

_RUN = re.compile(r"^iteration:\d+,time_cost:(\S+)$", re.MULTILINE)
_LOAD = re.compile(r"^Session creation time cost: (\S+) s", re.MULTILINE)
_FIRST = re.compile(r"^First inference time cost: (\S+) ms", re.MULTILINE)
_PROFILE = "profile"


class PerfTest:
    """ONNX Runtime's program."""

    name, flag, suffix, means = "onnxruntime_perf_test", "--perf-test", ".onnx", False

    def runtime(self, job: Job, version: str) -> dict[str, Any]:
        """The conditions that depend on the runtime and the file."""
        artifact = read_artifact(job.workload.path)
        return {
            **runtime_conditions("onnxruntime", version, opset=artifact.opset, metadata=artifact.description,
                                 **provider_conditions(job.settings)),
            "sha256": artifact.sha256, "input_shape": input_shapes(job.workload.path),
        }  # fmt: skip

    def command(self, job: Job, runs: int, *more: str) -> list[str]:
        """The command line that runs a file this many times after its first run."""
        provider = Provider.parse(job.settings.provider)
        options = ["-e", provider.short.lower(), "-I", "-v", "-m", "times", "-r", str(runs)]
        options += ["-x", str(job.settings.threads), "-y", "1", *([] if job.settings.spin else ["-D"]), *more]
        if provider.options:
            options += ["-i", " ".join(f"{key}|{value}" for key, value in provider.options)]
        return [f"./{self.name}", *options, job.file, f"{job.file}.result"]

    def session(self, job: Job) -> Session:
        """Run one session of a file; the warm-up is the runs that it prints first.

        Raises:
            RecordError: the output lacks runs, or the time of loading or of the first run.
            MeasurementError: no node ran on the provider.
        """
        nodes = self.nodes(job) if job.first else {}
        warmup = job.settings.warmup
        return self.read(
            job.run(self.command(job, warmup + job.counted)), warmup, job.counted, job.workload.label, nodes
        )

    def read(self, printed: str, warmup: int, counted: int, where: str, conditions: Mapping[str, Any] = {}) -> Session:
        """Read all that the program printed in a session of ``warmup`` and ``counted`` runs."""
        samples = [1e3 * number_in(text, self.name, where) for text in _RUN.findall(printed)]
        found = {name: pattern.search(printed) for name, pattern in (("load_ms", _LOAD), ("first_ms", _FIRST))}
        missing = [name for name, match in found.items() if match is None]
        if len(samples) != warmup + counted or missing:
            raise unfit(self.name, printed, where, f"printed {len(samples)} runs and no {' '.join(missing) or 'more'}, "
                                                   f"wanted {warmup + counted} runs of -v")  # fmt: skip
        load, first = (number_in(match[1], self.name, where) for match in found.values() if match is not None)
        return Session(samples[warmup:], 1e3 * load, first, conditions=conditions)

    def nodes(self, job: Job) -> dict[str, Any]:
        """How many nodes ran on which provider, by a profile of two runs; nothing for the CPU, which runs all.

        Raises:
            RecordError: the program wrote no profile.
            MeasurementError: no node ran on the provider.
        """
        provider = Provider.parse(job.settings.provider)
        if provider.is_cpu:
            return {}
        printed = job.run(self.command(job, 2, "-p", f"{job.file}.{_PROFILE}"))
        names = [name for name in job.run(["ls"]).split() if name.startswith(f"{job.file}.{_PROFILE}")]
        if not names:
            raise unfit(self.name, printed, job.workload.label, "wrote no profile, wanted one of -p")
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / _PROFILE
            local.write_bytes(job.read(names[-1]))
            try:
                nodes = nodes_of_profile(local)
            except MeasurementError as error:
                raise unfit(self.name, printed, job.workload.label, f"wrote {names[-1]}, wanted a profile") from error
        provider.check_nodes(nodes, job.workload.path)
        return {"provider_nodes": nodes}
