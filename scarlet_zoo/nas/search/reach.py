"""What limits leave of a space: the least and the largest value that is possible, and architectures that keep them.

Multiply-adds and parameters add up over the decisions of an architecture, and so does the latency that a table
predicts. So the extreme of one metric takes the extreme of each decision. Whether several limits can be kept at once
is judged by weak duality: if a weighted sum of the limits' excesses is positive for every architecture, no
architecture keeps all of them. A space in which no weights show this may still have none.
"""

from __future__ import annotations

import warnings
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import cost_table
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import ScarletWarning, TrainingError
from scarlet_zoo.measurement.lut.table import LatencyTable
from scarlet_zoo.nas.search.encoding import Encoded, Encoding
from scarlet_zoo.nas.search.objectives import Limit, shown

Rows = list[NDArray[np.float64]]
_WEIGHTINGS, _THIRDS = 50, 60
_TRIES = 50  # for each place in a population
_COSTS = ("params", "macs")  # in the order of the cost table
# Sums of floating point numbers that are equal on paper differ by this much.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Additive:
    """A limit on a metric that is a sum over decisions, turned so that an excess above 0 breaks it.

    Attributes:
        limit: the limit.
        base: excess of the architecture whose decisions all add nothing, in shares of the bound.
        rows: for each decision what each of its options adds, in shares of the bound.
    """

    limit: Limit
    base: float
    rows: Rows

    @classmethod
    def of(cls, limit: Limit, base: float, rows: Rows) -> Additive:
        """Turn a sum of ``base`` and one value of each row into excesses over a limit."""
        scale = (1.0 if limit.at_most else -1.0) / max(abs(limit.bound), 1e-12)
        return cls(limit, (base - limit.bound) * scale, [row * scale for row in rows])

    def excess(self, encoded: Encoded) -> float:
        """How far an encoded architecture exceeds the limit; at most 0 where it keeps it."""
        total = self.base + sum(row[option] for row, option in zip(self.rows, encoded, strict=True))
        return 0.0 if abs(total) <= _ROUNDING else float(total)

    @property
    def extreme(self) -> Encoded:
        """The architecture that keeps the limit by most: of equal options, the first."""
        return np.array([int(row.argmin()) for row in self.rows], dtype=np.int64)

    @property
    def opposite(self) -> Encoded:
        """The architecture that keeps the limit by least: of equal options, the first."""
        return np.array([int(row.argmax()) for row in self.rows], dtype=np.int64)

    def value(self, encoded: Encoded) -> float:
        """The metric of an encoded architecture."""
        total = self.base + sum(row[option] for row, option in zip(self.rows, encoded, strict=True))
        return float(self.limit.bound + total * max(abs(self.limit.bound), 1e-12) * (1 if self.limit.at_most else -1))


