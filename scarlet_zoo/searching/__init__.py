"""Search a space for the architectures that no other beats in all objectives at once.

NSGA-II (pymoo's) with SCARLET's weighted crowding distance and mutations, NAO's climb along a fitted
predictor, or random search as the honest baseline. Everything random follows from the seed and every
evaluation is journalled before the next decision, so a search that was killed runs through its own
past again and goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.evaluator import Evaluator
from pymoo.core.problem import Problem
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding
from pymoo.problems.static import StaticProblem
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.searching.engines import Engine, get_engine
from scarlet_zoo.searching.evaluation import Evaluation
from scarlet_zoo.searching.guide import Guide
from scarlet_zoo.searching.journal import Journal
from scarlet_zoo.searching.nao import nao_generations
from scarlet_zoo.searching.objectives import CLOSED_FORM, Limit, Objective, Values, allowed, non_dominated
from scarlet_zoo.searching.operators import (
    ArchCrossover,
    ArchMutation,
    ArchSampling,
    Coding,
    OnlyNew,
    weighted_crowding,
)
from scarlet_zoo.utils.files import write_text

Progress = Callable[[int, int], None]
METHODS = ("nsga2", "nao", "random")


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How to search.

    Attributes:
        objectives: what for; their weights are those of the crowding distance.
        limits: what no architecture may break.
        method: ``nsga2``, ``nao`` (for the first objective), or ``random``.
        evaluations: architectures to evaluate in all.
        population: of a generation.
        mutated: share of the children that are mutated.
        kinds: shares of random, guided and prior mutations.
        max_tries: draws for a place in the first population before the limits are called impossible.
        seed: of everything random.
        engine, workers: where evaluations run: ``local``, or ``ray`` with so many workers.
    """

    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...] = ()
    method: str = "nsga2"
    evaluations: int = 200
    population: int = 20
    mutated: float = 0.8
    kinds: tuple[float, float, float] = (0.2, 0.65, 0.15)
    max_tries: int = 1000
    seed: int = 0
    engine: str = "local"
    workers: int = 1

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise TrainingError(f"search: got method {self.method!r}, wanted one of {' '.join(METHODS)}")
        if self.population < 2 or self.evaluations < self.population:
            got = f"{self.evaluations} evaluations of populations of {self.population}"
            raise TrainingError(f"search: got {got}, wanted a population of 2 or more, evaluated at least once")
        names = [objective.name for objective in self.objectives]
        if not names or len(set(names)) != len(names):
            raise TrainingError(f"search: got objectives {' '.join(names) or 'none'}, wanted different ones")


@dataclass(frozen=True)
class Candidate:
    """An architecture and its values by metric."""

    arch: Arch
    values: Values


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        front: the candidates that keep all limits and that none of the others beats, by the first objective.
        evaluated: all of them, in order.
    """

    front: tuple[Candidate, ...]
    evaluated: tuple[Candidate, ...]


def search(
    evaluation: Evaluation, settings: SearchSettings, journal: Path, progress: Progress | None = None
) -> SearchResult:
    """Search, continuing what the journal holds.

    Args:
        evaluation: how architectures are evaluated; its metrics are those of objectives and limits.
        settings: how to search.
        journal: file of evaluations.
        progress: told (evaluations done, evaluations in all).

    Raises:
        TrainingError: limits that no architecture keeps, or a journal of other conditions.
    """
    book = Journal(journal, evaluation.conditions)
    engine = get_engine(settings.engine, _on_one_scale(evaluation, journal), settings.workers)
    try:
        evaluated: list[Candidate] = []
        generations = {"nsga2": _nsga2, "nao": nao_generations, "random": _random}[settings.method]
        for archs, tell in generations(evaluation, settings):
            moved = partial(_move, progress, len(evaluated), settings.evaluations)
            values = _evaluate(archs, engine, book, moved)
            evaluated += map(Candidate, archs, values)
            tell(values)
            if len(evaluated) >= settings.evaluations:
                break
    finally:
        book.close()
    kept = [c for c in evaluated if all(limit.excess(c.values) <= 0 for limit in settings.limits)]
    if not kept:
        told = ", ".join(map(str, settings.limits))
        raise TrainingError(f"search: none of {len(evaluated)} architectures keeps {told}, wanted wider limits")
    front = [kept[i] for i in non_dominated([c.values for c in kept], settings.objectives)]
    front.sort(key=lambda c: settings.objectives[0].cost(c.values))
    return SearchResult(tuple(front), tuple(evaluated))


def _on_one_scale(evaluation: Evaluation, journal: Path) -> Evaluation:
    """The same with the reference's latency, measured once for a journal: by every worker, and after a kill."""
    if "latency" not in evaluation.metrics or evaluation.lut is not None:
        return evaluation
    file = journal.with_suffix(".reference.json")
    if not file.is_file():
        from scarlet_zoo.searching.meter import LatencyMeter

        write_text(file, json.dumps({"reference_ms": LatencyMeter(evaluation.space, evaluation.threads).reference_ms}))
    return replace(evaluation, reference_ms=float(json.loads(file.read_text())["reference_ms"]), _loaded={})


