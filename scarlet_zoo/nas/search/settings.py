"""Settings and results of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.nas.search.objectives import CLOSED_FORM, SCORED, Limit, Objective, Values

Progress = Callable[[int, int], None]


METHODS = ("nsga2", "nao", "random", "predictor")


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The settings of a search.

    Attributes:
        objectives: objectives, as values or as text such as ``accuracy`` or ``params:max*0.2``; their weights are those
            of the crowding distance.
        limits: limits that every architecture must satisfy, as values or as text such as ``macs<=5e6``.
        method: ``nsga2``, ``nao`` (which optimises the first objective), ``random``, or ``predictor``
            (:mod:`scarlet_zoo.nas.search.by_predictor`).
        evaluations: number of architectures to evaluate in all.
        population: number of architectures in a generation.
        mutated: share of the children that are mutated.
        kinds: shares of random, guided and prior mutations.
        max_tries: draws for each place in the first population before the search gives up on the limits.
        seed: seed of everything random.
        engine, workers: where evaluations run: ``local``, or ``ray`` with this number of workers.

    Raises:
        TrainingError: an unknown method, too few evaluations for the population, an objective given twice, or for a
            predictor not exactly one objective that is loss or accuracy.
    """

    objectives: Sequence[Objective | str]
    limits: Sequence[Limit | str] = ()
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
            got = f"{self.evaluations} evaluations and a population of {self.population}"
            raise TrainingError(
                f"search: got {got}, wanted a population of 2 or more, and at least as many evaluations"
            )
        names = [objective.name for objective in self.goals]
        if not names or len(set(names)) != len(names):
            raise TrainingError(f"search: got objectives {' '.join(names) or 'none'}, wanted one or more, each once")
        if self.method == "predictor":
            assert self.predicted

    @cached_property
    def goals(self) -> tuple[Objective, ...]:
        """The objectives, parsed."""
        return tuple(Objective.parse(goal) if isinstance(goal, str) else goal for goal in self.objectives)

    @property
    def predicted(self) -> str:
        """The objective that the method ``predictor`` predicts.

        Raises:
            TrainingError: none of the objectives is loss or accuracy, or more than one.
        """
        found = [goal.name for goal in self.goals if goal.name in SCORED]
        if len(found) != 1 or found[0] not in ("loss", "accuracy"):
            names = ",".join(goal.name for goal in self.goals)
            raise TrainingError(f"search: got objectives {names}, wanted loss or accuracy among them for a predictor")
        return found[0]

    @cached_property
    def bounds(self) -> tuple[Limit, ...]:
        """The limits, parsed."""
        return tuple(Limit.parse(limit) if isinstance(limit, str) else limit for limit in self.limits)


@dataclass(frozen=True)
class Candidate:
    """An architecture and its values by metric."""

    arch: Arch
    values: Values


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        front: the non-dominated candidates that satisfy all limits, best first by the first objective.
        evaluated: all candidates, in the order of evaluation.
        feasible: those that satisfy all limits.
    """

    front: tuple[Candidate, ...]
    evaluated: tuple[Candidate, ...]
    feasible: tuple[Candidate, ...]


# A generation: its architectures, and the function to call with their values.
Generation = tuple[list[Arch], Callable[[list[Values]], None]]


def metrics_of(objectives: Sequence[Objective], limits: Sequence[Limit]) -> tuple[str, ...]:
    """Names of the metrics that objectives and limits need, and of those that cost nothing more.

    These are the metrics in closed form, and accuracy where the loss is measured, on the same images.
    """
    needed = [*(objective.name for objective in objectives), *(limit.name for limit in limits)]
    return tuple(dict.fromkeys([*needed, *(["accuracy"] if "loss" in needed else []), *CLOSED_FORM]))
