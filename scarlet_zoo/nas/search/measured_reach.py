"""Refuse a limit on measured latency that not even the cheapest architecture keeps, before any is evaluated.

A latency table gives the least possible latency of a space (:mod:`scarlet_zoo.nas.search.reach`). Without one nothing
is known of it, so the architecture with the least multiply-adds is measured first. Another one may be a little faster;
a limit is refused only where that one breaks it by more than its measurements differ.
"""

from __future__ import annotations

from collections.abc import Sequence

from scarlet_zoo.errors import TrainingError
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.objectives import Limit, shown
from scarlet_zoo.nas.search.reach import Reach

_TIMES = 5  # the architecture is measured


def check_measured(evaluation: Evaluation, limits: Sequence[Limit]) -> None:
    """Measure the cheapest architecture if latency is limited and no table predicts it; of a least latency the dearest.

    Args:
        evaluation: how architectures are evaluated.
        limits: the limits of the search.

    Raises:
        TrainingError: it breaks the limit by more than its measurements differ; the message has what was measured.
    """
    if evaluation.table is not None:
        return
    for limit in limits:
        if limit.name == "latency":
            _check(evaluation, limit)


def _check(evaluation: Evaluation, limit: Limit) -> None:
    macs = Reach(evaluation.space, [Limit("macs", limit.at_most, 1.0)])
    arch = macs.encoding.arch(macs.additive[0].extreme)
    measured: list[float] = []
    for _ in range(_TIMES):
        measured.append(evaluation.latency(arch))
        low, high = min(measured), max(measured)
        over = low - limit.bound if limit.at_most else limit.bound - high
        if over <= high - low:
            return
    least, narrower = ("least", "larger") if limit.at_most else ("most", "smaller")
    low_shown, high_shown = (shown("latency", value) for value in (low, high))
    raise TrainingError(
        f"search: {evaluation.space.name} does not keep {limit.told}: its architecture with the {least} multiply-adds "
        f"({arch}) takes {low_shown} to {high_shown} in {_TIMES} measurements here (threads: {evaluation.threads}); "
        f"wanted a {narrower} bound"
    )
