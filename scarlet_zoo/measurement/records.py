"""Records of measurements, read strictly: a number without its conditions is refused.

:mod:`scarlet_zoo.latency` writes plain JSON on any device; this module validates it before it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from scarlet_zoo.errors import RecordError
from scarlet_zoo.latency import CPU, MODES, Provider, Settings, Timing, is_stable, statistics
from scarlet_zoo.measurement.network_names import network_of_old_record
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.names import in_utf8
from scarlet_zoo.utils.reading import bounded_text, parse_json
from scarlet_zoo.utils.schema_versions import SCHEMAS, refuse_newer

# Bounds that no measurement reaches, so that no number of a record overflows a computation.
Milliseconds = Annotated[FiniteFloat, Field(gt=0, le=1e12)]
Count = Annotated[int, Field(ge=1, le=10**12)]
Bytes = Annotated[int, Field(ge=1, le=2**60)]
Text = Annotated[str, Field(min_length=1)]
# A record's percentiles may differ from those of its samples by rounding, not by more.
_SAME = 1e-6


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class State(_Strict):
    """The state of a machine before or after a measurement; a value is None where it cannot be read."""

    load_average: FiniteFloat | None
    cpu_mhz: list[FiniteFloat] | None
    temperature_c: FiniteFloat | None = None


class Conditions(BaseModel):
    """What the numbers of a record depend on.

    Records of devices may have more fields. A field with a default is one that early records lack: its value is
    unknown then, and such a record is not compared with one that has the field.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    device: Text
    machine: Text
    system: Text
    cores: Count | None
    governor: str | None
    cpu_features: list[str] | None = None
    runtime: Text
    runtime_version: Text
    runtime_build: str | None = None
    provider: Text
    provider_options: dict[str, str] = {}
    provider_nodes: dict[str, Count] | None = None
    graph_optimization: Text
    mode: Text
    threads: Count
    spin: bool
    affinity: list[int] | None = None
    warmup: Count
    burst: Count
    runs: Count
    seconds: Milliseconds
    frame_ms: Milliseconds | None = None
    openings: Count = 1
    before: State
    after: State
    date: Text
    measurement: Text
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    input_shape: dict[str, list[Count]]
    form: str | None = None
    precision: str | None = None
    opset: Count | None = None
    processes: Count = 1
    shapes: list[str] = []

    @model_validator(mode="after")
    def _known_mode(self) -> Conditions:
        if self.mode not in MODES:
            raise ValueError(f"mode {self.mode!r}, wanted one of {' '.join(MODES)}")
        return self


class Attempt(_Strict):
    """One of the repeated measurements that a record was chosen from."""

    p50_ms: Milliseconds
    cv: Annotated[FiniteFloat, Field(ge=0)]


