"""Latencies as the gallery shows them: of the records that the package holds, and of a person's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from scarlet_zoo.measurement.compare import median_interval
from scarlet_zoo.measurement.recommend import CONFIDENCE, read_evidence, record_files
from scarlet_zoo.measurement.records import Milliseconds, Record
from scarlet_zoo.utils.reading import bounded_text, parse_json

# Made by benchmarks/make_report.py from the committed records, which are too large to come with the package.
PACKAGED = Path(__file__).parent / "latencies.json"


class Latency(BaseModel):
    """The median latency of one file in one record.

    Attributes:
        network, precision, form: what was measured; ``form`` is the graph variant.
        sha256: digest of the file that was measured; None if the record does not state it.
        sides: channels, height and width of the image in ascending order; None if the record does not state them.
        device, threads, runtime, date: where and when, the runtime with its version.
        record: name of the file of records; only latencies of one file of records are compared with each other.
        p50_ms, low_ms, high_ms: the median in milliseconds and its 95 % interval.
        runs: number of timed runs.
        stable: whether the runs varied by at most 5 %.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str
    precision: str
    form: str
    sha256: str | None
    sides: tuple[int, ...] | None = None
    device: str
    threads: int
    runtime: str
    date: str
    record: str
    p50_ms: Milliseconds
    low_ms: Milliseconds
    high_ms: Milliseconds
    runs: int
    stable: bool

    @property
    def group(self) -> str:
        """The name of the measurement, which latencies that may be compared have in common."""
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        return f"{self.device}, {threads}, {self.runtime} ({self.record})"


def latency_of(record: Record, name: str, digits: int = 5) -> Latency:
    """Return what the gallery shows of a record.

    Args:
        record: the record.
        name: name of the file of records that it is from.
        digits: significant digits of the milliseconds.
    """
    low, high = median_interval(record, CONFIDENCE)
    where = record.conditions
    p50, low, high = (float(f"{value:.{digits}g}") for value in (record.p50_ms, low, high))
    return Latency(
        network=record.network, precision=where.precision or "float32", form=where.form or "unknown",
        sha256=where.sha256, sides=_sides(where.input_shape), device=where.device, threads=where.threads,
        runtime=f"{where.runtime} {where.runtime_version}", date=where.date[:10], record=name, p50_ms=p50, low_ms=low,
        high_ms=high, runs=record.runs, stable=record.stable is not False,
    )  # fmt: skip


def _sides(shapes: Mapping[str, Sequence[int]]) -> tuple[int, ...] | None:
    """The sides of the one image input without the batch; sorted, because uint8 files have the channels last."""
    return tuple(sorted(next(iter(shapes.values()))[1:])) if len(shapes) == 1 else None


@cache
def packaged_latencies() -> tuple[Latency, ...]:
    """The latencies of the package's own records."""
    return tuple(TypeAdapter(list[Latency]).validate_python(parse_json(bounded_text(PACKAGED))))


def latencies_in(path: Path) -> list[Latency]:
    """Read the records of a file, or of all files of a folder such as ``serve`` writes; inner folders are not read.

    Raises:
        RecordError: there is no such file, the folder has none, or one holds something other than records.
    """
    return [latency_of(record, file.name) for file in record_files(path) for record in read_evidence(file)]


def latencies_of(
    known: Iterable[Latency], *, sha256: str | None, names: Sequence[str], precision: str, form: str,
    sides: Sequence[int] | None = None,
) -> list[Latency]:  # fmt: skip
    """Choose one latency of a network from each measurement.

    A record of the very file goes before records of another file of the same network in the same precision and for
    images of the same size, of which the same graph variant goes first and then the fastest.

    Args:
        known: all latencies.
        sha256: digest of the network's file; None where it has none.
        names: names by which records may call the network.
        precision, form: the file's precision and graph variant.
        sides: channels, height and width of its images, in any order; None where they are not known.
    """
    size = None if sides is None else tuple(sorted(sides))

    def rank(one: Latency) -> tuple[Any, ...]:
        return one.sha256 != sha256, one.form != form, not one.stable, one.p50_ms

    best: dict[str, Latency] = {}
    for one in known:
        is_same_file = sha256 is not None and one.sha256 == sha256
        is_same_size = size is None or one.sides in (None, size)
        if is_same_file or (one.network in names and one.precision == precision and is_same_size):
            group = one.group
            if group not in best or rank(one) < rank(best[group]):
                best[group] = one
    return list(best.values())
