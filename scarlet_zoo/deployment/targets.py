"""The targets that a network can be exported to, each with its graph variant, precision and runtime.

The table is data: ``export/recipes/TARGET.toml``, see :mod:`scarlet_zoo.deployment.recipes`. It is read when it is
first used, so importing this module is fast.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from scarlet_zoo.errors import ExportError, unknown_name

if TYPE_CHECKING:
    from scarlet_zoo.deployment.recipes import TargetRecipe

# Names of Windows and macOS to those of Linux.
_SAME_PROCESSOR = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor architecture that a target's file is meant for.

    Attributes:
        name: ``x86_64`` or ``aarch64``, as on Linux.
        instruction_sets: the target is fast only on a processor with one of these; on any processor if empty.
    """

    name: str
    instruction_sets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A runtime, with the fastest exact graph variant on it.

    Attributes:
        form: the graph variant, see :mod:`scarlet_zoo.graph.passes.lower`.
        runtime: name of the runtime that runs the file, see :mod:`scarlet_zoo.deployment.runtimes.registry`.
        precision: ``float32``, ``float16``, ``bfloat16`` or ``int8``.
        suffix: suffix of the file's name.
        why: the reason for these choices, with the path of the measurement where there is one.
        processors: the processors that the file is meant for.
    """

    form: str
    runtime: str
    precision: str
    suffix: str
    why: str
    processors: tuple[Processor, ...] = ()

    def suits(self, machine: str, instruction_sets: tuple[str, ...]) -> bool | None:
        """Whether the file is meant for a processor; None if that depends on instruction sets that are not known.

        Args:
            machine: the processor's name, from :func:`this_processor`.
            instruction_sets: its instruction sets, from :func:`scarlet_zoo.latency.cpu_features`; empty if not known.
        """
        found = next((processor for processor in self.processors if processor.name == machine), None)
        if found is None:
            return False
        if not found.instruction_sets:
            return True
        return bool(set(found.instruction_sets) & set(instruction_sets)) if instruction_sets else None


def this_processor() -> str:
    """The name of this machine's processor, as recipes spell it."""
    return usual_name(platform.machine())


def usual_name(machine: str) -> str:
    """The name of a processor as recipes spell it, given any system's name for it."""
    return _SAME_PROCESSOR.get(machine.lower(), machine.lower())


def target_of(recipe: TargetRecipe, machine: str) -> Target:
    """The target that a recipe describes, when it is exported on a machine with the given processor."""
    here = next((entry.graph_variant for name, entry in recipe.processors.items() if name == machine), None)
    why = f"{recipe.why} ({recipe.evidence})" if recipe.evidence else recipe.why
    processors = tuple(Processor(name, tuple(entry.instruction_sets)) for name, entry in recipe.processors.items())
    return Target(here or recipe.graph_variant, recipe.runtime, recipe.precision, recipe.suffix, why, processors)


@cache
def _read() -> Mapping[str, Target]:
    from scarlet_zoo.deployment.recipes import read_recipes

    return {name: target_of(recipe, this_processor()) for name, recipe in read_recipes().items()}


class _Targets(Mapping[str, Target]):
    """The targets by name, read from their recipes at first use."""

    def __getitem__(self, name: str) -> Target:
        return _read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_read())

    def __len__(self) -> int:
        return len(_read())

    def __repr__(self) -> str:
        return f"TARGETS({dict(self)!r})"


TARGETS: Mapping[str, Target] = _Targets()


def float_variant(name: str) -> str:
    """The graph variant of a target, which must be one of ONNX Runtime in float32.

    Raises:
        UnknownNameError: no such target; the message lists similar ones.
        ExportError: the target has another runtime or precision.
    """
    found = get_target(name)
    if (found.runtime, found.precision) != ("ort", "float32"):
        known = [key for key, entry in TARGETS.items() if (entry.runtime, entry.precision) == ("ort", "float32")]
        got = f"{found.runtime} in {found.precision}"
        raise ExportError(f"target {name!r}: got {got}, wanted ONNX Runtime in float32: {' '.join(known)}")
    return found.form


# The precisions by all their names.
PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8": "int8", "float32": "float32",
              "float16": "float16", "bfloat16": "bfloat16"}  # fmt: skip


def in_precision(name: str, precision: str | None) -> str:
    """The name of the target of the same runtime in another precision: ``ncnn-fp16`` for ``ncnn`` and ``fp16``.

    Args:
        name: a target.
        precision: one of :data:`PRECISIONS`; None for the target's own.

    Raises:
        UnknownNameError: no such target; the message lists similar ones.
        ExportError: no such precision, or the runtime has no target of it.
    """
    found = get_target(name)
    if precision is None or PRECISIONS.get(precision) == found.precision:
        return name
    if precision not in PRECISIONS:
        raise ExportError(f"precision: got {precision!r}, wanted fp32, fp16, bf16 or int8")
    alike = [key for key, entry in TARGETS.items() if entry.runtime == found.runtime]
    fitting = [key for key in alike if TARGETS[key].precision == PRECISIONS[precision]]
    if len(fitting) != 1:
        wanted = " ".join(fitting or alike)
        raise ExportError(f"target {name!r}: got precision {precision}, wanted one of its runtime's targets: {wanted}")
    return fitting[0]


def get_target(name: str) -> Target:
    """The target of a name.

    Raises:
        UnknownNameError: no such target; the message lists similar ones.
        RecipeError: a target's recipe is not valid.
    """
    if name not in TARGETS:
        raise unknown_name("target", name, TARGETS, listed_by="scarlet-zoo doctor")
    return TARGETS[name]
