"""A record measured again: the same bytes under the same conditions, and how well the number holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scarlet_zoo.errors import RecordError
from scarlet_zoo.measurement.compare import compare
from scarlet_zoo.measurement.records import Record
from scarlet_zoo.measurement.steady import Progress, measure_records
from scarlet_zoo.measurement.workloads import Workload, gather
from scarlet_zoo.utils.files import file_sha256


@dataclass(frozen=True, slots=True)
class Replay:
    """A record beside its repetition.

    Attributes:
        file: as the record calls it.
        p50_ms: the record's.
        again_p50_ms: of the repetition.
        ratio, low, high: again over before, with its bootstrap interval.
        reproduced_within_percent: how far the ratio is from 1.
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
    """Measure records again, those together that were measured together.

    Args:
        records: of one machine.
        folder: for networks that were given by name, which are exported again.
        files: where the files are, in the order of the records; where they were when left out.
        repeats, progress: as for :func:`measure_records`.
        say: told what begins.

    Raises:
        RecordError: a file that is not there or has other bytes, or a machine or runtime that is not the record's.
    """
    workloads = [_subject(record, folder, files[index] if files else None, say) for index, record in enumerate(records)]
    told: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        told.setdefault(record.conditions.measurement, []).append(index)
    results: dict[int, Replay] = {}
    for together in told.values():
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


def _subject(record: Record, folder: Path, file: Path | None, say: Callable[[str], None]) -> Workload:
    source = getattr(record.conditions, "source", None)
    if file is None and source is not None:
        (subject,) = gather([source["name"]], folder, [source["target"]], source["weights"], "random", say)
    else:
        path = file or Path(record.file)
        if not path.is_file():
            raise RecordError(f"{record.file}: no such file, wanted the one that was measured (--file)")
        subject = Workload(record.file, path, record.network)
    digest = file_sha256(subject.path)
    if digest != record.conditions.sha256:
        raise RecordError(
            f"{record.file}: got a file with sha256 {digest[:12]}, wanted {str(record.conditions.sha256)[:12]}"
        )
    return replace(subject, label=record.file, network=record.network)