@dataclass(frozen=True)
class Reach:
    """The limits of a search on the metrics that add up over decisions, and the architectures that keep them.

    Attributes:
        space: the search space.
        limits: all limits of the search.
        table: the latency table that predicts latency; without one the latency is measured and adds up over nothing.
    """

    space: SearchSpace
    limits: Sequence[Limit]
    table: LatencyTable | None = None

    @cached_property
    def encoding(self) -> Encoding:
        """The encoding of the space's architectures."""
        return Encoding(self.space)

    @cached_property
    def additive(self) -> tuple[Additive, ...]:
        """The limits whose metric is a sum over decisions."""
        found = [(limit, self._sum(limit.name)) for limit in self.limits]
        return tuple(Additive.of(limit, *parts) for limit, parts in found if parts is not None)

    def _sum(self, metric: str) -> tuple[float, Rows] | None:
        """The base and the rows of a metric, None if it is no sum over decisions."""
        if metric == "latency" and self.table is not None:
            return self.table.parts_ms()
        if metric not in _COSTS:
            return None
        table, place = cost_table(self.space), _COSTS.index(metric)
        first = self.encoding.arch(np.zeros(len(self.encoding.sizes), dtype=np.int64))
        return float(table.params_and_macs(first)[place]), [
            np.array([row[token][place] for token in tokens], dtype=np.float64)
            for row, tokens in zip(table.rows, self.space.decisions, strict=True)
        ]

    def accepts(self, arch: Arch) -> bool:
        """Whether an architecture keeps these limits; other limits are known only after an evaluation."""
        return not self.additive or self.keeps(self.encoding.encode(arch))

    def keeps(self, encoded: Encoded) -> bool:
        """Whether an encoded architecture keeps these limits."""
        return all(limit.excess(encoded) <= 0 for limit in self.additive)

    def check(self) -> None:
        """Refuse limits that no architecture of the space keeps.

        Raises:
            TrainingError: one limit is impossible, or several are together; the message has the extreme values and
                their architectures.
        """
        for one in self.additive:
            if one.excess(one.extreme) > 0:
                raise TrainingError(
                    f"search: no architecture of {self.space.name} satisfies {one.limit.told}, {self.extremes([one])}; "
                    "wanted a wider limit"
                )
        if len(self.additive) > 1 and self._duals[0] > _ROUNDING:
            limits = " and ".join(one.limit.told for one in self.additive)
            raise TrainingError(
                f"search: no architecture of {self.space.name} satisfies {limits} together, although each of them is "
                f"possible, {self.extremes(self.additive)}; wanted wider limits"
            )

    def idle(self) -> tuple[str, ...]:
        """The limits that every architecture of the space keeps, a sentence each."""
        told = []
        for one in self.additive:
            if one.excess(one.opposite) <= 0:
                kind, edge = ("largest", "below") if one.limit.at_most else ("least", "above")
                value = shown(one.limit.name, one.value(one.opposite), up=one.limit.at_most)
                told.append(f"the limit {one.limit.told} excludes nothing: the {kind} {one.limit.name} in "
                            f"{self.space.name} is {value}; a limit {edge} that would")  # fmt: skip
        return tuple(told)

    def unreached(self) -> TrainingError:
        """Return the error for limits that nobody has shown to be impossible, and that no draw has kept."""
        limits = " and ".join(limit.told for limit in self.limits)
        return TrainingError(
            f"search: found no architecture of {self.space.name} that satisfies {limits} together; "
            f"{self.extremes(self.additive)}; wanted wider limits"
        )

    def extremes(self, limits: Sequence[Additive]) -> str:
        """The extreme value that is possible under each limit, with its architecture, in words."""
        return ", ".join(
            f"the {'least' if one.limit.at_most else 'largest'} possible {one.limit.name} is "
            f"{shown(one.limit.name, one.value(one.extreme), up=one.limit.at_most)} "
            f"({self.encoding.arch(one.extreme)})"
            for one in limits
        )

    @cached_property
    def _duals(self) -> tuple[float, list[Encoded]]:
        """The largest least weighted excess over all weights tried, and the architectures that have the least ones."""
        count, found = len(self.additive), list[tuple[float, Encoded]]()
        for weights in (*np.eye(count), *np.random.default_rng(0).dirichlet(np.ones(count), _WEIGHTINGS)):
            found.append(self._least_weighted(weights))
        for one, other in combinations(np.eye(count), 2):
            # The least weighted excess is a concave function of the weight, so thirds close in on its largest value.
            low, high = 0.0, 1.0
            for _ in range(_THIRDS):
                left, right = low + (high - low) / 3, high - (high - low) / 3
                pair = [self._least_weighted(share * one + (1 - share) * other) for share in (left, right)]
                found += pair
                low, high = (left, high) if pair[0][0] < pair[1][0] else (low, right)
        return max(excess for excess, _ in found), [encoded for _, encoded in found]

    def _least_weighted(self, weights: NDArray[np.float64]) -> tuple[float, Encoded]:
        """The least weighted sum of the excesses, and the architecture that has it."""
        base = sum(weight * one.base for weight, one in zip(weights, self.additive, strict=True))
        rows = [sum(weight * row for weight, row in zip(weights, parts, strict=True))
                for parts in zip(*(one.rows for one in self.additive), strict=True)]  # fmt: skip
        encoded = np.array([int(np.argmin(row)) for row in rows], dtype=np.int64)
        return float(base + sum(np.min(row) for row in rows)), encoded

    def complete(self, rows: dict[tuple[int, ...], Encoded], count: int, random: np.random.Generator,
                 known: Container[tuple[int, ...]] = (), *, tell: bool = True) -> None:  # fmt: skip
        """Complete a population that random draws could not fill, from the extreme architectures on.

        Args:
            rows: the encoded architectures by their decisions; those that are found are added.
            count: how many are wanted; there are fewer if no more are found.
            random: random generator.
            known: decisions of the architectures that must not be added.
            tell: whether a warning says so, with the extreme values that are possible.
        """
        if not self.additive or len(rows) >= count:
            return
        if tell:
            limits = ", ".join(one.limit.told for one in self.additive)
            warnings.warn(
                f"search: random draws found {len(rows)} of {count} architectures that satisfy {limits}; "
                f"{self.extremes(self.additive)}, so the first population starts from there",
                ScarletWarning,
                stacklevel=2,
            )
        for encoded in islice(self._draws(random), _TRIES * count):
            key = tuple(encoded.tolist())
            if key not in known and self.keeps(encoded):
                rows.setdefault(key, encoded)
            if len(rows) == count:
                return

    def _draws(self, random: np.random.Generator) -> Iterator[Encoded]:
        """Yield encoded architectures, the extreme ones first, without end; most keep the limits, and they may repeat.

        Decisions are made in random order, each among the options after which every limit can still be kept. With one
        limit every draw succeeds. With several, a draw may end in none; then one that was found before is changed in
        one decision.
        """
        found = [row for row in self._duals[1] if self.keeps(row)]
        yield from found
        while True:
            row = self._descend(random)
            if row is None:
                row = (found[int(random.integers(len(found)))] if found else self._duals[1][0]).copy()
                place = int(random.integers(len(row)))
                row[place] = random.integers(self.encoding.sizes[place])
            elif len(self.additive) > 1:
                found.append(row)
            yield row

    def _descend(self, random: np.random.Generator) -> Encoded | None:
        """One architecture by decisions in random order, None where no option leaves every limit possible."""
        room = [-(one.base + sum(row.min() for row in one.rows)) + _ROUNDING for one in self.additive]
        encoded = np.zeros(len(self.encoding.sizes), dtype=np.int64)
        for place in random.permutation(len(encoded)):
            more = [one.rows[place] - one.rows[place].min() for one in self.additive]
            fits = np.all([extra <= left for extra, left in zip(more, room, strict=True)], axis=0)
            options = np.flatnonzero(fits)
            if not len(options):
                return None
            encoded[place] = random.choice(options)
            room = [left - extra[encoded[place]] for extra, left in zip(more, room, strict=True)]
        return encoded
