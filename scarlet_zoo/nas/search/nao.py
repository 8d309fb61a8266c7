"""NAO's search: fit a predictor to the evaluations, climb along it, evaluate what it proposes, repeat."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.objectives import Values
from scarlet_zoo.nas.search.reach import Reach

if TYPE_CHECKING:
    from scarlet_zoo.nas.search.settings import SearchSettings


def nao_generations(
    evaluation: Evaluation, settings: SearchSettings
) -> Iterator[tuple[list[Arch], Callable[[list[Values]], None]]]:
    """Yield a random population, then populations that NAO proposes to be better in the first objective.

    Luo et al. (arXiv 1808.07233, 1909.10815) search for accuracy alone. Ours takes any first objective, in its
    direction; the other objectives only decide which of the evaluated architectures are on the front. Every
    architecture satisfies the limits on closed-form metrics. NAO climbs only from architectures that satisfy all
    limits.

    Raises:
        TrainingError: no architecture was found that satisfies the limits.
    """
    from scarlet_zoo.nas.nao.predictor import EpdSettings
    from scarlet_zoo.nas.nao.proposals import draw_different, propose

    goal, limits = settings.goals[0], settings.bounds
    reach = Reach(evaluation.space, limits, evaluation.table)
    accept, count = reach.accepts, settings.population
    rng = random.Random(f"{settings.seed} nao")
    archs = draw_different(evaluation.space, count, rng, accept=accept, max_tries=settings.max_tries)
    if len(archs) < count:
        rows = {tuple(row.tolist()): row for row in map(reach.encoding.encode, archs)}
        reach.complete(rows, count, np.random.default_rng(settings.seed))
        archs = [reach.encoding.arch(row) for row in rows.values()]
    if not archs:
        raise reach.unreached()
    seen: list[tuple[Arch, Values]] = []
    while archs:

        def tell(values: list[Values], archs: list[Arch] = archs) -> None:
            seen.extend(zip(archs, values, strict=True))

        yield archs, tell
        count = min(settings.population, settings.evaluations - len(seen))
        keep = [arch for arch, values in seen if all(limit.excess(values) <= 0 for limit in limits)]
        archive = [(arch, -goal.cost(values)) for arch, values in seen]
        archs = propose(archive, count, EpdSettings(), rng.getrandbits(31), accept, keep, settings.max_tries)
