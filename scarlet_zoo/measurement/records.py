"""Records of measurements, read strictly: a number without its conditions is not let in.

:mod:`scarlet_zoo.latency` writes plain JSON, on any device; here it is validated before anything is made of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError, model_validator

from scarlet_zoo.errors import RecordError
from scarlet_zoo.latency import MODES, Settings, Timing, is_stable, statistics
from scarlet_zoo.measurement.network_names import network_of_old_record
from scarlet_zoo.utils.files import json_text, write_text

Milliseconds = Annotated[FiniteFloat, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]
# A record says its percentiles and its samples; they may differ by rounding, not by more.
_SAME = 1e-6


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class State(_Strict):
    """Of a machine before or after a measurement; None where it cannot be read."""

    load_average: FiniteFloat | None
    cpu_mhz: list[FiniteFloat] | None
    temperature_c: FiniteFloat | None = None


class Conditions(BaseModel):
    """What the numbers of a record depend on.

    Records of devices may say more. What may be missing is what early records did not say: it is unknown then,
    and two records of which one says it are not compared.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    device: Text
    machine: Text
    system: Text
    cores: PositiveInt | None
    governor: str | None
    cpu_features: list[str] | None = None
    runtime: Text
    runtime_version: Text
    runtime_build: str | None = None
    provider: Text
    graph_optimization: Text
    mode: Text
    threads: PositiveInt
    spin: bool
    affinity: list[int] | None = None
    warmup: PositiveInt
    burst: PositiveInt
    runs: PositiveInt
    seconds: Milliseconds
    frame_ms: Milliseconds | None = None
    openings: PositiveInt = 1
    before: State
    after: State
    date: Text
    measurement: Text
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    input_shape: dict[str, list[PositiveInt]]
    form: str | None = None
    precision: str | None = None
    opset: PositiveInt | None = None
    processes: PositiveInt = 1

    @model_validator(mode="after")
    def _known_mode(self) -> Conditions:
        if self.mode not in MODES:
            raise ValueError(f"mode {self.mode!r}, wanted one of {' '.join(MODES)}")
        return self


class Attempt(_Strict):
    """One of the measurements that a record was chosen from."""

    p50_ms: Milliseconds
    cv: Annotated[FiniteFloat, Field(ge=0)]


class Record(_Strict):
    """A file's latency with its raw samples and all conditions; the fields are those of :class:`Timing`.

    Attributes:
        network: its name, which the maker of the record sets; the reader derives that of an old record.
        stable: whether ``cv`` is at most 5 %; the reader works it out where an old record does not say it.
        attempts: all that were made, in order; the steadiest one is told.
        opening_of_sample: in which opening of the file each sample was taken; early records do not say.
        peak_rss_bytes: None where it cannot be known, as in a browser.
    """

    file: Text
    p50_ms: Milliseconds
    p90_ms: Milliseconds
    p99_ms: Milliseconds
    min_ms: Milliseconds
    cv: Annotated[FiniteFloat, Field(ge=0)]
    runs: PositiveInt
    load_ms: Milliseconds
    first_ms: Milliseconds
    peak_rss_bytes: PositiveInt | None = None
    conditions: Conditions
    network: str = ""
    samples_ms: Annotated[list[Milliseconds], Field(min_length=2, repr=False)]
    stable: bool | None = None
    attempts: list[Attempt] | None = None
    opening_of_sample: list[int] | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _true_to_its_samples(self) -> Record:
        for name, value in statistics(self.samples_ms).items():
            told = getattr(self, name)
            if abs(told - value) > _SAME * value:
                raise ValueError(f"{name} is {told}, its samples give {value}")
        if self.opening_of_sample is not None and len(self.opening_of_sample) != len(self.samples_ms):
            raise ValueError(f"opening_of_sample has {len(self.opening_of_sample)} values for {self.runs} samples")
        if len(self.samples_ms) < 2 * self.conditions.burst:
            raise ValueError(f"{self.runs} samples, wanted two turns of {self.conditions.burst} or more")
        return self

    @property
    def settings(self) -> Settings:
        """How it was measured."""
        told = self.conditions
        keys = ("mode", "threads", "warmup", "runs", "seconds", "burst", "openings", "spin", "frame_ms")
        said = {key: getattr(told, key) for key in keys if getattr(told, key) is not None}
        return Settings(**said, affinity=None if told.affinity is None else tuple(told.affinity))

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return self.model_dump(mode="json", exclude_none=True) | {"conditions": self.conditions.model_dump(mode="json")}


def check_record(content: Any, where: str = "record") -> Record:
    """A record from JSON values.

    Raises:
        RecordError: the first thing that is wrong with it, and where.
    """
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "whole"
        got = repr(first["input"])
        shown = got if len(got) <= 40 else f"{got[:37]}..."
        reason = first["msg"].removeprefix("Value error, ")
        what = f"got {shown}, {reason}" if first["loc"] else reason
        raise RecordError(f"{where}: {place}: {what}; wanted a record of bench") from error
    network = record.network or network_of_old_record(record.file, record.conditions.model_extra or {})
    stable = is_stable(record.cv) if record.stable is None else record.stable
    return record.model_copy(update={"network": network, "stable": stable})


def record_of(timing: Timing, **more: Any) -> Record:
    """The record of a timing of this process."""
    return check_record({**timing.to_dict(), **more}, timing.file)


def unstable_words(records: Sequence[Record]) -> str:
    """Which of these measurements varied by how much more than 5 %, for a sentence; empty where none did."""
    cvs = {record.file: record.cv for record in records if record.stable is False}
    return ", ".join(f"{file} varied by {cv:.1%}" for file, cv in cvs.items())


def read_json(path: Path, wanted: str) -> Any:
    """A file's JSON.

    Raises:
        RecordError: it cannot be read, or is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}, wanted {wanted}") from error
    except ValueError as error:
        raise RecordError(f"{path}: not JSON, wanted {wanted}") from error


def read_records(path: Path) -> list[Record]:
    """All records of a file that ``bench --save`` wrote, or a device.

    Raises:
        RecordError: the file cannot be read, is no JSON, or holds anything else.
    """
    content = read_json(path, "a file of bench --save")
    rows = content if isinstance(content, list) else [content]
    if not rows:
        raise RecordError(f"{path}: no records in it, wanted a file of bench --save")
    return [check_record(row, f"{path}, record {index}") for index, row in enumerate(rows)]


def write_records(path: Path, records: Sequence[Record | Mapping[str, Any]]) -> None:
    """Write records as one JSON list, atomically."""
    rows = [record.to_dict() if isinstance(record, Record) else dict(record) for record in records]
    write_text(path, json_text(rows) + "\n")
