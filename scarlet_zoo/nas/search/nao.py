"""NAO's search: fit an encoder, predictor and decoder on what was evaluated, evaluate what it climbs to, repeat."""

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
    """A population at random, then new ones that should be better in the first objective.

    Luo et al. (arXiv 1808.07233, 1909.10815) search for accuracy alone. Ours: any first objective, in its
    direction; the others only decide which of the evaluated architectures are on the front. Limits that can be
    told beforehand hold for every architecture; of the others, those that keep all limits are climbed from.

    Raises:
        TrainingError: no random architecture keeps the limits.
    """
    from scarlet_zoo.nas.nao.predictor import EpdSettings
    from scarlet_zoo.nas.nao.proposals import draw_different, propose

    goal, limits = settings.goals[0], settings.bounds
    accept = partial(allowed, limits=limits)
    rng = random.Random(f"{settings.seed} nao")
    archs = draw_different(evaluation.space, settings.population, rng, accept=accept, max_tries=settings.max_tries)
    if not archs:
        raise TrainingError("search: no random architecture keeps the limits, wanted wider ones")
    seen: list[tuple[Arch, Values]] = []
    while archs:

        def tell(values: list[Values], archs: list[Arch] = archs) -> None:
            seen.extend(zip(archs, values, strict=True))

        yield archs, tell
        count = min(settings.population, settings.evaluations - len(seen))
        keep = [arch for arch, values in seen if all(limit.excess(values) <= 0 for limit in limits)]
        archive = [(arch, -goal.cost(values)) for arch, values in seen]
        archs = propose(archive, count, EpdSettings(), rng.getrandbits(31), accept, keep, settings.max_tries)
