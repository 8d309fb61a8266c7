"""A search on disk: from its files to its front, and from a front to the networks that one wants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.spaces import find_space
from scarlet_zoo.arch.zoo import safe_name
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.models.weights.checkpoint import read_metadata, save_state
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.objectives import METRICS, Limit, Objective
from scarlet_zoo.nas.search.plots import plot_front
from scarlet_zoo.nas.search.search import search
from scarlet_zoo.nas.search.settings import Candidate, Progress, SearchSettings
from scarlet_zoo.utils.files import file_sha256, json_text, make_folder, write_text

FRONT_FILE, JOURNAL_FILE, ARCHS_FILE = "front.json", "evaluations.jsonl", "archs.json"


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """What to search with what: see :class:`scarlet_zoo.nas.search.evaluator.Evaluation`."""

    supernet: Path | None
    space: str | None
    metrics: tuple[str, ...]
    data: str | None = None
    data_dir: Path | None = None
    held_out: int | None = None
    validation: int | None = None
    calibration: int = 2000
    threads: int = 1
    lut: Path | None = None
    strategy: str | None = None

    def evaluation(self) -> Evaluation:
        """How architectures are evaluated.

        Raises:
            TrainingError: neither a supernet nor a space, or the supernet is of one that does not hold it.
        """
        described = read_metadata(self.supernet) if self.supernet is not None else {}
        if self.supernet is not None and "space" not in described:
            raise TrainingError(f"{self.supernet}: no supernet, wanted the supernet.safetensors of supernet train")
        if not described and self.space is None:
            raise TrainingError("search: got neither --supernet nor --space, wanted one of them")
        space = self._space(described)
        held = self.held_out or (int(described["validation"]) if "validation" in described else None)
        name = self.data or described.get("data")
        data = (name, self.data_dir, held) if name else None
        return Evaluation(space, self.metrics, self.supernet, data, self.calibration, self.validation, self.threads,
                          lut=self.lut, strategy=self.strategy)  # fmt: skip

    def _space(self, described: Mapping[str, str]) -> SearchSpace:
        if not described:
            return find_space(str(self.space))
        whole = SearchSpace.from_json(described["space"])
        if self.space is None:
            return whole
        asked = replace(find_space(self.space), num_classes=whole.num_classes)
        if asked not in (whole, whole.chain):
            raise TrainingError(f"{self.supernet}: a supernet of {whole.name!r}, not of the space {self.space!r}")
        return asked


def habits_of(strategy: str | None, supernet: Path | None) -> tuple[str, str]:
    """The metric that a strategy scores by and its method of search; of the supernet's own when left out.

    Raises:
        UnknownNameError: no such strategy.
    """
    name = strategy or (read_metadata(supernet).get("strategy") if supernet is not None else None)
    if name is None:
        return "accuracy", "nsga2"
    from scarlet_zoo.nas.strategies.registry import find_strategy

    kind = find_strategy(name)
    return kind.metric, kind.method


def run_search(plan: SearchPlan, settings: SearchSettings, out: Path, progress: Progress | None = None
               ) -> dict[str, Any]:  # fmt: skip
    """Search; ``out`` gets ``front.json``, the plot as PNG and SVG, and the journal while it runs.

    Returns:
        What ``front.json`` holds.
    """
    evaluation = plan.evaluation()
    make_folder(out)
    result = search(evaluation, settings, out / JOURNAL_FILE, progress)
    front = [_row(candidate) for candidate in result.front]
    report = {
        "space": evaluation.space.name,
        "definition": evaluation.space.to_json(),
        "objectives": [str(objective) for objective in settings.objectives],
        "limits": [str(limit) for limit in settings.limits],
        "method": settings.method,
        "seed": settings.seed,
        "evaluations": len(result.evaluated),
        "conditions": evaluation.conditions,
        "front": front,
    }
    if evaluation.table is not None and "latency" in evaluation.metrics:
        report |= _measured(evaluation, front, result.front)
    plot_front(result, settings.objectives, out / "front")
    write_text(out / FRONT_FILE, json_text(report, indent=1) + "\n")
    return report


def _measured(evaluation: Evaluation, rows: list[dict[str, Any]], front: Sequence[Candidate]) -> dict[str, Any]:
    """A front that a table has chosen, measured for real; each row gets ``interval_ms``, and ``measured_ms`` here.

    Returns:
        ``front_measured``, and where it was, ``front_error``: the mean error of the table on it.
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


def _row(candidate: Candidate) -> dict[str, Any]:
    return {"arch": str(candidate.arch), "values": dict(candidate.values)}


def read_front(path: Path, limits: Sequence[Limit] = ()) -> list[Candidate]:
    """The candidates of a ``front.json`` that keep further limits, in its order.

    Raises:
        TrainingError: no front, or none of it keeps the limits.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        space = SearchSpace.from_json(content["definition"])
        rows = [Candidate(Arch.parse(row["arch"], space), row["values"]) for row in content["front"]]
        kept = [row for row in rows if all(limit.excess(row.values) <= 0 for limit in limits)]
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read: {error.strerror}, wanted the front.json of a search") from error
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: no front of a search: {type(error).__name__} {error}") from error
    if not kept:
        raise TrainingError(f"{path}: none of {len(rows)} candidates keeps {', '.join(map(str, limits)) or 'anything'}")
    return kept


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


def derive_networks(
    chosen: Sequence[Candidate],
    out: Path,
    supernet: Path | None = None,
    names: Sequence[str] | None = None,
    data: str | None = None,
    data_dir: Path | None = None,
) -> list[dict[str, Any]]:
    """Write ``archs.json`` and, with a supernet, each network with its weights and statistics of its own.

    Returns:
        What ``archs.json`` holds: ``name arch values``, and ``path`` and ``sha256`` of the weights.
    """
    make_folder(out)
    labels = list(names) if names is not None else [safe_name(str(row.arch)) for row in chosen]
    report: list[dict[str, Any]] = [{"name": name, **_row(row)} for name, row in zip(labels, chosen, strict=True)]
    if supernet is not None:
        from scarlet_zoo.nas.one_shot import OneShot

        plan = SearchPlan(supernet=supernet, space=None, metrics=("accuracy",), data=data, data_dir=data_dir)
        pictures = plan.evaluation().data
        assert pictures is not None
        bench = OneShot(supernet, pictures)
        described = read_metadata(supernet)
        for row, candidate in zip(report, chosen, strict=True):
            model = bench.network(candidate.arch)
            path = out / f"{row['name']}.safetensors"
            said = {"name": row["name"], "arch": row["arch"], "space": candidate.arch.space.to_json(),
                    "labels": described["labels"], "data": described["data"],
                    "stabilized": str(bench.supernet.skip != "plain"),
                    "supernet_sha256": described["sha256"]}  # fmt: skip
            save_state(model.state_dict(), path, said)
            row |= {"path": str(path), "sha256": file_sha256(path)}
    write_text(out / ARCHS_FILE, json_text(report, indent=1) + "\n")
    return report
