"""Metrics, objectives and limits of a search."""

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

# Name to (unit, whether more is better by default).
METRICS: Mapping[str, tuple[str, bool]] = {
    "accuracy": ("% top-1", True),
    "score": ("the strategy's", True),
    "macs": ("multiply-adds", False),
    "params": ("parameters", False),
    "latency": ("ms", False),
}
# Computed from the architecture alone, in microseconds.
CLOSED_FORM = ("macs", "params")


@dataclass(frozen=True)
class Objective:
    """A metric to maximise or to minimise.

    Attributes:
        name: one of :data:`METRICS`.
        maximise: whether more is better.
        weight: weight in SCARLET's crowding distance; only the ratios of weights matter.
    """

    name: str
    maximise: bool
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Parse ``name``, ``name:max`` or ``name:min``, optionally followed by ``*weight``.

        Raises:
            TrainingError: the text has another form, or names an unknown metric.
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
        """Return the value of the metric, negated if it is maximised, so that less is better."""
        return -values[self.name] if self.maximise else values[self.name]

    def __str__(self) -> str:
        return f"{self.name}:{'max' if self.maximise else 'min'}*{self.weight:g}"


@dataclass(frozen=True)
class Limit:
    """A bound that every architecture must satisfy: ``name <= bound`` or ``name >= bound``."""

    name: str
    at_most: bool
    bound: float

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Parse ``name<=number`` or ``name>=number``.

        Raises:
            TrainingError: the text has another form, or names an unknown metric.
        """
        found = re.fullmatch(r"(\w+)\s*(<=|>=)\s*(\d+\.?\d*(?:[eE][+-]?\d+)?)", text.strip())
        if not found or found[1] not in METRICS:
            raise TrainingError(f"limit {text!r}: wanted one of {' '.join(METRICS)}, such as macs<=5e6")
        return cls(found[1], found[2] == "<=", float(found[3]))

    def excess(self, values: Values) -> float:
        """Return how far the values exceed the limit, relative to the bound; at most 0 where the limit is satisfied."""
        over = values[self.name] - self.bound
        return (over if self.at_most else -over) / max(abs(self.bound), 1e-12)

    def __str__(self) -> str:
        return f"{self.name}{'<=' if self.at_most else '>='}{self.bound:g}"


def closed_form(arch: Arch) -> dict[str, float]:
    """Return the multiply-adds and parameters of an architecture, from the cost table of its space."""
    params, macs = cost_table(arch.space).params_and_macs(arch)
    return {"macs": float(macs), "params": float(params)}


def allowed(arch: Arch, limits: Iterable[Limit]) -> bool:
    """Whether an architecture satisfies the limits on closed-form metrics; other limits are ignored."""
    closed = [limit for limit in limits if limit.name in CLOSED_FORM]
    values = closed_form(arch) if closed else {}
    return all(limit.excess(values) <= 0 for limit in closed)


def non_dominated(rows: Sequence[Values], objectives: Sequence[Objective]) -> list[int]:
    """Return the positions of the rows that no other row dominates.

    A row dominates another if it is at least as good in all objectives and better in one.
    """
    costs = np.array([[objective.cost(row) for objective in objectives] for row in rows], dtype=np.float64)
    return [i for i in range(len(costs)) if not _is_dominated(costs, i)]


def _is_dominated(costs: NDArray[np.float64], i: int) -> bool:
    no_worse = (costs <= costs[i]).all(axis=1)
    better = (costs < costs[i]).any(axis=1)
    return bool((no_worse & better).any())
