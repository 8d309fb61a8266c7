"""Write what a search has found: the front, its plot and what size alone would have chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scarlet_zoo.nas.search.baselines import baselines
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.front import Front, front_of
from scarlet_zoo.nas.search.plots import plot_front
from scarlet_zoo.nas.search.settings import Candidate, SearchResult, SearchSettings
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.schema_versions import SCHEMA_KEY, SCHEMAS

FRONT_FILE, JOURNAL_FILE = "front.json", "evaluations.jsonl"


def write_front(
    folder: Path, evaluation: Evaluation, settings: SearchSettings, result: SearchResult, more: Mapping[str, Any]
) -> Front:
    """Write what a search has found: ``front.json``, and its plot as ``front.png`` and ``front.svg``.

    Args:
        folder: folder of the search.
        evaluation: how architectures were evaluated.
        settings: the settings of the search.
        result: what it has found.
        more: further content of ``front.json``.
    """
    front = [{"arch": str(candidate.arch), "values": dict(candidate.values)} for candidate in result.front]
    report = {
        SCHEMA_KEY: SCHEMAS["front"],
        "space": evaluation.space.name,
        "definition": evaluation.space.to_json(),
        "objectives": [str(objective) for objective in settings.goals],
        "limits": [str(limit) for limit in settings.bounds],
        "method": settings.method,
        "seed": settings.seed,
        "evaluations": len(result.evaluated),
        "conditions": evaluation.conditions,
        **_judged_on(evaluation.validation_pictures, result),
        **more,
        "front": front,
        "baselines": baselines(result.feasible, settings.goals),
    }
    if evaluation.table is not None and "latency" in evaluation.metrics:
        report |= _measured(evaluation, front, result.front)
    plot_front(result, settings.goals, folder / "front")
    write_text(folder / FRONT_FILE, json_text(report, indent=1) + "\n")
    return front_of(folder / FRONT_FILE, report)


def _judged_on(images: int | None, result: SearchResult) -> dict[str, Any]:
    """How many validation images accuracy and loss are of, and how far apart accuracies are by chance.

    ``accuracy_noise`` is twice the standard error of the best accuracy on the front, in points; of half, where the
    front has no accuracies. Two right and two wrong answers are added, without which few images would seem exact.
    """
    if images is None:
        return {}
    best = max((one.values.get("accuracy", 50.0) for one in result.front), default=50.0)
    share = (best / 100 * images + 2) / (images + 4)
    noise = 200 * math.sqrt(share * (1 - share) / (images + 4))
    return {"validation_pictures": images, "accuracy_noise": noise}


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

    meter = LatencyMeter(evaluation.space, evaluation.threads, precision=table.stamp.precision,
                         provider=table.stamp.provider)  # fmt: skip
    for row, candidate in zip(rows, front, strict=True):
        row["measured_ms"] = meter(candidate.arch)
    apart = [abs(row["values"]["latency"] / row["measured_ms"] - 1) for row in rows]
    return {"front_measured": True, "front_error": sum(apart) / len(apart)}
