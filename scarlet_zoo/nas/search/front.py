"""The front that a search has found: as a value, and as the file ``front.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.nas.search.objectives import METRICS, Limit, Objective
from scarlet_zoo.nas.search.settings import Candidate


@dataclass(frozen=True, kw_only=True)
class Front:
    """The architectures of a search that no other beats in all objectives at once.

    Attributes:
        path: of ``front.json``.
        space: of the architectures.
        candidates: each with its values by metric, in the order of the first objective, the best first.
        evaluations: how many architectures were evaluated in all.
        report: all that ``front.json`` holds.
    """

    path: Path
    space: SearchSpace
    candidates: tuple[Candidate, ...]
    evaluations: int
    report: Mapping[str, Any]

    def choose(self, how: str) -> list[Candidate]:
        """Some of it: positions (``0,4,7``), ``spread:N`` evenly along it, or ``best:METRIC``.

        Raises:
            TrainingError: anything else, or a position that is not there.
        """
        return choose_from(self.candidates, how)

    def keeping(self, limits: Sequence[Limit]) -> list[Candidate]:
        """The candidates that keep further limits, in their order.

        Raises:
            TrainingError: none does.
        """
        kept = [row for row in self.candidates if all(limit.excess(row.values) <= 0 for limit in limits)]
        if not kept:
            kinds = ", ".join(map(str, limits)) or "anything"
            raise TrainingError(f"{self.path}: none of {len(self.candidates)} candidates keeps {kinds}")
        return kept

    def to_dict(self) -> dict[str, Any]:
        """What ``front.json`` holds, as JSON values."""
        return dict(self.report)


def front_of(path: Path, report: Mapping[str, Any]) -> Front:
    """The front of a ``front.json`` with this content."""
    space = SearchSpace.from_json(report["definition"])
    rows = tuple(Candidate(Arch.parse(row["arch"], space), row["values"]) for row in report["front"])
    return Front(path=path, space=space, candidates=rows, evaluations=int(report["evaluations"]), report=report)


def read_front(path: Path, limits: Sequence[Limit] = ()) -> list[Candidate]:
    """The candidates of a ``front.json`` that keep further limits, in its order.

    Raises:
        TrainingError: no front, or none of it keeps the limits.
    """
    try:
        front = front_of(path, json.loads(path.read_text(encoding="utf-8")))
        return front.keeping(limits)
    except TrainingError:
        raise
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read: {error.strerror}, wanted the front.json of a search") from error
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: no front of a search: {type(error).__name__} {error}") from error


def choose_from(rows: Sequence[Candidate], how: str) -> list[Candidate]:
    """Some of a front: positions (``0,4,7``), ``spread:N`` evenly along it, or ``best:METRIC``.

    Raises:
        TrainingError: anything else, or a position that is not there.
    """
    kind, _, rest = how.partition(":")
    if kind == "best" and rest in METRICS and rest in rows[0].values:
        return [min(rows, key=lambda row: Objective(rest, METRICS[rest][1]).cost(row.values))]
    if kind == "spread" and rest.isdigit() and int(rest) > 0:
        count = min(int(rest), len(rows))
        return [rows[round(i * (len(rows) - 1) / max(count - 1, 1))] for i in range(count)]
    try:
        return [rows[int(text)] for text in how.split(",")]
    except (ValueError, IndexError) as error:
        wanted = f"wanted positions 0 to {len(rows) - 1}, spread:N or best:METRIC"
        raise TrainingError(f"choose: got {how!r}, {wanted}") from error
