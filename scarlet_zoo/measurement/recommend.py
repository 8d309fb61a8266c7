"""Recommend a network to deploy on a device, from the device's records and their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.errors import RecordError
from scarlet_zoo.measurement.compare import median_interval
from scarlet_zoo.measurement.published import published_peers
from scarlet_zoo.measurement.records import Record, check_record, read_json
from scarlet_zoo.utils.markdown import unstable_mark

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Option:
    """A network as it was measured on the device.

    Attributes:
        network, form, precision: what to deploy; ``form`` is the graph variant.
        runtime, threads: the runtime and its number of threads.
        p50_ms, low_ms, high_ms: median latency in milliseconds and its 95 % interval.
        stable: whether the measurement varied by at most 5 %.
        top1, source: ImageNet top-1 accuracy in percent, in float32, as its authors publish it, and where; None if
            unpublished.
        record: file and measurement of the record.
    """

    network: str
    form: str
    precision: str
    runtime: str
    threads: int
    p50_ms: float
    low_ms: float
    high_ms: float
    stable: bool
    top1: float | None
    source: str | None
    record: str


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The answer of :func:`recommend`.

    Attributes:
        device: the device of the records.
        budget_ms: the latency budget, in milliseconds.
        min_top1: the lowest accuracy accepted, in percent; None accepts any.
        choice: the most accurate float network whose whole interval is within the budget; None if there is none.
        in_integers: the same among int8 files, whose accuracy is not published; None if there is none.
        maybe: more accurate networks whose interval contains the budget; another measurement may decide.
        reason: the reason for the answer, in one sentence.
    """

    device: str
    budget_ms: float
    min_top1: float | None
    choice: Option | None
    in_integers: Option | None
    maybe: tuple[Option, ...]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def read_evidence(path: Path) -> list[Record]:
    """Read records of a device: a list of records, or a file of ``benchmarks/results`` with a record in each row.

    Raises:
        RecordError: the file cannot be read, or holds something other than records.
    """
    content = read_json(path, "records of a device")
    rows = content.get("rows", [content]) if isinstance(content, Mapping) else content
    if not isinstance(rows, list) or not rows:
        raise RecordError(f"{path}: has no records, wanted a file of bench, serve or device run")
    inner = [row.get("record", row) if isinstance(row, Mapping) else row for row in rows]
    return [check_record(row, f"{path}, record {number}") for number, row in enumerate(inner)]


def recommend(
    records: Sequence[Record | str | Path],
    budget_ms: float,
    min_top1: float | None = None,
    threads: int | None = None,
) -> Recommendation:
    """Find the most accurate network of a device's records that keeps a latency budget.

    A network keeps the budget if the upper end of its median's interval does. An unstable measurement counts only if
    the same network, precision and number of threads has no stable one. Published accuracies hold for float32, so int8
    files have an answer of their own.

    Args:
        records: records of one device, as values or as files that ``bench``, ``serve`` or ``device run`` wrote.
        budget_ms: highest latency of one image, in milliseconds.
        min_top1: lowest published accuracy, in percent; networks without a published one are then left out.
        threads: consider only records with this number of threads; None considers all.

    Raises:
        RecordError: there are no records, or they are of several devices.
    """
    given = ([record] if isinstance(record, Record) else read_evidence(Path(record)) for record in records)
    rows = [row for part in given for row in part]
    devices = sorted({record.conditions.device for record in rows})
    if len(devices) != 1:
        raise RecordError(
            f"recommend: got records of {', '.join(devices) or 'no device'}, wanted records of one device"
        )
    options = [option for option in map(_option, rows) if threads in (None, option.threads)]
    if min_top1 is not None:
        options = [option for option in options if option.top1 is not None and option.top1 >= min_top1]
    kinds = {kind: [option for option in options if (option.precision == "int8") is kind] for kind in (False, True)}
    choice, integers = (_best(_steady(kind), budget_ms) for kind in kinds.values())
    least = (choice.top1 or 0.0) if choice else -1.0
    maybe = tuple(option for option in _steady(kinds[False])
                  if option.low_ms <= budget_ms < option.high_ms and (option.top1 or 0.0) > least)  # fmt: skip
    reason = _reason(devices[0], options, choice, integers, maybe, budget_ms)
    return Recommendation(device=devices[0], budget_ms=budget_ms, min_top1=min_top1, choice=choice,
                          in_integers=integers, maybe=maybe, reason=reason)  # fmt: skip


def _best(options: Iterable[Option], budget_ms: float) -> Option | None:
    fast_enough = [option for option in options if option.high_ms <= budget_ms]
    return max(fast_enough, key=lambda option: (option.top1 or 0.0, -option.p50_ms), default=None)


def _steady(options: Sequence[Option]) -> list[Option]:
    """The options without unstable measurements of networks that also have a stable one."""
    known = {(one.network, one.precision, one.threads) for one in options if one.stable}
    return [one for one in options if one.stable or (one.network, one.precision, one.threads) not in known]


def _reason(device: str, options: Sequence[Option], choice: Option | None, integers: Option | None,
            maybe: Sequence[Option], budget_ms: float) -> str:  # fmt: skip
    if choice is not None:
        accuracy = f"published top-1 {choice.top1:g} %" if choice.top1 is not None else "no published accuracy"
        unsteady = "" if choice.stable else "; UNSTABLE: that measurement varied by more than 5 %, so measure again"
        where = f"on {choice.runtime} with {choice.threads} thread(s)"
        latency = f"{choice.p50_ms:.2f} ms [{choice.low_ms:.2f}, {choice.high_ms:.2f}]"
        return f"{choice.network}, graph variant {choice.form}, {where}: {latency}, {accuracy}{unsteady}"
    if maybe:
        named = ", ".join(f"{one.network}{unstable_mark(one.stable)}" for one in maybe)
        return f"measure again: the intervals of {named} contain {budget_ms:g} ms"
    if integers is not None:
        return (f"measure accuracy first: only {integers.network} in int8 keeps {budget_ms:g} ms"
                f"{unstable_mark(integers.stable)}, and its int8 accuracy is not known")  # fmt: skip
    if not options:
        return f"measure first: {device} has no record of a network as asked for"
    fastest = min(options, key=lambda option: option.p50_ms)
    best = f"the fastest is {fastest.network} with {fastest.p50_ms:.2f} ms{unstable_mark(fastest.stable)}"
    return f"measure first: no measured network keeps {budget_ms:g} ms; {best}"


def _option(record: Record) -> Option:
    conditions = record.conditions
    top1, source = _published(record.network)
    low, high = median_interval(record, CONFIDENCE)
    return Option(
        network=record.network, form=conditions.form or "unknown", precision=conditions.precision or "float32",
        runtime=f"{conditions.runtime} {conditions.runtime_version}", threads=conditions.threads,
        p50_ms=record.p50_ms, low_ms=low, high_ms=high, stable=record.stable is not False, top1=top1,
        source=source, record=f"{record.file}, measurement {conditions.measurement}",
    )  # fmt: skip


def _published(network: str) -> tuple[float | None, str | None]:
    for peer in published_peers():
        if peer.name == network:
            return peer.top1, peer.source
    return None, None
