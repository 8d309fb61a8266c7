"""What a search is after, by name, and what it may not exceed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import cost_table
from scarlet_zoo.errors import TrainingError

Values = Mapping[str, float]

# Name to (unit, whether more is better by itself).
METRICS: Mapping[str, tuple[str, bool]] = {
    "accuracy": ("% top-1", True),
    "score": ("the strategy's", True),
    "macs": ("multiply-adds", False),
    "params": ("parameters", False),
    "latency": ("ms", False),
}
# Known from the architecture alone, in microseconds.
CLOSED_FORM = ("macs", "params")


@dataclass(frozen=True)
class Objective:
    """A quantity to make large or small.

    Attributes:
        name: one of :data:`METRICS`.
        maximise: whether more is better.
        weight: its part in SCARLET's crowding distance; only ratios count.
    """

    name: str
    maximise: bool
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read ``name``, ``name:max`` or ``name:min``, with ``*weight`` behind it if there is one.

        Raises:
            TrainingError: something else.
        """
        found = re.fullmatch(r"(\w+)(?::(max|min))?(?:\*(\d+\.?\d*))?", text.strip())
        if not found or found[1] not in METRICS:
            raise TrainingError(f"objective {text!r}: wanted one of {' '.join(METRICS)}, such as params:max*0.2")
        maximise = found[2] == "max" if found[2] else METRICS[found[1]][1]
        weight = float(found[3]) if found[3] else 1.0
        if weight <= 0:
            raise TrainingError(f"objective {text!r}: got weight {weight}, wanted more than 0")
        return cls(found[1], maximise, weight)

    def cost(self, values: Values) -> float:
        """The value with the sign that makes less better."""
        return -values[self.name] if self.maximise else values[self.name]

    def __str__(self) -> str:
        return f"{self.name}:{'max' if self.maximise else 'min'}*{self.weight:g}"


@dataclass(frozen=True)
class Limit:
    """A bound that no architecture may break: ``name <= bound`` or ``name >= bound``."""

    name: str
    at_most: bool
    bound: float

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read ``name<=number`` or ``name>=number``.

        Raises:
            TrainingError: something else.
        """
        found = re.fullmatch(r"(\w+)\s*(<=|>=)\s*(\d+\.?\d*(?:[eE][+-]?\d+)?)", text.strip())
        if not found or found[1] not in METRICS:
            raise TrainingError(f"limit {text!r}: wanted one of {' '.join(METRICS)}, such as macs<=5e6")
        return cls(found[1], found[2] == "<=", float(found[3]))

    def excess(self, values: Values) -> float:
        """By how much it is broken, relative to the bound; at most 0 where it holds."""
        over = values[self.name] - self.bound
        return (over if self.at_most else -over) / max(abs(self.bound), 1e-12)

    def __str__(self) -> str:
        return f"{self.name}{'<=' if self.at_most else '>='}{self.bound:g}"


def closed_form(arch: Arch) -> dict[str, float]:
    """What an architecture costs without running it, from its space's table."""
    params, macs = cost_table(arch.space).params_and_macs(arch)
    return {"macs": float(macs), "params": float(params)}


def allowed(arch: Arch, limits: Iterable[Limit]) -> bool:
    """Whether an architecture keeps the limits that can be told without running it."""
    told = [limit for limit in limits if limit.name in CLOSED_FORM]
    values = closed_form(arch) if told else {}
    return all(limit.excess(values) <= 0 for limit in told)


def non_dominated(rows: Sequence[Values], objectives: Sequence[Objective]) -> list[int]:
    """Positions of the rows that no other row is at least as good as in all objectives and better in one."""
    costs = np.array([[objective.cost(row) for objective in objectives] for row in rows], dtype=np.float64)
    return [i for i in range(len(costs)) if not _is_dominated(costs, i)]


def _is_dominated(costs: NDArray[np.float64], i: int) -> bool:
    no_worse = (costs <= costs[i]).all(axis=1)
    better = (costs < costs[i]).any(axis=1)
    return bool((no_worse & better).any())
