"""What a search has found beside what its architectures' size alone would have chosen, without a supernet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scarlet_zoo.nas.search.objectives import CLOSED_FORM, METRICS, SCORED, Objective, non_dominated
from scarlet_zoo.nas.search.settings import Candidate


def baselines(feasible: Sequence[Candidate], goals: Sequence[Objective]) -> list[dict[str, Any]]:
    """Return the fronts of the evaluated architectures for the most multiply-adds, and for the most parameters.

    Each takes the place of what a supernet has scored among the objectives: of ``loss,latency`` the baselines are
    ``macs:max,latency`` and ``params:max,latency``. A supernet earns its cost where the front is better than these.
    They choose from the architectures that the search has evaluated, so all values are those that it has compared.

    Args:
        feasible: the evaluated architectures that satisfy all limits.
        goals: the objectives of the search.

    Returns:
        For each baseline its ``objectives`` as text and its ``front``, rows of ``arch values`` with the most first;
        none if no objective is scored by a supernet, and none for a metric that is an objective already.
    """
    scored = [goal for goal in goals if goal.name in SCORED]
    others = [goal for goal in goals if goal.name not in SCORED]
    free = [name for name in CLOSED_FORM if name not in {goal.name for goal in others}]
    return [_front(feasible, (Objective(name, maximise=True), *others)) for name in free] if scored else []


def _front(feasible: Sequence[Candidate], goals: Sequence[Objective]) -> dict[str, Any]:
    chosen = [feasible[i] for i in non_dominated([candidate.values for candidate in feasible], goals)]
    chosen.sort(key=lambda candidate: goals[0].cost(candidate.values))
    plain = [replace(goal, weight=1.0) for goal in goals]
    texts = [f"{goal.name}{':max' if goal.maximise != METRICS[goal.name][1] else ''}" for goal in plain]
    return {
        "objectives": texts,
        "front": [{"arch": str(candidate.arch), "values": dict(candidate.values)} for candidate in chosen],
    }