class Record(_Strict):
    """A file's latency with its raw samples and all conditions; the fields are those of :class:`Timing`.

    Attributes:
        network: the network's name, set by the writer of the record; the reader derives it for an old record.
        stable: whether ``cv`` is at most 5 %; the reader computes it for an old record that lacks it.
        attempts: all measurements that were made, in order; the record holds the steadiest one.
        exact: False where the processor's kernels saturate on the file, so that the time is of wrong answers; else
            None.
        opening_of_sample: the number of the session in which each sample was taken; early records lack it.
        peak_rss_bytes: peak memory of the process; None where it cannot be known, as in a browser.
    """

    file: Text
    p50_ms: Milliseconds
    p90_ms: Milliseconds
    p99_ms: Milliseconds
    min_ms: Milliseconds
    cv: Annotated[FiniteFloat, Field(ge=0)]
    runs: Count
    load_ms: Milliseconds
    first_ms: Milliseconds
    peak_rss_bytes: Bytes | None = None
    conditions: Conditions
    network: str = ""
    samples_ms: Annotated[list[Milliseconds], Field(min_length=2, repr=False)]
    stable: bool | None = None
    exact: bool | None = None
    attempts: list[Attempt] | None = None
    opening_of_sample: list[int] | None = Field(default=None, repr=False)
    schema_version: Count = SCHEMAS["record"]

    @model_validator(mode="after")
    def _true_to_its_samples(self) -> Record:
        for name, value in statistics(self.samples_ms).items():
            recorded = getattr(self, name)
            if abs(recorded - value) > _SAME * value:
                raise ValueError(f"{name} is {recorded}, its samples give {value}")
        if self.opening_of_sample is not None and len(self.opening_of_sample) != len(self.samples_ms):
            raise ValueError(f"opening_of_sample has {len(self.opening_of_sample)} values for {self.runs} samples")
        if len(self.samples_ms) < 2 * self.conditions.burst:
            raise ValueError(f"{self.runs} samples, wanted two bursts of {self.conditions.burst} or more")
        return self

    @property
    def settings(self) -> Settings:
        """The settings with which it was measured."""
        conditions = self.conditions
        keys = ("mode", "threads", "warmup", "runs", "seconds", "burst", "openings", "spin", "frame_ms")
        fields = {key: getattr(conditions, key) for key in keys if getattr(conditions, key) is not None}
        affinity = None if conditions.affinity is None else tuple(conditions.affinity)
        provider = Provider(conditions.provider, tuple(conditions.provider_options.items()))
        # A provider is ONNX Runtime's; other runtimes have none.
        where = str(provider) if conditions.runtime == "onnxruntime" else CPU
        return Settings(**fields, affinity=affinity, shapes=tuple(conditions.shapes), provider=where)

    def summary(self) -> str:
        """The latency in one line: median, 90th percentile, and UNSTABLE where the runs vary by more than 5 %."""
        unstable = "" if self.stable else f", UNSTABLE: its runs vary by {self.cv:.0%}"
        return f"{self.p50_ms:.3f} ms (90 % of {self.runs} runs within {self.p90_ms:.3f} ms){unstable}"

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values."""
        return self.model_dump(mode="json", exclude_none=True) | {"conditions": self.conditions.model_dump(mode="json")}


def check_record(content: Any, where: str = "record") -> Record:
    """Validate JSON values as a record.

    Raises:
        RecordError: the values are no record; the message names the first wrong field and ``where`` it is.
    """
    refuse_newer("record", content, where, RecordError)
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
    """Make the record of a timing of this process; ``more`` are further fields of the record."""
    fields = {**timing.to_dict(), **more}
    return check_record({**fields, "file": in_utf8(str(fields["file"]))}, timing.file)


def unstable_words(records: Sequence[Record]) -> str:
    """Text that names the measurements that varied by more than 5 %, and by how much; empty if none did."""
    cvs = {record.file: record.cv for record in records if record.stable is False}
    return ", ".join(f"{file} varied by {cv:.1%}" for file, cv in cvs.items())


def read_json(path: Path, wanted: str) -> Any:
    """Read a JSON file; ``wanted`` says in error messages what the file should be.

    Raises:
        RecordError: the file cannot be read, or is not JSON.
    """
    try:
        return parse_json(bounded_text(path))
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}, wanted {wanted}") from error
    except ValueError as error:
        raise RecordError(f"{path}: not JSON, wanted {wanted}") from error


def read_records(path: Path) -> list[Record]:
    """Read all records of a file that ``bench --save`` or a device wrote.

    Raises:
        RecordError: the file cannot be read, is not JSON, or holds something other than records.
    """
    content = read_json(path, "a file of bench --save")
    rows = content if isinstance(content, list) else [content]
    if not rows:
        raise RecordError(f"{path}: has no records, wanted a file of bench --save")
    return [check_record(row, f"{path}, record {index}") for index, row in enumerate(rows)]


def write_records(path: Path, records: Sequence[Record | Mapping[str, Any]]) -> None:
    """Write records as one JSON list, atomically."""
    write_record_texts(path, map(record_text, records))


def record_text(record: Record | Mapping[str, Any]) -> str:
    """Return a record as JSON text."""
    return json_text(record.to_dict() if isinstance(record, Record) else dict(record))


def write_record_texts(path: Path, texts: Iterable[str]) -> None:
    """Write records that are JSON texts already as one JSON list, atomically."""
    write_text(path, f"[{', '.join(texts)}]\n")
