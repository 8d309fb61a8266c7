"""The architecture that is taken from a search whose supernet cannot tell good architectures apart."""

from __future__ import annotations

import json
from pathlib import Path

NEAR = 0.01  # nats of the validation loss


def most_macs_near_the_best(evaluations: Path) -> str:
    """Return the architecture with the most multiply-adds of those whose loss is within :data:`NEAR` of the least.

    Multiply-adds rank networks better than our supernets do (docs/ranking.md).

    Args:
        evaluations: ``evaluations.jsonl`` of a search with the objective ``loss``.
    """
    lines = map(json.loads, evaluations.read_text(encoding="utf-8").splitlines())
    seen: dict[str, dict[str, float]] = {row["arch"]: row["values"] for row in lines if "values" in row}
    least = min(values["loss"] for values in seen.values())
    return max((arch for arch in seen if seen[arch]["loss"] <= least + NEAR), key=lambda arch: seen[arch]["macs"])
