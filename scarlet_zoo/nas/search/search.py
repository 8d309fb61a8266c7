"""Run a search in a folder: from a supernet's file, or a space, to its front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.nas.search.baselines import baselines
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.explore import explore
from scarlet_zoo.nas.search.front import Front, front_of
from scarlet_zoo.nas.search.plots import plot_front
from scarlet_zoo.nas.search.scoring import Scoring, habits_of
from scarlet_zoo.nas.search.settings import Candidate, Progress, SearchSettings, metrics_of
from scarlet_zoo.utils.files import json_text, make_folder, write_text

FRONT_FILE, JOURNAL_FILE = "front.json", "evaluations.jsonl"


def search(
    supernet: str | Path | None = None,
    *,
    out: str | Path,
    settings: SearchSettings | None = None,
    scoring: Scoring | None = None,
    space: str | SearchSpace | None = None,
    progress: Progress | None = None,
) -> Front:
    """Search for architectures and write the front, its plot, and the journal of evaluations.

    The files are ``front.json``, ``front.png``, ``front.svg`` and ``evaluations.jsonl``. The same call continues a
    search that was stopped; no architecture is evaluated twice.

    Args:
        supernet: file of the supernet that accuracy is measured with; for closed-form metrics and latency a space
            suffices.
        out: folder of the search.
        settings: objectives, limits and search method; those of :func:`default_settings` when left out.
        scoring: how architectures are scored; by default a :class:`Scoring` with its defaults.
        space: space to search; by default the supernet's.
        progress: called with (evaluations done, evaluations in all).

    Raises:
        TrainingError: neither a supernet nor a space is given, the supernet is of another space, no architecture
            satisfies the limits, or ``out`` holds another search.
    """
    folder = Path(out)
    source = Path(supernet) if supernet is not None else None
    scoring = scoring or Scoring()
    settings = settings or default_settings(scoring.strategy, source)
    evaluation = scoring.evaluation(source, space, metrics_of(settings.goals, settings.bounds))
    grey = evaluation.tell_grey()
    make_folder(folder)
    result = explore(evaluation, settings, folder / JOURNAL_FILE, progress)
    front = [{"arch": str(candidate.arch), "values": dict(candidate.values)} for candidate in result.front]
    report = {
        "space": evaluation.space.name,
        "definition": evaluation.space.to_json(),
        "objectives": [str(objective) for objective in settings.goals],
        "limits": [str(limit) for limit in settings.bounds],
        "method": settings.method,
        "seed": settings.seed,
        "evaluations": len(result.evaluated),
        "conditions": evaluation.conditions,
        "turned_grey": grey,
        "front": front,
        "baselines": baselines(result.feasible, settings.goals),
    }
    if evaluation.table is not None and "latency" in evaluation.metrics:
        report |= _measured(evaluation, front, result.front)
    plot_front(result, settings.goals, folder / "front")
    write_text(folder / FRONT_FILE, json_text(report, indent=1) + "\n")
    return front_of(folder / FRONT_FILE, report)


def default_settings(strategy: str | None, supernet: Path | None) -> SearchSettings:
    """Return settings with the metric that a strategy ranks by, against latency, and its own search method.

    Without a supernet the most multiply-adds are searched for, since nothing else tells of accuracy then.
    """
    if supernet is None:
        return SearchSettings(objectives=("macs:max", "latency"))
    metric, method = habits_of(strategy, supernet)
    return SearchSettings(objectives=(metric, "latency"), method=method)


def _measured(evaluation: Evaluation, rows: list[dict[str, Any]], front: Sequence[Candidate]) -> dict[str, Any]:
    """Measure a front that was found with a latency table, if the table is of this machine.

    Each row gets ``interval_ms`` and, where it is measured, ``measured_ms``.

    Returns:
        ``front_measured``, and where it is true, ``front_error``: the mean relative error of the table on the front.
    """
    table = evaluation.table
    assert table is not None
    for row, (_, low, high) in zip(rows, table.predict([c.arch for c in front]).tolist(), strict=True):
        row["interval_ms"] = [low, high]
    if not table.is_of_this_device:
        return {"front_measured": False}
    from scarlet_zoo.nas.search.latency_meter import LatencyMeter

    meter = LatencyMeter(evaluation.space, evaluation.threads, precision=table.stamp.precision)
    for row, candidate in zip(rows, front, strict=True):
        row["measured_ms"] = meter(candidate.arch)
    apart = [abs(row["values"]["latency"] / row["measured_ms"] - 1) for row in rows]
    return {"front_measured": True, "front_error": sum(apart) / len(apart)}
