"""Measure ``.tflite`` files with a user's own ``benchmark_model`` of LiteRT: its command line and its output.

It prints statistics of its warm-up and then of the timed runs, in microseconds (LiteRT,
tflite/tools/benchmark/benchmark_model.cc), and how much of the graph the XNNPACK delegate took
(benchmark_tflite_model.cc). It prints no single runs, so a session gives their mean.
"""

from __future__ import annotations

import re
from typing import Any

from scarlet_zoo.latency import runtime_conditions
from scarlet_zoo.measurement.phone.programs import Job, Session, number_in, unfit
from scarlet_zoo.measurement.workloads import described_file

_LOAD = re.compile(r"Initialized session in (\S+)ms\.")
_PHASE = re.compile(r"Running benchmark for at least \d+ iterations[^\n]*\n[^\n]*?\bcount=(\d{1,9})\b([^\n]*)")
_TIMINGS = re.compile(
    r"Inference timings in us: Init: (\S+), First inference: (\S+), Warmup \(avg\): (\S+), Inference \(avg\): (\S+)"
)
_VALUE = re.compile(r"\b(first|curr|min|max|avg)=([^\s(]+)")
_APPLIED = re.compile(
    r"Explicitly applied XNNPACK delegate, and the model graph will be (completely|partially) executed by the delegate"
)
_NOT_APPLIED = "Though XNNPACK delegate is explicitly applied, the model graph will not be executed by the delegate"
_REPLACED = re.compile(r"Replacing (\d{1,9}) out of (\d{1,9}) node\(s\) with delegate \(TfLiteXNNPackDelegate\)")
_SAME = 0.01  # of the two means that it prints with six digits


class BenchmarkModel:
    """LiteRT's program."""

    name, flag, suffix, means = "benchmark_model", "--benchmark-model", ".tflite", True

    def runtime(self, job: Job, version: str) -> dict[str, Any]:
        """The conditions that depend on the runtime and the file."""
        return runtime_conditions("litert", version, graph_optimization="the runtime's own",
                                  **described_file(job.workload.path))  # fmt: skip

    def session(self, job: Job) -> Session:
        """Run one session of a file.

        Raises:
            RecordError: the output is not that of a whole session.
        """
        own = job.settings
        printed = job.run([
            f"./{self.name}", f"--graph={job.file}", f"--num_threads={own.threads}", "--use_xnnpack=true",
            f"--warmup_runs={own.warmup}", "--warmup_min_secs=0", f"--num_runs={job.counted}",
            f"--min_secs={(own.seconds or 0) / own.openings:g}",
        ])  # fmt: skip
        return self.read(printed, job.counted, job.workload.label)

    def read(self, printed: str, counted: int, where: str) -> Session:
        """Read all that the program printed in a session of ``counted`` runs or more."""
        load, phases, timings = _LOAD.search(printed), _PHASE.findall(printed), _TIMINGS.search(printed)
        wanted = f"wanted statistics of a warm-up and of {counted} runs or more, and 'Inference timings in us'"
        if load is None or timings is None or len(phases) != 2:
            raise unfit(self.name, printed, where, f"printed {len(phases)} statistics, {wanted}")
        runs, rest = phases[1]
        if int(runs) < counted:
            raise unfit(self.name, printed, where, f"counted {runs} runs, {wanted}")
        values = dict(_VALUE.findall(rest))
        # Where all runs took the same time it prints that time as the last one, and no mean.
        texts = (str(values.get("avg") or values.get("curr")), str(timings[4]))
        mean, said = (number_in(text, self.name, where) for text in texts)
        if abs(mean - said) > _SAME * said:
            raise unfit(self.name, printed, where, f"printed the means {mean:g} and {said:g} us, wanted the same twice")
        first = number_in(timings[2], self.name, where)
        return Session([mean / 1e3], number_in(load[1], self.name, where), first / 1e3, int(runs),
                       self.delegated(printed, where))  # fmt: skip

    def delegated(self, printed: str, where: str) -> dict[str, Any]:
        """What the program says of XNNPACK, as conditions.

        ``provider`` is XNNPACK, or CPU where the delegate took nothing; ``delegated`` is all, part or none, and
        ``provider_nodes`` has the numbers of nodes where they are printed.

        Raises:
            RecordError: the program says nothing of XNNPACK.
        """
        if _NOT_APPLIED in printed:
            return {"provider": "CPU", "delegated": "none"}
        found = _APPLIED.search(printed)
        if found is None:
            raise unfit(
                self.name, printed, where, "does not say whether XNNPACK was applied, wanted 'Explicitly applied'"
            )
        told = {"provider": "XNNPACK", "delegated": "all" if found[1] == "completely" else "part"}
        replaced = _REPLACED.search(printed)
        if replaced is None:
            return told
        taken, all_nodes = int(replaced[1]), int(replaced[2])
        counts = {"XNNPACK": taken, "CPU": all_nodes - taken}
        return {**told, "provider_nodes": {name: count for name, count in counts.items() if count}}
