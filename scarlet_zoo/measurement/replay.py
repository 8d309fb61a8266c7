"""Measure a record again, with the same bytes under the same conditions, and say how well it is reproduced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scarlet_zoo.errors import RecordError
from scarlet_zoo.measurement.compare import compare
from scarlet_zoo.measurement.records import Record
from scarlet_zoo.measurement.steady import Progress, measure_records
from scarlet_zoo.measurement.workloads import Workload, gather, measurable
from scarlet_zoo.utils.files import file_sha256


@dataclass(frozen=True, slots=True)
class Replay:
    """A record beside its repetition.

    Attributes:
        file: the file's name in the record.
        p50_ms: the record's median latency.
        again_p50_ms: the repetition's median latency.
        ratio, low, high: the repetition's latency over the record's, with its bootstrap interval.
        reproduced_within_percent: distance of the ratio from 1, in percent.
        stable: whether the repetition varied by at most 5 %.
        record_stable: whether the record's own runs did.
    """

    file: str
    p50_ms: float
    again_p50_ms: float
    ratio: float
    low: float
    high: float
    reproduced_within_percent: float
    stable: bool
    record_stable: bool

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def replay(
    records: Sequence[Record],
    folder: Path,
    files: Sequence[Path] = (),
    *,
    repeats: int = 2,
    say: Callable[[str], None] = lambda _: None,
    progress: Progress | None = None,
) -> list[Replay]:
    """Measure records again; records that were measured together are measured together again.

    Args:
        records: records of this machine.
        folder: where networks that were given by name are exported again.
        files: the files to measure, in the order of the records; the paths in the records when left out.
        repeats, progress: as for :func:`measure_records`.
        say: called with a description of each step as it begins.

    Raises:
        RecordError: a file is missing or has other bytes, or the machine or the runtime is not the record's.
    """
    workloads = [
        _workload(record, folder, files[index] if files else None, say) for index, record in enumerate(records)
    ]
    groups: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        groups.setdefault(record.conditions.measurement, []).append(index)
    results: dict[int, Replay] = {}
    for together in groups.values():
        first = records[together[0]]
        again = measure_records(
            [workloads[index] for index in together],
            first.settings,
            processes=first.conditions.processes,
            repeats=repeats,
            progress=progress,
        )
        results |= {index: _beside(records[index], new) for index, new in zip(together, again, strict=True)}
    return [results[index] for index in range(len(records))]


def _beside(record: Record, again: Record) -> Replay:
    found = compare(record, again)
    return Replay(record.file, record.p50_ms, again.p50_ms, found.ratio, found.low, found.high,
                  100 * abs(found.ratio - 1), found.new_stable, found.base_stable)  # fmt: skip


def _workload(record: Record, folder: Path, file: Path | None, say: Callable[[str], None]) -> Workload:
    from scarlet_zoo.models.weights.store import local_weights

    source = getattr(record.conditions, "source", None)
    if file is None and source is not None:
        weights = source["weights"]
        if weights == "auto" and local_weights(source["name"]) is None:
            # A record of a version before 'auto' took pretrained weights.
            weights = "random"
        counts = {key: source.get(key) for key in ("num_classes", "in_chans")}
        (workload,) = gather([source["name"]], folder, [source["target"]], weights, "random", say, **counts)
    else:
        path = file or Path(record.file)
        if not path.is_file():
            raise RecordError(f"{record.file}: no such file, wanted the file that was measured (name it with --file)")
        workload = Workload(record.file, measurable(path, folder / str(record.conditions.sha256)), record.network)
    digest = file_sha256(workload.path)
    if digest != record.conditions.sha256:
        raise RecordError(
            f"{record.file}: got a file with sha256 {digest[:12]}, wanted {str(record.conditions.sha256)[:12]}"
        )
    return replace(workload, label=record.file, network=record.network)
