"""What a network can be exported to: for each target its graph variant, its precision and its runtime.

The table is data: ``export/recipes/TARGET.toml``, see :mod:`scarlet_zoo.deployment.recipes`. It is read when it is
first looked into, so that importing this module costs nothing.
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

# As Linux names processors; Windows and macOS have names of their own.
_SAME_PROCESSOR = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class Processor:
    """A kind of processor that a target's file is meant for.

    Attributes:
        name: as Linux names it, ``x86_64`` or ``aarch64``.
        instruction_sets: the target's speed rests on one of these; on none in particular if empty.
    """

    name: str
    instruction_sets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A runtime, with the graph variant that is the fastest exact one on it.

    Attributes:
        form: the graph variant, see :mod:`scarlet_zoo.graph.passes.lower`.
        runtime: that runs the file, see :mod:`scarlet_zoo.deployment.runtimes.registry`.
        precision: ``float32`` or ``int8``.
        suffix: of the file.
        why: where the choice comes from, with the evidence's path where it is measured.
        processors: that the file is meant for.
    """

    form: str
    runtime: str
    precision: str
    suffix: str
    why: str
    processors: tuple[Processor, ...] = ()

    def suits(self, machine: str, instruction_sets: tuple[str, ...]) -> bool | None:
        """Whether the file is meant for a processor; None where its instruction sets matter and are not known.

        Args:
            machine: the processor as :func:`this_processor` names it.
            instruction_sets: what it has, from :func:`scarlet_zoo.latency.cpu_features`; empty where not known.
        """
        found = next((processor for processor in self.processors if processor.name == machine), None)
        if found is None:
            return False
        if not found.instruction_sets:
            return True
        return bool(set(found.instruction_sets) & set(instruction_sets)) if instruction_sets else None


def this_processor() -> str:
    """This machine's processor as recipes name it."""
    machine = platform.machine().lower()
    return _SAME_PROCESSOR.get(machine, machine)


def target_of(recipe: TargetRecipe, machine: str) -> Target:
    """The target that a recipe describes, exported on a machine with this processor."""
    here = next((entry.graph_variant for name, entry in recipe.processors.items() if name == machine), None)
    why = f"{recipe.why} ({recipe.evidence})" if recipe.evidence else recipe.why
    processors = tuple(Processor(name, tuple(entry.instruction_sets)) for name, entry in recipe.processors.items())
    return Target(here or recipe.graph_variant, recipe.runtime, recipe.precision, recipe.suffix, why, processors)


@cache
def _read() -> Mapping[str, Target]:
    from scarlet_zoo.deployment.recipes import read_recipes

    return {name: target_of(recipe, this_processor()) for name, recipe in read_recipes().items()}


class _Targets(Mapping[str, Target]):
    """The targets by name, read from their recipes when they are first looked into."""

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
    """The graph variant of a target of ONNX Runtime in float32.

    Raises:
        UnknownNameError: no such target; the message lists them.
        ExportError: another runtime or precision.
    """
    found = get_target(name)
    if (found.runtime, found.precision) != ("ort", "float32"):
        known = [key for key, entry in TARGETS.items() if (entry.runtime, entry.precision) == ("ort", "float32")]
        raise ExportError(f"target {name!r}: not for this verb, wanted one of {' '.join(known)}")
    return found.form


def get_target(name: str) -> Target:
    """The target of a name.

    Raises:
        UnknownNameError: no such target; the message lists them.
        RecipeError: a recipe is not as recipes are.
    """
    if name not in TARGETS:
        raise unknown_name("target", name, TARGETS)
    return TARGETS[name]
