"""Choose the basis of each region so that its stabilizers become identities: the algebra, on matrices alone.

Regions r_0 .. r_n of a chain are tied by stabilizers, x_i = S_i x_{i-1}. With a basis T_i for each
region (x'_i = T_i x_i) a stabilizer becomes T_i S_i T_{i-1}^-1, which is the identity if
T_{i-1} = T_i S_i. Choosing one region k of a run as the *pivot*, T_k = I, gives

    T_j = S_k ... S_{j+1}           for j < k  (folded backward, into what writes r_j)
    T_j = (S_j ... S_{k+1})^-1      for j > k  (folded forward, into what reads r_j)

Writers take T_j W, readers R T_j^-1, so an inverse is needed for j < k only if r_j has readers,
and for j > k only if it has writers. A stabilizer that remains splits the chain into two runs. It
reads the region before it and writes the region after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from scarlet_zoo.folding.regions import Chain


@dataclass(frozen=True)
class Basis:
    """The matrices that change one region, each (C, C): ``write`` is T, ``read`` is T^-1; None where not needed."""

    write: Tensor | None
    read: Tensor | None


@dataclass(frozen=True)
class Plan:
    """A basis for each region, and the stabilizers that remain.

    Attributes:
        bases: the new basis of each region; None where it stays unchanged.
        remaining: indices of the sites whose stabilizers are not folded.
        condition: largest condition number among the inverted matrices, 1 if no matrix is inverted.
        inverts: whether any matrix is inverted.
        pivots: pivot region of each site's run; None where the stabilizer remains.
    """

    bases: tuple[Basis | None, ...]
    remaining: frozenset[int]
    condition: float
    inverts: bool
    pivots: tuple[int | None, ...]


def condition_number(matrix: Tensor) -> float:
    """Condition number of a matrix in the 2-norm; infinite for a singular matrix."""
    values = torch.linalg.svdvals(matrix)
    smallest = float(values[-1])
    return float(values[0]) / smallest if smallest > 0 else math.inf


class Planner:
    """Make the plans for one chain, from all stabilizers folded to all remaining.

    Args:
        chain: the regions and the sites between them.
        matrices: the stabilizers S_1 .. S_n in float64, each (C, C).
    """

    def __init__(self, chain: Chain, matrices: Sequence[Tensor]) -> None:
        self.chain = chain
        self.matrices = list(matrices)
        self._conditions: dict[tuple[int, int], float] = {}

    def plans(self) -> Iterator[Plan]:
        """Yield the best plan for each number of remaining stabilizers, fewest first.

        The best plan has the smallest largest condition number. A stabilizer that can be folded without
        an inverse remains only when all stabilizers that need an inverse remain.
        """
        sites = range(len(self.matrices))
        costly = [i for i in sites if not self._has_free_route(i)]
        for count in range(len(self.matrices) + 1):
            pool = costly if count <= len(costly) else list(sites)
            candidates = (self._plan(frozenset(remaining)) for remaining in combinations(pool, count))
            best = min((plan for plan in candidates if plan), key=lambda plan: plan.condition, default=None)
            if best is not None:
                yield best

    def _has_free_route(self, site: int) -> bool:
        before, after = self.chain.regions[site], self.chain.regions[site + 1]
        return (not before.pinned and not before.readers) or (not after.pinned and not after.writers)

    def _plan(self, remaining: frozenset[int]) -> Plan | None:
        """The plan with the cheapest pivots for these remaining sites; None if a run has two pinned regions."""
        bases: list[Basis | None] = [None] * len(self.chain.regions)
        pivots: list[int | None] = [None] * len(self.matrices)
        worst, inverts = 1.0, False
        for first, last in self._runs(remaining):
            pinned = [j for j in range(first, last + 1) if self.chain.regions[j].pinned]
            if len(pinned) > 1:
                return None
            options = {k: self._price(first, k, last, remaining) for k in pinned or range(first, last + 1)}
            pivot = min(options, key=lambda k: options[k])
            needs_inverse, condition = options[pivot]
            worst, inverts = max(worst, condition), inverts or needs_inverse
            for j in range(first, last + 1):
                bases[j] = self._basis(pivot, j, remaining) if j != pivot else None
            for site in range(first, last):
                pivots[site] = pivot
        return Plan(tuple(bases), remaining, worst, inverts, tuple(pivots))

    def _runs(self, remaining: frozenset[int]) -> Iterator[tuple[int, int]]:
        """Yield the first and last region of each run, a stretch without a remaining stabilizer."""
        first = 0
        for site in range(len(self.matrices)):
            if site in remaining:
                yield first, site
                first = site + 1
        yield first, len(self.matrices)

    def _price(self, first: int, pivot: int, last: int, remaining: frozenset[int]) -> tuple[bool, float]:
        """Whether this pivot needs an inverse, and the largest condition number of the inverted matrices."""
        inverted = [
            self._condition(j, pivot)
            for j in range(first, last + 1)
            if j != pivot and self._needs_inverse(j, pivot, remaining)
        ]
        return bool(inverted), max(inverted, default=1.0)

    def _needs_inverse(self, j: int, pivot: int, remaining: frozenset[int]) -> bool:
        region = self.chain.regions[j]
        if j < pivot:
            return bool(region.readers) or j in remaining
        return bool(region.writers) or j - 1 in remaining

    def _product(self, j: int, pivot: int) -> Tensor:
        """S_high ... S_low+1 between two regions; S_i ties region i - 1 to region i."""
        low, high = min(j, pivot), max(j, pivot)
        product = self.matrices[low]
        for i in range(low + 1, high):
            product = self.matrices[i] @ product
        return product

    def _condition(self, j: int, pivot: int) -> float:
        key = (min(j, pivot), max(j, pivot))
        if key not in self._conditions:
            self._conditions[key] = condition_number(self._product(j, pivot))
        return self._conditions[key]

    def _basis(self, pivot: int, j: int, remaining: frozenset[int]) -> Basis:
        product = self._product(j, pivot)
        inverse = None
        if self._needs_inverse(j, pivot, remaining):
            singular = math.isinf(self._condition(j, pivot))
            inverse = torch.linalg.pinv(product) if singular else torch.linalg.inv(product)
        return Basis(write=product, read=inverse) if j < pivot else Basis(write=inverse, read=product)
