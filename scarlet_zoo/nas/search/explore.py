"""Search a space for the architectures that no other one beats in all objectives at once.

The methods are pymoo's NSGA-II with SCARLET's weighted crowding distance and mutations, NAO's gradient ascent on a
fitted predictor, and random search as the baseline. All randomness follows from the seed, and every evaluation is
written to the journal before the next decision. A search that was killed therefore repeats its decisions with the
values of the journal and continues from there.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import ScarletWarning, TrainingError
from scarlet_zoo.nas.search.encoding import Encoded
from scarlet_zoo.nas.search.engines import Engine, get_engine
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.journal import Journal
from scarlet_zoo.nas.search.measured_reach import check_measured
from scarlet_zoo.nas.search.nao import nao_generations
from scarlet_zoo.nas.search.nsga2 import nsga2_generations
from scarlet_zoo.nas.search.objectives import Limit, Values, non_dominated, shown
from scarlet_zoo.nas.search.reach import Reach
from scarlet_zoo.nas.search.settings import Candidate, Generation, Progress, SearchResult, SearchSettings
from scarlet_zoo.utils.files import write_text
from scarlet_zoo.utils.reading import bounded_text, parse_json


def explore(
    evaluation: Evaluation, settings: SearchSettings, journal: Path, progress: Progress | None = None
) -> SearchResult:
    """Search with these settings; evaluations that the journal has are not made again.

    Args:
        evaluation: how architectures are evaluated; its metrics are those of objectives and limits.
        settings: how to search.
        journal: file of the evaluations; it is continued if it exists.
        progress: called with (evaluations done, evaluations in all).

    Raises:
        TrainingError: no architecture satisfies the limits, which is said before anything is evaluated where the
            metrics add up over the decisions, and of measured latency where the cheapest architecture is too slow; or
            the journal is of other conditions.
    """
    reach = Reach(evaluation.space, settings.bounds, evaluation.table)
    reach.check()
    for line in reach.idle():
        warnings.warn(line, ScarletWarning, stacklevel=2)
    book = Journal(journal, evaluation.conditions)
    evaluation = _on_one_scale(evaluation, book.reference)
    try:
        if not len(book):
            check_measured(evaluation, settings.bounds)
        engine = get_engine(settings.engine, evaluation, settings.workers)
        evaluated: list[Candidate] = []
        generations = {"nsga2": nsga2_generations, "nao": nao_generations, "random": _random}[settings.method]
        for archs, tell in generations(evaluation, settings):
            moved = partial(_move, progress, len(evaluated), settings.evaluations)
            values = _evaluate(archs, engine, book, moved)
            evaluated += map(Candidate, archs, values)
            tell(values)
            if len(evaluated) >= settings.evaluations:
                break
    finally:
        book.close()
    feasible = [c for c in evaluated if all(limit.excess(c.values) <= 0 for limit in settings.bounds)]
    if not feasible:
        raise _none_satisfies(evaluated, settings.bounds, evaluation)
    front = [feasible[i] for i in non_dominated([c.values for c in feasible], settings.goals)]
    front.sort(key=lambda c: settings.goals[0].cost(c.values))
    return SearchResult(tuple(front), tuple(evaluated), tuple(feasible))


def _none_satisfies(evaluated: Sequence[Candidate], limits: Sequence[Limit], evaluation: Evaluation) -> TrainingError:
    """The error for limits that are known only after an evaluation, with the best values that were found."""
    known = Reach(evaluation.space, limits, evaluation.table).additive
    unknown = [limit for limit in limits if all(one.limit != limit for one in known)]
    best = []
    for limit in unknown:
        nearest = min(evaluated, key=lambda candidate: limit.excess(candidate.values))
        kind = "least" if limit.at_most else "largest"
        best.append(f"the {kind} {limit.name} of these is {shown(limit.name, nearest.values[limit.name])} "
                    f"({nearest.arch})")  # fmt: skip
    if any(limit.name == "latency" for limit in unknown):
        best.append("the least possible latency cannot be computed without a latency table, --lut FILE")
    texts = ", ".join(limit.told for limit in limits)
    return TrainingError(
        f"search: none of {len(evaluated)} architectures satisfies {texts}; {'; '.join(best)}; wanted wider limits"
    )


def _on_one_scale(evaluation: Evaluation, file: Path) -> Evaluation:
    """The evaluation with the reference latency of a file, which is measured once for all workers and restarts."""
    if "latency" not in evaluation.metrics or evaluation.lut is not None:
        return evaluation
    if not file.is_file():
        from scarlet_zoo.nas.search.latency_meter import LatencyMeter

        write_text(file, json.dumps({"reference_ms": LatencyMeter(evaluation.space, evaluation.threads).reference_ms}))
    loaded = {key: value for key, value in evaluation._loaded.items() if key != "meter"}
    return replace(evaluation, reference_ms=float(parse_json(bounded_text(file))["reference_ms"]), _loaded=loaded)


def _move(progress: Progress | None, before: int, expected: int, done: int) -> None:
    if progress is not None:
        progress(before + done, expected)


def _evaluate(archs: Sequence[Arch], engine: Engine, book: Journal, moved: Callable[[int], None]) -> list[Values]:
    """The values in the order of the architectures, from the journal where it has them."""
    new = [arch for arch in archs if book.get(arch) is None]
    for done, (position, values, seconds) in enumerate(engine.run(new), start=1):
        book.add(new[position], values, seconds)
        moved(len(archs) - len(new) + done)
    return [value for arch in archs if (value := book.get(arch)) is not None]


def _random(evaluation: Evaluation, settings: SearchSettings) -> Iterator[Generation]:
    """Different architectures, uniform among those that keep the limits where random draws find enough of them."""
    reach = Reach(evaluation.space, settings.bounds, evaluation.table)
    seen = set[tuple[int, ...]]()
    random = np.random.default_rng(settings.seed)
    left = settings.evaluations
    while left > 0:
        count = min(settings.population, left)
        rows: dict[tuple[int, ...], Encoded] = {}
        for _ in range(settings.population * settings.max_tries):
            encoded = reach.encoding.draw(random)
            key = tuple(encoded.tolist())
            if key not in seen and key not in rows and reach.keeps(encoded):
                rows[key] = encoded
            if len(rows) == count:
                break
        reach.complete(rows, count, random, seen, tell=not seen)
        if not rows:
            if not seen:
                raise reach.unreached()
            return
        seen |= rows.keys()
        left -= len(rows)
        yield [reach.encoding.arch(row) for row in rows.values()], lambda _: None
