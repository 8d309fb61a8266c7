"""Architectures under pymoo's NSGA-II: how they are drawn, crossed, mutated, and kept apart.

A genotype is a row of integers, the position of each decision among those that the space allows: a
layer's token, a branch on or off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.sampling import Sampling

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.nas.search.mutation_policy import MutationPolicy

Genes = NDArray[np.int64]
Random = np.random.Generator


class Encoding:
    """Architectures of a space as rows of integers."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.sizes = np.array([len(allowed) for allowed in space.decisions])

    def genes(self, arch: Arch) -> Genes:
        """Positions of an architecture's decisions."""
        pairs = zip(self.space.decisions, arch.decisions, strict=True)
        return np.array([allowed.index(token) for allowed, token in pairs], dtype=np.int64)

    def arch(self, genes: Genes) -> Arch:
        """The architecture of a row."""
        return Arch.of(self.space, (allowed[int(g)] for allowed, g in zip(self.space.decisions, genes, strict=True)))

    def draw(self, random: Random) -> Genes:
        """Each decision uniformly."""
        return random.integers(self.sizes)


class ArchSampling(Sampling):  # type: ignore[misc]
    """The first population: different architectures that keep the limits, uniformly.

    Args:
        coding: of the space.
        accept: whether an architecture keeps the limits that can be told beforehand.
        max_tries: draws for each place before giving up.
    """

    def __init__(self, coding: Encoding, accept: Callable[[Arch], bool], max_tries: int) -> None:
        super().__init__()
        self.coding, self.accept, self.max_tries = coding, accept, max_tries

    def _do(self, problem: Any, n_samples: int, *args: Any, random_state: Random, **kwargs: Any) -> Genes:
        rows: dict[tuple[int, ...], Genes] = {}
        for _ in range(n_samples * self.max_tries):
            genes = self.coding.draw(random_state)
            if self.accept(self.coding.arch(genes)):
                rows.setdefault(tuple(genes.tolist()), genes)
            if len(rows) == n_samples:
                break
        if not rows:
            tries = n_samples * self.max_tries
            raise TrainingError(f"search: none of {tries} random architectures keeps the limits, wanted wider ones")
        return np.stack(list(rows.values()))


class ArchCrossover(Crossover):  # type: ignore[misc]
    """Two children of two parents: a fair coin for each decision, and what it leaves."""

    def __init__(self) -> None:
        super().__init__(2, 2, prob=0.9)

    def _do(self, problem: Any, X: Genes, *args: Any, random_state: Random, **kwargs: Any) -> Genes:  # noqa: N803
        heads = random_state.random(X.shape[1:]) < 0.5
        return np.stack([np.where(heads, X[0], X[1]), np.where(heads, X[1], X[0])])


class ArchMutation(Mutation):  # type: ignore[misc]
    """Mutations of MoreMNAS and FairNAS: random, guided by what scored well, or by what the front holds.

    Args:
        coding: of the space.
        guide: what the search has learned so far.
        share: of the children that are mutated (0.8 in FairNAS's pipeline, recalled).
        kinds: shares of random, guided and prior mutations (0.2, 0.65, 0.15 there, recalled).
    """

    def __init__(self, coding: Encoding, guide: MutationPolicy, share: float, kinds: Sequence[float]) -> None:
        super().__init__(prob=share)
        self.coding, self.guide = coding, guide
        self.kinds = np.asarray(kinds, dtype=np.float64) / sum(kinds)

    def _do(self, problem: Any, X: Genes, *args: Any, random_state: Random, **kwargs: Any) -> Genes:  # noqa: N803
        mutated = X.copy()
        for row in mutated:
            kind = random_state.choice(3, p=self.kinds)
            layers = np.flatnonzero(random_state.random(len(row)) < 1 / len(row))
            # At least one layer, or nothing would be new.
            for layer in layers if len(layers) else [random_state.integers(len(row))]:
                row[layer] = random_state.choice(self.coding.sizes[layer], p=self.guide.shares(kind, layer))
        return mutated


class OnlyNew(DuplicateElimination):  # type: ignore[misc]
    """Keeps children that were never evaluated before, are not twice among themselves, and keep the limits."""

    def __init__(self, coding: Encoding, accept: Callable[[Arch], bool]) -> None:
        super().__init__()
        self.coding, self.accept = coding, accept
        self.seen: set[tuple[int, ...]] = set()

    def do(self, pop: Any, *others: Any, **kwargs: Any) -> Any:
        """The individuals to keep."""
        known = set(self.seen)
        for other in others:
            known |= {tuple(genes) for genes in other.get("X").tolist()} if len(other) else set()
        kept = []
        for individual in pop:
            key = tuple(individual.get("X").tolist())
            if key not in known and self.accept(self.coding.arch(individual.get("X"))):
                known.add(key)
                kept.append(individual)
        return Population.create(*kept)


def weighted_crowding(F: NDArray[np.float64], weights: NDArray[np.float64], **_: Any) -> NDArray[np.float64]:  # noqa: N803
    """SCARLET's crowding distance of the points of one front (recalled from section 4).

    D_i = sum_j w_j (f_j(next) - f_j(previous)) / (max f_j - min f_j) with sum w_j = 1, where next and
    previous are the neighbours of i in objective j; the ends of each objective have an infinite
    distance. With equal weights it is NSGA-II's.

    Args:
        F: costs (points, objectives).
        weights: of the objectives.
    """
    distance = np.zeros(len(F))
    for values, weight in zip(F.T, weights / weights.sum(), strict=True):
        order = np.argsort(values, kind="stable")
        ranked = values[order]
        span = ranked[-1] - ranked[0]
        gaps = np.full(len(F), np.inf)
        gaps[1:-1] = (ranked[2:] - ranked[:-2]) / span if span > 0 else 0.0
        distance[order] += weight * gaps
    return distance
