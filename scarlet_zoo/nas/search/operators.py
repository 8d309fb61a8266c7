"""Operators of pymoo's NSGA-II on architectures: sampling, crossover, mutation and elimination of duplicates.

The encoding of an architecture is a row of integers: the position of each decision (a layer's token, a branch on or
off) among the options that the space allows.
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

Encoded = NDArray[np.int64]
Random = np.random.Generator


class Encoding:
    """Encodes architectures of a space as rows of integers, and decodes them.

    Attributes:
        sizes: number of options of each decision.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.sizes = np.array([len(allowed) for allowed in space.decisions])

    def encode(self, arch: Arch) -> Encoded:
        """Encode an architecture: the position of each of its decisions, (decisions,)."""
        pairs = zip(self.space.decisions, arch.decisions, strict=True)
        return np.array([allowed.index(token) for allowed, token in pairs], dtype=np.int64)

    def arch(self, encoded: Encoded) -> Arch:
        """Decode a row of integers into its architecture."""
        return Arch.of(self.space, (allowed[int(g)] for allowed, g in zip(self.space.decisions, encoded, strict=True)))

    def draw(self, random: Random) -> Encoded:
        """Draw the encoding of a random architecture, each decision uniformly."""
        return random.integers(self.sizes)


class ArchSampling(Sampling):  # type: ignore[misc]
    """Samples the first population: different architectures that satisfy the limits, uniformly.

    Args:
        encoding: encoding of the space.
        accept: whether an architecture satisfies the limits on closed-form metrics.
        max_tries: draws for each place in the population before giving up.
    """

    def __init__(self, encoding: Encoding, accept: Callable[[Arch], bool], max_tries: int) -> None:
        super().__init__()
        self.encoding, self.accept, self.max_tries = encoding, accept, max_tries

    def _do(self, problem: Any, n_samples: int, *args: Any, random_state: Random, **kwargs: Any) -> Encoded:
        rows: dict[tuple[int, ...], Encoded] = {}
        for _ in range(n_samples * self.max_tries):
            encoded = self.encoding.draw(random_state)
            if self.accept(self.encoding.arch(encoded)):
                rows.setdefault(tuple(encoded.tolist()), encoded)
            if len(rows) == n_samples:
                break
        if not rows:
            tries = n_samples * self.max_tries
            raise TrainingError(f"search: none of {tries} random architectures satisfies the limits, wanted wider ones")
        return np.stack(list(rows.values()))


class ArchCrossover(Crossover):  # type: ignore[misc]
    """Uniform crossover: one child takes each decision from a random parent, the other child from the other parent."""

    def __init__(self) -> None:
        super().__init__(2, 2, prob=0.9)

    def _do(self, problem: Any, X: Encoded, *args: Any, random_state: Random, **kwargs: Any) -> Encoded:  # noqa: N803
        heads = random_state.random(X.shape[1:]) < 0.5
        return np.stack([np.where(heads, X[0], X[1]), np.where(heads, X[1], X[0])])


class ArchMutation(Mutation):  # type: ignore[misc]
    """Mutations of MoreMNAS and FairNAS: random, guided by the learned policy, or by counts on the front.

    Args:
        encoding: encoding of the space.
        policy: mutation policy that the search updates.
        share: share of the children that are mutated (0.8 in FairNAS's pipeline, recalled).
        kinds: shares of random, guided and prior mutations (0.2, 0.65, 0.15 there, recalled).
    """

    def __init__(self, encoding: Encoding, policy: MutationPolicy, share: float, kinds: Sequence[float]) -> None:
        super().__init__(prob=share)
        self.encoding, self.policy = encoding, policy
        self.kinds = np.asarray(kinds, dtype=np.float64) / sum(kinds)

    def _do(self, problem: Any, X: Encoded, *args: Any, random_state: Random, **kwargs: Any) -> Encoded:  # noqa: N803
        mutated = X.copy()
        for row in mutated:
            kind = random_state.choice(3, p=self.kinds)
            layers = np.flatnonzero(random_state.random(len(row)) < 1 / len(row))
            # At least one layer is drawn again, or the child would equal its parent.
            for layer in layers if len(layers) else [random_state.integers(len(row))]:
                row[layer] = random_state.choice(self.encoding.sizes[layer], p=self.policy.shares(kind, layer))
        return mutated


class OnlyNew(DuplicateElimination):  # type: ignore[misc]
    """Eliminates children that were evaluated before, are duplicates of others, or break the limits."""

    def __init__(self, encoding: Encoding, accept: Callable[[Arch], bool]) -> None:
        super().__init__()
        self.encoding, self.accept = encoding, accept
        self.seen: set[tuple[int, ...]] = set()

    def do(self, pop: Any, *others: Any, **kwargs: Any) -> Any:
        """Return the individuals that remain."""
        known = set(self.seen)
        for other in others:
            known |= {tuple(encoded) for encoded in other.get("X").tolist()} if len(other) else set()
        remaining = []
        for individual in pop:
            key = tuple(individual.get("X").tolist())
            if key not in known and self.accept(self.encoding.arch(individual.get("X"))):
                known.add(key)
                remaining.append(individual)
        return Population.create(*remaining)


def weighted_crowding(F: NDArray[np.float64], weights: NDArray[np.float64], **_: Any) -> NDArray[np.float64]:  # noqa: N803
    """Compute SCARLET's crowding distance of the points of one front (recalled from section 4).

    D_i = sum_j w_j (f_j(next) - f_j(previous)) / (max f_j - min f_j) with sum w_j = 1, where next and
    previous are the neighbours of i in objective j; the ends of each objective have an infinite
    distance. With equal weights it is the crowding distance of NSGA-II.

    Args:
        F: costs, (points, objectives).
        weights: weights of the objectives, (objectives,).
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
