"""Metrics, objectives and limits of a search."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
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
    "loss": ("nats", False),
    "score": ("the strategy's", True),
    "macs": ("multiply-adds", False),
    "params": ("parameters", False),
    "latency": ("ms", False),
}
_LARGEST = 1e18  # weight or bound
_MOST_DIGITS = 300  # after the point
# Computed from the architecture alone, in microseconds.
CLOSED_FORM = ("macs", "params")
# Measured with the weights of a supernet.
SCORED = frozenset({"accuracy", "loss", "score"})
_COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
# The units that a limit may be written in, as multiples of the metric's own.
_UNITS: Mapping[str, Mapping[str, float]] = {
    "accuracy": {"": 1.0, "%": 1.0},
    "loss": {"": 1.0},
    "score": {"": 1.0},
    "macs": _COUNTS,
    "params": _COUNTS,
    "latency": {"": 1.0, "ms": 1.0, "us": 1e-3, "\N{MICRO SIGN}s": 1e-3, "s": 1e3},
}
# How limits and objectives are described, for help texts and errors.
LIMITS = (
    "macs<=5M (or 5e6, multiply-adds), params<=1.2M (parameters), latency<=5ms (or 5, milliseconds), accuracy>=90% "
    "(or 90, percent top-1), loss<=0.5 (cross-entropy) and score>=0.5 (the strategy's); each with <= or >="
)
OBJECTIVES = (
    "accuracy (percent top-1), loss (cross-entropy of the validation images), score (the strategy's), macs "
    "(multiply-adds), params (parameters), latency (milliseconds)"
)


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
        found = re.fullmatch(r"(\w+)(?::(max|min))?(?:\*(\d+(?:\.\d*)?))?", text.strip())
        if not found or found[1] not in METRICS:
            raise TrainingError(f"objective {text!r}: wanted one of {OBJECTIVES}, such as params:max*0.2")
        maximise = found[2] == "max" if found[2] else METRICS[found[1]][1]
        weight = float(found[3]) if found[3] else 1.0
        if not 0 < weight <= _LARGEST:
            raise TrainingError(f"objective {text!r}: got weight {weight}, wanted more than 0 and at most {_LARGEST:g}")
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
        """Parse ``name<=number`` or ``name>=number``, with a unit or not: ``macs<=5M``, ``latency<=5ms``.

        Raises:
            TrainingError: the text has another form, or names an unknown metric or a unit of another one.
        """
        found = re.fullmatch(r"(\w+)\s*(<=|>=)\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*([^\W\d_]*|%)", text.strip())
        if not found or found[1] not in METRICS or found[4].lower() not in _UNITS[found[1]]:
            raise TrainingError(f"limit {text!r}: wanted one of {LIMITS}")
        bound = float(found[3]) * _UNITS[found[1]][found[4].lower()]
        if bound > _LARGEST:
            raise TrainingError(f"limit {text!r}: got the bound {bound:g}, wanted at most {_LARGEST:g}")
        return cls(found[1], found[2] == "<=", bound)

    def excess(self, values: Values) -> float:
        """Return how far the values exceed the limit, relative to the bound; at most 0 where the limit is satisfied."""
        over = values[self.name] - self.bound
        return (over if self.at_most else -over) / max(abs(self.bound), 1e-12)

    @property
    def told(self) -> str:
        """The limit with its unit, for messages."""
        return f"{self.name}{'<=' if self.at_most else '>='}{shown(self.name, self.bound, up=self.at_most)}"

    def __str__(self) -> str:
        return f"{self.name}{'<=' if self.at_most else '>='}{self.bound:g}"


def shown(name: str, value: float, *, up: bool = False) -> str:
    """Return the value of a metric with its unit, as people read it.

    Args:
        name: one of :data:`METRICS`.
        value: the value.
        up: whether a value that is rounded is rounded up, so that a limit of the shown value can be kept.
    """
    if name in CLOSED_FORM:
        return f"{value:,.0f}"
    digits = min(4 - math.ceil(math.log10(abs(value))), _MOST_DIGITS) if value else 0
    rounded = (math.ceil if up else math.floor)(round(value * 10**digits, 6)) / 10**digits
    unit = {"accuracy": " %", "latency": " ms"}.get(name, "")
    return f"{rounded:.6g}{unit}"


def closed_form(arch: Arch) -> dict[str, float]:
    """Return the multiply-adds and parameters of an architecture, from the cost table of its space."""
    params, macs = cost_table(arch.space).params_and_macs(arch)
    return {"macs": float(macs), "params": float(params)}


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
