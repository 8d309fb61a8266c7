"""Run exported files on emulated processors and compare answers, bits and fusion; nothing is timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.evidence import answers
from scarlet_zoo.graph.artifact import Artifact
from scarlet_zoo.graph.fusion import report_of_graph
from scarlet_zoo.graph.quantization.exact import exact_network
from scarlet_zoo.graph.quantization.golden import KEY, check_answers, golden_input
from scarlet_zoo.graph.quantization.isa import this_isa
from scarlet_zoo.latency import EMULATED
from scarlet_zoo.measurement.phone.sysroot import CPUS, Sysroot, qemu
from scarlet_zoo.utils.files import make_folder, write_text

# An x64 processor without VNNI, the instructions for products of bytes.
_HASWELL = "Haswell"


@dataclass(frozen=True)
class Processor:
    """A processor, real or emulated, that runs a Python with ONNX Runtime.

    Attributes:
        isa: name of an instruction set of :mod:`scarlet_zoo.graph.quantization.isa`.
        command, environment: command line of its interpreter, and environment variables to add.
        emulated: whether qemu emulates it.
        prepare: function to call before the interpreter runs.
    """

    name: str
    isa: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    emulated: bool = True
    prepare: Callable[[], None] = lambda: None


@dataclass(frozen=True, eq=False)
class Case:
    """A file to check, with its inputs.

    Attributes:
        images: preprocessed images, (N, ...); a file with golden outputs also runs on their input.
        truth: float32 logits of the source network for these images, (N, classes).
    """

    name: str
    artifact: Artifact
    images: NDArray[Any]
    truth: NDArray[np.float64]

    @property
    def fed(self) -> NDArray[Any]:
        """All inputs of the file, the golden input first."""
        return np.concatenate([golden_input(self.artifact), self.images]) if self.is_golden else self.images

    @property
    def is_golden(self) -> bool:
        """Whether the file carries golden outputs."""
        return KEY in self.artifact.metadata


def this_processor() -> Processor:
    """Return the processor that this Python runs on."""
    return Processor("here", this_isa(), (sys.executable,), emulated=False)


def other_processors(sysroot: Sysroot) -> list[Processor]:
    """Return arm64 with and without the dot product of bytes, and x64 without VNNI, emulated by qemu.

    Raises:
        ScarletError: qemu is not installed.
    """
    arms = []
    for cpu in CPUS:
        command, environment = sysroot.emulated(cpu)
        # All processors share one sysroot, which presents one of them at a time: the one that `play` was called with.
        arms.append(Processor(cpu, "arm64", tuple(command), environment, prepare=partial(sysroot.play, cpu)))
    return [*arms, Processor(_HASWELL, "x64", (qemu("x86_64"), "-cpu", _HASWELL, sys.executable),
                              {EMULATED: _HASWELL})]  # fmt: skip


def prove(cases: Sequence[Case], processors: Sequence[Processor], folder: Path) -> list[dict[str, Any]]:
    """Run every file on every processor and compare the answers with those of the first processor.

    A file with golden outputs is compared with its answers in exact integer arithmetic, since the first processor's own
    kernels may saturate.

    Args:
        cases: files to run, each with a name of its own.
        processors: processors to run on; the first one must be this machine's.
        folder: folder for inputs, answers and graphs.

    Returns:
        A row for each file and processor: ``answers`` (largest difference from these answers over the range of
        the logits, whether all bits are the same, and the SQNR in decibels against the source network), ``golden``,
        ``fusion`` and ``emulated``. No row has a time.

    Raises:
        ScarletError: the interpreter of a processor fails.
    """
    inputs = _inputs(cases, folder)
    rows: list[dict[str, Any]] = []
    base: dict[str, NDArray[np.float64]] = {}
    for processor in processors:
        processor.prepare()
        run = _run(processor, cases, inputs, folder / processor.name)
        for case in cases:
            row = {"file": case.name, "sha256": case.artifact.sha256, "precision": case.artifact.precision,
                   "form": case.artifact.form, "processor": processor.name, "isa": processor.isa,
                   "emulated": processor.emulated, "runtime_version": run["runtime_version"],
                   "machine": run["machine"], "error": run["errors"][case.name]}  # fmt: skip
            if row["error"] is None:
                got = np.load(folder / processor.name / f"{case.name}.npy").astype(np.float64)
                if case.name not in base:
                    base[case.name] = exact_network(case.artifact.path).run(case.fed, 1)[0] if case.is_golden else got
                row |= _compared(case, got, base[case.name], processor)
                graph = onnx.load(folder / processor.name / f"{case.name}.runs.onnx").graph
                row["fusion"] = report_of_graph(case.name, row["runtime_version"], row["machine"], graph).totals
            rows.append(row)
    return rows


def _inputs(cases: Sequence[Case], folder: Path) -> Path:
    """Write the inputs of each file as ``NAME.npy`` and return their folder."""
    inputs = folder / "inputs"
    make_folder(inputs)
    for case in cases:
        np.save(inputs / f"{case.name}.npy", case.fed)
    return inputs


def _run(processor: Processor, cases: Sequence[Case], inputs: Path, out: Path) -> dict[str, Any]:
    make_folder(out)
    networks = [
        {"name": case.name, "file": str(case.artifact.path.resolve()), "input": str(inputs / f"{case.name}.npy")}
        for case in cases
    ]
    manifest = out / "manifest.json"
    write_text(manifest, json.dumps({"out": str(out.resolve()), "networks": networks}))
    command = [*processor.command, answers.__file__, str(manifest)]
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          env={**os.environ, **processor.environment})  # fmt: skip
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"ended with {done.returncode}"]
        raise ScarletError(f"processor {processor.name}: {lines[-1]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _compared(case: Case, got: NDArray[np.float64], base: NDArray[np.float64], processor: Processor) -> dict[str, Any]:
    own = got[-len(case.images) :]
    error = float(np.mean((own - case.truth) ** 2))
    golden = None
    if case.is_golden:
        golden = check_answers(case.artifact, got[: -len(case.images)], processor.isa).to_dict()
    return {
        "answers": {
            "max_rel_diff": float(np.abs(got - base).max() / np.ptp(base)),
            "same_bits": bool(np.array_equal(got, base)),
            "sqnr_db": float(10 * np.log10(np.mean(case.truth**2) / error)) if error else None,
            "top1_agreement": float(np.mean(own.argmax(1) == case.truth.argmax(1))),
            "images": len(own),
        },
        "golden": golden,
    }
