"""Which targets work on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from scarlet_zoo.deployment.runtimes.registry import RUNTIMES, get_runtime, missing_modules, versions
from scarlet_zoo.deployment.runtimes.runner import silence
from scarlet_zoo.deployment.targets import TARGETS, this_processor
from scarlet_zoo.latency import cpu_features
from scarlet_zoo.utils.installing import install_command


@dataclass(frozen=True)
class CheckUp:
    """What a target can do here.

    Attributes:
        target, form, precision: of :data:`scarlet_zoo.deployment.targets.TARGETS`.
        exports: whether its file can be written.
        runs: whether its file can be run, so that it is verified and can be measured.
        versions: of its packages.
        remedy: what to do about what is missing.
        why: where the target's form comes from.
        processors: the processors that its file is meant for, each with the instruction sets of which its speed
            needs one.
        suits_this_processor: whether this machine's processor is one of them; None where it does not say what it has.
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


def check_up() -> list[CheckUp]:
    """Look at every target; a runtime that is installed is imported, because only that shows that it works."""
    rows = []
    machine, instruction_sets = this_processor(), tuple(cpu_features())
    for name, target in TARGETS.items():
        if target.runtime == "ort":
            found: dict[str, str] = {"onnxruntime": version("onnxruntime")}
            works, runs, remedy = True, True, None
        else:
            found = versions(target.runtime)
            remedy = _remedy(target.runtime)
            works = remedy is None
            runs = works and RUNTIMES[target.runtime].runs
        processors = {processor.name: processor.instruction_sets for processor in target.processors}
        suits = target.suits(machine, instruction_sets)
        rows.append(
            CheckUp(name, target.form, target.precision, works, runs, found, remedy, target.why, processors, suits)
        )
    return rows


def _remedy(runtime: str) -> str | None:
    if missing_modules(runtime):
        return install_command(runtime)
    try:
        with silence():
            get_runtime(runtime)
    except Exception as error:
        # Whatever a broken installation raises when it is imported.
        reason = str(error).strip().split("\n")[0]
        again = install_command(runtime).replace("pip install", "pip install --force-reinstall")
        return f"its installation is broken ({reason}): {again}"
    return None