# A generation: its architectures, and where to tell their values.
Generation = tuple[list[Arch], Callable[[list[Values]], None]]


def _move(progress: Progress | None, before: int, expected: int, done: int) -> None:
    if progress is not None:
        progress(before + done, expected)


def _evaluate(archs: Sequence[Arch], engine: Engine, book: Journal, moved: Callable[[int], None]) -> list[Values]:
    """Values in the order of the architectures, from the journal where it has them."""
    new = [arch for arch in archs if book.get(arch) is None]
    for done, (position, values, seconds) in enumerate(engine.run(new), start=1):
        book.add(new[position], values, seconds)
        moved(len(archs) - len(new) + done)
    return [value for arch in archs if (value := book.get(arch)) is not None]


def _random(evaluation: Evaluation, settings: SearchSettings) -> Iterator[Generation]:
    """Different architectures, uniformly among those that keep the limits that can be told beforehand."""
    coding, seen = Coding(evaluation.space), OnlyNew(Coding(evaluation.space), lambda _: True).seen
    random = np.random.default_rng(settings.seed)
    left = settings.evaluations
    while left > 0:
        archs: list[Arch] = []
        for _ in range(settings.population * settings.max_tries):
            genes = coding.draw(random)
            key = tuple(genes.tolist())
            if key not in seen and allowed(arch := coding.arch(genes), settings.limits):
                seen.add(key)
                archs.append(arch)
            if len(archs) == min(settings.population, left):
                break
        if not archs:
            if not seen:
                raise TrainingError("search: no random architecture keeps the limits, wanted wider ones")
            return
        left -= len(archs)
        yield archs, lambda _: None


def _nsga2(evaluation: Evaluation, settings: SearchSettings) -> Iterator[Generation]:
    """Generations of pymoo's NSGA-II, asked and told."""
    coding = Coding(evaluation.space)
    guide = Guide(coding.sizes)
    only_new = OnlyNew(coding, partial(allowed, limits=settings.limits))
    algorithm, problem = _algorithm(coding, guide, only_new, settings)
    left = settings.evaluations
    genes_seen: list[NDArray[np.int64]] = []
    values_seen: list[Values] = []
    while left > 0:
        children = algorithm.ask()
        if children is None or not len(children):
            return
        children = children[:left]
        left -= len(children)
        genes = children.get("X")
        only_new.seen |= {tuple(row) for row in genes.tolist()}

        def tell(values: list[Values], children: Any = children, genes: NDArray[np.int64] = genes) -> None:
            costs = np.array([[objective.cost(value) for objective in settings.objectives] for value in values])
            over = np.array([[limit.excess(value) for limit in settings.limits] for value in values])
            told = {"F": costs} | ({"G": over} if settings.limits else {})
            Evaluator().eval(StaticProblem(problem, **told), children)
            algorithm.tell(infills=children)
            genes_seen.extend(genes)
            values_seen.extend(values)
            _learn(guide, np.array(genes_seen), values_seen, len(genes), settings)

        yield [coding.arch(row) for row in genes], tell


def _algorithm(coding: Coding, guide: Guide, only_new: OnlyNew, settings: SearchSettings) -> tuple[Any, Any]:
    accept = partial(allowed, limits=settings.limits)
    weights = np.array([objective.weight for objective in settings.objectives])
    problem = Problem(
        n_var=len(coding.sizes), n_obj=len(settings.objectives), n_ieq_constr=len(settings.limits), xl=0,
        xu=coding.sizes - 1, vtype=int,
    )  # fmt: skip
    algorithm = NSGA2(
        pop_size=settings.population,
        sampling=ArchSampling(coding, accept, settings.max_tries),
        crossover=ArchCrossover(),
        mutation=ArchMutation(coding, guide, settings.mutated, settings.kinds),
        survival=RankAndCrowding(crowding_func=partial(weighted_crowding, weights=weights)),
        eliminate_duplicates=only_new,
    )
    # It is asked until the evaluations are used up, whatever it thinks of its convergence.
    algorithm.setup(problem, termination=("n_gen", settings.evaluations + 1), seed=settings.seed, verbose=False)
    return algorithm, problem


def _learn(
    guide: Guide, genes: NDArray[np.int64], values: Sequence[Values], new: int, settings: SearchSettings
) -> None:
    """Reward the newest generation by its rank among all so far."""
    costs = np.array([[objective.cost(value) for objective in settings.objectives] for value in values])
    _, ranks = NonDominatedSorting().do(costs, return_rank=True)
    rewards = 1 - ranks / max(ranks.max(), 1)
    guide.learn(genes[-new:], rewards[-new:], genes[ranks == 0])


def metrics_of(objectives: Sequence[Objective], limits: Sequence[Limit]) -> tuple[str, ...]:
    """What must be known of an architecture: objectives, limits, and what is told for nothing."""
    return tuple(dict.fromkeys([*(o.name for o in objectives), *(limit.name for limit in limits), *CLOSED_FORM]))
