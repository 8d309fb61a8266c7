"""Operators of pymoo's NSGA-II on encoded architectures: sampling, crossover, mutation, elimination of duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.sampling import Sampling

from scarlet_zoo.nas.search.encoding import Encoded, Encoding
from scarlet_zoo.nas.search.mutation_policy import MutationPolicy
from scarlet_zoo.nas.search.reach import Reach

Random = np.random.Generator


class ArchSampling(Sampling):  # type: ignore[misc]
    """Samples the first population: different architectures that keep the limits, uniformly where that finds enough.

    Args:
        encoding: encoding of the space.
        reach: the limits.
        max_tries: draws for each place in the population before it is completed from the extreme architectures on.
    """

    def __init__(self, encoding: Encoding, reach: Reach, max_tries: int) -> None:
        super().__init__()
        self.encoding, self.reach, self.max_tries = encoding, reach, max_tries

    def _do(self, problem: Any, n_samples: int, *args: Any, random_state: Random, **kwargs: Any) -> Encoded:
        rows: dict[tuple[int, ...], Encoded] = {}
        for _ in range(n_samples * self.max_tries):
            encoded = self.encoding.draw(random_state)
            if self.reach.keeps(encoded):
                rows.setdefault(tuple(encoded.tolist()), encoded)
            if len(rows) == n_samples:
                break
        self.reach.complete(rows, n_samples, random_state)
        if not rows:
            raise self.reach.unreached()
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

    def __init__(self, reach: Reach) -> None:
        super().__init__()
        self.reach = reach
        self.seen: set[tuple[int, ...]] = set()

    def do(self, pop: Any, *others: Any, **kwargs: Any) -> Any:
        """Return the individuals that remain."""
        known = set(self.seen)
        for other in others:
            known |= {tuple(encoded) for encoded in other.get("X").tolist()} if len(other) else set()
        remaining = []
        for individual in pop:
            key = tuple(individual.get("X").tolist())
            if key not in known and self.reach.keeps(individual.get("X")):
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
