"""NAO's search: fit a predictor to the evaluations, climb along it, evaluate what it proposes, repeat."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.objectives import Values, allowed

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
        TrainingError: no random architecture satisfies the limits.
    """
    from scarlet_zoo.nas.nao.predictor import EpdSettings
    from scarlet_zoo.nas.nao.proposals import draw_different, propose

    goal, limits = settings.goals[0], settings.bounds
    accept = partial(allowed, limits=limits)
    rng = random.Random(f"{settings.seed} nao")
    archs = draw_different(evaluation.space, settings.population, rng, accept=accept, max_tries=settings.max_tries)
    if not archs:
        raise TrainingError("search: no random architecture satisfies the limits, wanted wider ones")
    seen: list[tuple[Arch, Values]] = []
    while archs:

        def tell(values: list[Values], archs: list[Arch] = archs) -> None:
            seen.extend(zip(archs, values, strict=True))

        yield archs, tell
        count = min(settings.population, settings.evaluations - len(seen))
        keep = [arch for arch, values in seen if all(limit.excess(values) <= 0 for limit in limits)]
        archive = [(arch, -goal.cost(values)) for arch, values in seen]
        archs = propose(archive, count, EpdSettings(), rng.getrandbits(31), accept, keep, settings.max_tries)
