"""Check which targets work on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from scarlet_zoo.deployment.int8_speed import int8_is_faster
from scarlet_zoo.deployment.runtimes.registry import RUNTIMES, get_runtime, missing_modules, versions
from scarlet_zoo.deployment.targets import TARGETS, this_processor
from scarlet_zoo.graph.quantization.isa import usual_preset
from scarlet_zoo.latency import cpu_features, cpu_model
from scarlet_zoo.utils.installing import install_command
from scarlet_zoo.utils.silence import silence


@dataclass(frozen=True)
class CheckUp:
    """What works of a target on this machine.

    Attributes:
        target: its name.
        form, precision: its graph variant and precision, see :class:`scarlet_zoo.deployment.targets.Target`.
        exports: whether its file can be written here.
        runs: whether its file can be run here, and so verified and measured.
        versions: versions of its packages.
        remedy: how to install what is missing; None if nothing is.
        why: the reason for the graph variant.
        processors: the processors that its file is meant for, each with the instruction sets of which it needs one
            to be fast.
        suits_this_processor: whether this machine's processor is one of them; None if its instruction sets are not
            known.
    """

    target: str
    form: str
    precision: str
    exports: bool
    runs: bool
    versions: Mapping[str, str]
    remedy: str | None
    why: str
    processors: Mapping[str, tuple[str, ...]]
    suits_this_processor: bool | None

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Host:
    """What of this machine decides which files are fast on it.

    Attributes:
        processor: name of the processor.
        cpu_features: its instruction sets that matter, under the system's names.
        isa: the preset of int8 files for it, see :mod:`scarlet_zoo.graph.quantization.isa`.
        int8_faster: whether int8 files are expected to be faster on it than float32 ones; None if its instruction sets
            are not known.
    """

    processor: str
    cpu_features: tuple[str, ...]
    isa: str
    int8_faster: bool | None

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def this_host() -> Host:
    """Describe this machine's processor."""
    found = tuple(cpu_features())
    return Host(cpu_model(), found, usual_preset(), int8_is_faster(this_processor(), found))


def check_up() -> list[CheckUp]:
    """Check every target; an installed runtime is imported, since only that shows that it works."""
    rows = []
    machine, instruction_sets = this_processor(), tuple(cpu_features())
    for name, target in TARGETS.items():
        if target.runtime == "ort":
            found: dict[str, str] = {"onnxruntime": version("onnxruntime")}
            works, runs, remedy = True, True, None
        else:
            found = versions(target.runtime, target.precision)
            remedy = _remedy(target.runtime, target.precision)
            works = remedy is None
            # A file may run without the package that wrote it.
            runs = RUNTIMES[target.runtime].runs and (works or _remedy(target.runtime, "float32") is None)
        processors = {processor.name: processor.instruction_sets for processor in target.processors}
        suits = target.suits(machine, instruction_sets)
        rows.append(
            CheckUp(name, target.form, target.precision, works, runs, found, remedy, target.why, processors, suits)
        )
    return rows


def _remedy(runtime: str, precision: str) -> str | None:
    if missing_modules(runtime, precision):
        return install_command(runtime)
    try:
        with silence():
            get_runtime(runtime)
    except Exception as error:
        # A broken installation may raise any kind of error when it is imported.
        reason = str(error).strip().split("\n")[0]
        again = install_command(runtime).replace("pip install", "pip install --force-reinstall")
        return f"its installation is broken ({reason}): {again}"
    return None
