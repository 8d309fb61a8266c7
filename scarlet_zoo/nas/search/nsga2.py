"""pymoo's NSGA-II over architectures, with SCARLET's weighted crowding distance and mutations (section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.evaluator import Evaluator
from pymoo.core.problem import Problem
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding
from pymoo.problems.static import StaticProblem
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.mutation_policy import MutationPolicy
from scarlet_zoo.nas.search.objectives import Values
from scarlet_zoo.nas.search.operators import (
    ArchCrossover,
    ArchMutation,
    ArchSampling,
    OnlyNew,
    weighted_crowding,
)
from scarlet_zoo.nas.search.reach import Reach
from scarlet_zoo.nas.search.settings import Generation, SearchSettings


def nsga2_generations(evaluation: Evaluation, settings: SearchSettings) -> Iterator[Generation]:
    """Yield the generations of pymoo's NSGA-II, each with the function that takes its values."""
    reach = Reach(evaluation.space, settings.bounds, evaluation.table)
    encoding = reach.encoding
    policy = MutationPolicy(encoding.sizes)
    only_new = OnlyNew(reach)
    algorithm, problem = _algorithm(reach, policy, only_new, settings)
    left = settings.evaluations
    encoded_seen: list[NDArray[np.int64]] = []
    values_seen: list[Values] = []
    while left > 0:
        children = algorithm.ask()
        if children is None or not len(children):
            return
        children = children[:left]
        left -= len(children)
        encoded = children.get("X")
        only_new.seen |= {tuple(row) for row in encoded.tolist()}

        def tell(values: list[Values], children: Any = children, encoded: NDArray[np.int64] = encoded) -> None:
            costs = np.array([[objective.cost(value) for objective in settings.goals] for value in values])
            over = np.array([[limit.excess(value) for limit in settings.bounds] for value in values])
            results = {"F": costs} | ({"G": over} if settings.bounds else {})
            Evaluator().eval(StaticProblem(problem, **results), children)
            algorithm.tell(infills=children)
            encoded_seen.extend(encoded)
            values_seen.extend(values)
            _learn(policy, np.array(encoded_seen), values_seen, len(encoded), settings)

        yield [encoding.arch(row) for row in encoded], tell


def _algorithm(reach: Reach, policy: MutationPolicy, only_new: OnlyNew, settings: SearchSettings) -> tuple[Any, Any]:
    encoding = reach.encoding
    weights = np.array([objective.weight for objective in settings.goals])
    problem = Problem(
        n_var=len(encoding.sizes), n_obj=len(settings.goals), n_ieq_constr=len(settings.bounds), xl=0,
        xu=encoding.sizes - 1, vtype=int,
    )  # fmt: skip
    algorithm = NSGA2(
        pop_size=settings.population,
        sampling=ArchSampling(encoding, reach, settings.max_tries),
        crossover=ArchCrossover(),
        mutation=ArchMutation(encoding, policy, settings.mutated, settings.kinds),
        survival=RankAndCrowding(crowding_func=partial(weighted_crowding, weights=weights)),
        eliminate_duplicates=only_new,
    )
    # The search ends when the evaluations are used up, not when pymoo sees convergence.
    algorithm.setup(problem, termination=("n_gen", settings.evaluations + 1), seed=settings.seed, verbose=False)
    return algorithm, problem


def _learn(
    policy: MutationPolicy, encoded: NDArray[np.int64], values: Sequence[Values], new: int, settings: SearchSettings
) -> None:
    """Reward the newest generation by its non-domination rank among all architectures so far."""
    costs = np.array([[objective.cost(value) for objective in settings.goals] for value in values])
    _, ranks = NonDominatedSorting().do(costs, return_rank=True)
    rewards = 1 - ranks / max(ranks.max(), 1)
    policy.learn(encoded[-new:], rewards[-new:], encoded[ranks == 0])
