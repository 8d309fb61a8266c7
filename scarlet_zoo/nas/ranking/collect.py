"""Make a ground truth: run its trainings, and write each as a row as soon as it is finished."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.zoo import safe_name
from scarlet_zoo.errors import DatasetError
from scarlet_zoo.latency import cpu_model
from scarlet_zoo.nas.ranking.ground_truth import (
    PACKAGE_FILE,
    ROWS_FILE,
    TruthPlan,
    TruthRow,
    read_plan,
    read_rows,
    write_rows,
)
from scarlet_zoo.nas.search.latency_meter import LatencyMeter
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.training.train_network import train
from scarlet_zoo.utils.files import file_sha256, write_text
from scarlet_zoo.utils.jobs import run_jobs
from scarlet_zoo.utils.ownership import own_folder, with_locks

Progress = Callable[[int, int], None]
_ROUNDS = 3


@dataclass(frozen=True)
class _Training:
    """One training of a plan, with everything that a process needs to run it."""

    plan: TruthPlan
    arch: str
    seed: int
    data_dir: Path | None
    work: Path


@with_locks
def collect(folder: Path, work: Path, data_dir: Path | None = None, workers: int = 1, limit: int | None = None,
            progress: Progress | None = None) -> list[TruthRow]:  # fmt: skip
    """Run the trainings of a plan that have no row yet.

    Args:
        folder: folder of the ground truth; its rows are written here.
        work: folder of the checkpoints; a training that was killed continues from its checkpoint.
        data_dir: folder of the data.
        workers: number of trainings that run at the same time, each on one thread.
        limit: largest number of trainings to run; all when None.
        progress: called with (trainings finished, trainings in all), without those that had a row before.

    Returns:
        All rows, in the order of the plan.

    Raises:
        DatasetError: the plan is broken, or a row is not of the plan.
    """
    plan = read_plan(folder)
    own_folder(folder)
    epochs, path = int(plan.training["epochs"]), folder / ROWS_FILE
    rows = {row.key: row for row in read_rows(path, epochs)}
    missing = [_Training(plan, str(arch), seed, data_dir, work) for arch, seed in plan.trainings
               if (str(arch), seed) not in rows][:limit]  # fmt: skip
    for number, (_, row) in enumerate(run_jobs(train_one, missing, workers), start=1):
        rows[row.key] = row
        write_rows(path, _in_order(plan, rows.values()), epochs)
        if progress is not None:
            progress(number, len(missing))
    return _in_order(plan, rows.values())


def _in_order(plan: TruthPlan, rows: Iterable[TruthRow]) -> list[TruthRow]:
    place = {(str(arch), seed): number for number, (arch, seed) in enumerate(plan.trainings)}
    try:
        return sorted(rows, key=lambda row: place[row.key])
    except KeyError as error:
        raise DatasetError(f"ground truth: {error.args[0]} is not one of the plan's trainings") from error


def train_one(job: _Training) -> TruthRow:
    """Train one network and return its row; its folder is deleted afterwards."""
    plan, space = job.plan, job.plan.search_space
    settings = TrainSettings(**{"threads": 1, **plan.training, "seed": job.seed})  # type: ignore[arg-type]
    data = DataPlan(name=plan.data, folder=job.data_dir, images=plan.pictures)
    out = job.work / f"{safe_name(job.arch)}-{job.seed}"
    report = train(job.arch, data=data, space=space, settings=settings, out=out).report
    cost = arch_cost(Arch.parse(job.arch, space))
    shutil.rmtree(out)
    return TruthRow(arch=job.arch, seed=job.seed, macs=cost.macs, params=cost.params, latency_ms=None,
                    core_seconds=report["core_seconds"], top1=report["top1"])  # fmt: skip


def add_latency(folder: Path, progress: Progress | None = None) -> dict[str, float]:
    """Measure the latency of every architecture of a ground truth and write it into the rows.

    Each architecture is measured interleaved with one reference, in three rounds through all architectures, and the
    median of the rounds is taken (see :class:`scarlet_zoo.nas.search.latency_meter.LatencyMeter`).

    Returns:
        Milliseconds by identity string of the architecture.
    """
    plan = read_plan(folder)
    epochs, path = int(plan.training["epochs"]), folder / ROWS_FILE
    rows = read_rows(path, epochs)
    archs = [arch for arch in plan.archs if str(arch) in {row.arch for row in rows}]
    meter, seen = LatencyMeter(plan.search_space, threads=1), dict[str, list[float]]()
    for number in range(_ROUNDS * len(archs)):
        arch = archs[number % len(archs)]
        seen.setdefault(str(arch), []).append(meter(arch))
        if progress is not None:
            progress(number + 1, _ROUNDS * len(archs))
    found = {arch: sorted(values)[_ROUNDS // 2] for arch, values in seen.items()}
    write_rows(path, [row.model_copy(update={"latency_ms": found[row.arch]}) for row in rows], epochs)
    return found


def write_package(folder: Path, created: str) -> None:
    """Write ``datapackage.json``: columns, units, sources, and the machine that made the rows.

    Args:
        folder: folder of a ground truth.
        created: date and time of creation, ISO 8601.
    """
    plan, path = read_plan(folder), folder / ROWS_FILE
    epochs = int(plan.training["epochs"])
    rows = read_rows(path, epochs)
    resource = {
        "name": path.stem, "path": path.name, "format": "csv", "mediatype": "text/csv", "encoding": "utf-8",
        "bytes": path.stat().st_size, "hash": f"sha256:{file_sha256(path)}",
        "schema": {"fields": _fields(epochs), "primaryKey": ["arch", "seed"], "missingValues": [""]},
    }  # fmt: skip
    package = {
        "name": plan.search_space.name, "title": plan.title, "created": created,
        "licenses": [{"name": "Apache-2.0", "path": "https://www.apache.org/licenses/LICENSE-2.0"}],
        "sources": [{"title": plan.data}],
        "rows": len(rows),
        "core_hours": round(sum(row.core_seconds for row in rows) / 3600, 2),
        "made_with": {"torch": torch.__version__, "python": platform.python_version(), "cpu": cpu_model()},
        "resources": [resource],
    }  # fmt: skip
    write_text(folder / PACKAGE_FILE, json.dumps(package, indent=1) + "\n")


def _fields(epochs: int) -> list[dict[str, Any]]:
    named = partial(_field, "number")
    return [
        _field("string", "arch", "identity string of the architecture"),
        _field("integer", "seed", "seed of initial weights, batches and augmentation"),
        _field("integer", "macs", "multiply-adds of convolutions and linear layers for one image"),
        _field("integer", "params", "learnable parameters, batch norm's included"),
        named("latency_ms", "milliseconds, median, ONNX Runtime, one thread, batch 1, float32, native graph variant"),
        named("core_seconds", "processor time of the training and its validation, in seconds"),
        *(named(f"top1_epoch_{n}", f"validation accuracy in percent after epoch {n}") for n in range(1, epochs + 1)),
    ]


def _field(kind: str, name: str, description: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "description": description}
