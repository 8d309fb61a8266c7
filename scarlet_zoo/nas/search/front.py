"""The Pareto front that a search has found, as a value and as the file ``front.json``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import ScarletWarning, TrainingError
from scarlet_zoo.nas.search.objectives import METRICS, SCORED, Limit, Objective, Values
from scarlet_zoo.nas.search.settings import Candidate
from scarlet_zoo.utils.files import file_sha256
from scarlet_zoo.utils.reading import bounded_text, parse_json, whole_number
from scarlet_zoo.utils.schema_versions import refuse_newer

Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True)
class Front:
    """The architectures of a search that no other one beats in all objectives at once.

    Attributes:
        path: path of ``front.json``.
        space: search space of the architectures.
        candidates: the architectures with their values by metric, best first by the first objective.
        evaluations: number of architectures that were evaluated in all.
        report: contents of ``front.json``.
    """

    path: Path
    space: SearchSpace
    candidates: tuple[Candidate, ...]
    evaluations: int
    report: Mapping[str, Any]

    def choose(self, how: str) -> list[Candidate]:
        """Choose candidates: positions (``0,4,7``), ``spread:N`` evenly along the front, or ``best:METRIC``.

        Raises:
            TrainingError: ``how`` is anything else, or names a position that does not exist.
        """
        return choose_from(self.candidates, how)

    def keeping(self, limits: Sequence[Limit]) -> list[Candidate]:
        """Return the candidates that satisfy further limits, in their order.

        Raises:
            TrainingError: no candidate does.
        """
        found = [row for row in self.candidates if all(limit.excess(row.values) <= 0 for limit in limits)]
        if not found:
            kinds = ", ".join(map(str, limits)) or "anything"
            raise TrainingError(f"{self.path}: none of {len(self.candidates)} candidates satisfies {kinds}")
        return found

    @property
    def conditions(self) -> Mapping[str, Any]:
        """What the values depend on; empty for a front that was written before fronts said so."""
        conditions = self.report.get("conditions")
        return conditions if isinstance(conditions, Mapping) else {}

    def check_weights(self, supernet: Path, digest: str | None) -> None:
        """Check that the front's accuracies are those of a supernet's weights.

        A front of a search without accuracy depends on no weights. A warning says where the front states no digest.

        Args:
            supernet: file of the supernet.
            digest: digest of its tensors; that of the file when None, as the search takes it.

        Raises:
            TrainingError: other weights made the front.
        """
        if not any(SCORED & set(candidate.values) for candidate in self.candidates):
            return
        wanted, found = self.conditions.get("supernet_sha256"), digest or file_sha256(supernet)
        if wanted is None:
            warnings.warn(
                f"{self.path}: states no digest of a supernet, so it cannot be checked that {supernet} made it",
                ScarletWarning,
                stacklevel=3,
            )
        elif wanted != found:
            raise TrainingError(
                f"{self.path}: is the front of other weights, of a supernet with sha256 {str(wanted)[:12]}, got "
                f"{supernet} with {found[:12]}, wanted the supernet that was searched"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of ``front.json`` as JSON values."""
        return dict(self.report)


def front_of(path: Path, report: Mapping[str, Any]) -> Front:
    """Create a front from the contents of its ``front.json``.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: they are no front.
    """
    space = SearchSpace.from_json(report["definition"])
    rows = tuple(Candidate(Arch.parse(row["arch"], space), _values_of(row)) for row in report["front"])
    if not rows or any(row.values.keys() != rows[0].values.keys() for row in rows):
        raise ValueError("its candidates have different metrics" if rows else "it has no candidates")
    return Front(path=path, space=space, candidates=rows, evaluations=int(report["evaluations"]), report=report)


def _values_of(row: Mapping[str, Any]) -> Values:
    values = row["values"]
    if not isinstance(values, Mapping) or not all(type(value) in (int, float) for value in values.values()):
        raise ValueError(f"values: got {values!r:.40}, wanted a number for each metric")
    return values


def load_front(path: Path) -> Front:
    """Read a ``front.json``.

    Raises:
        TrainingError: the file is no front.
    """
    try:
        report = parse_json(bounded_text(path))
        refuse_newer("front", report, path, TrainingError)
        return front_of(path, report)
    except TrainingError:
        raise
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read: {error.strerror}, wanted the front.json of a search") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"{path}: not the front of a search: {type(error).__name__} {error}") from error


def read_front(path: Path, limits: Sequence[Limit] = ()) -> list[Candidate]:
    """Read the candidates of a ``front.json`` that satisfy further limits, in the order of the file.

    Raises:
        TrainingError: the file is no front, or no candidate satisfies the limits.
    """
    return load_front(path).keeping(limits)


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """Return a number of rows evenly along a front, its ends first and last; all if there are fewer."""
    count = min(count, len(rows))
    return [rows[round(i * (len(rows) - 1) / max(count - 1, 1))] for i in range(count)]


def choose_from(rows: Sequence[Candidate], how: str) -> list[Candidate]:
    """Choose candidates of a front: positions (``0,4,7``), ``spread:N`` evenly along it, or ``best:METRIC``.

    Raises:
        TrainingError: ``how`` is anything else, or names a position that does not exist.
    """
    kind, _, rest = how.partition(":")
    if kind == "best" and rest in METRICS and rest in rows[0].values:
        return [min(rows, key=lambda row: Objective(rest, METRICS[rest][1]).cost(row.values))]
    count = whole_number(rest)
    if kind == "spread" and count:
        return spread(rows, count)
    positions = [whole_number(text) for text in how.split(",")]
    if any(position is None or position >= len(rows) for position in positions):
        wanted = f"wanted positions 0 to {len(rows) - 1}, spread:N or best:METRIC"
        raise TrainingError(f"choose: got {how!r}, {wanted}")
    return [rows[position] for position in positions if position is not None]
