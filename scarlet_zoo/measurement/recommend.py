"""What to deploy on a device: answered from its records, with their intervals, or not at all."""

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
        network, form, precision, runtime, threads: what to deploy, and on what.
        p50_ms, low_ms, high_ms: median latency and its 95 % interval.
        stable: whether the measurement varied by at most 5 %.
        top1, source: ImageNet accuracy in percent as its authors publish it, in float32; None where nobody has.
        record: file and measurement that it stands on.
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
    """An answer.

    Attributes:
        device: whose records were asked.
        choice: the most accurate network that surely keeps the budget; None where there is none.
        in_integers: the same question among integer files, whose accuracy is published of none.
        maybe: more accurate ones whose interval holds the budget: another measurement may tell.
        reason: why, in a sentence.
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
    """Records of a device: a list of them, or a file of ``benchmarks/results`` with a record in each row.

    Raises:
        RecordError: the file cannot be read, or holds anything else.
    """
    content = read_json(path, "records of a device")
    rows = content.get("rows", [content]) if isinstance(content, Mapping) else content
    if not isinstance(rows, list) or not rows:
        raise RecordError(f"{path}: no records in it, wanted those of bench, serve or device run")
    inner = [row.get("record", row) if isinstance(row, Mapping) else row for row in rows]
    return [check_record(row, f"{path}, record {number}") for number, row in enumerate(inner)]


def recommend(
    records: Sequence[Record | str | Path],
    budget_ms: float,
    min_top1: float | None = None,
    threads: int | None = None,
) -> Recommendation:
    """The most accurate network of a device's records that keeps a latency budget.

    A network keeps it if the upper end of the interval of its median does. Measurements that varied too much count
    only where there are no others of the same kind. Accuracy is that of float32, so integer files are answered apart.

    Args:
        records: of one device, as values or as files that ``bench``, ``serve`` or ``device run`` wrote.
        budget_ms: latency of one image, in milliseconds, at most.
        min_top1: published accuracy in percent, at least; a network without one is not considered then.
        threads: measured with so many; any when None.

    Raises:
        RecordError: no records, or those of several devices.
    """
    given = ([record] if isinstance(record, Record) else read_evidence(Path(record)) for record in records)
    rows = [row for part in given for row in part]
    devices = sorted({record.conditions.device for record in rows})
    if len(devices) != 1:
        raise RecordError(f"recommend: got records of {', '.join(devices) or 'no device'}, wanted those of one")
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
    kept = [option for option in options if option.high_ms <= budget_ms]
    return max(kept, key=lambda option: (option.top1 or 0.0, -option.p50_ms), default=None)


def _steady(options: Sequence[Option]) -> list[Option]:
    """Without unsteady measurements of what was measured steadily as well."""
    known = {(one.network, one.precision, one.threads) for one in options if one.stable}
    return [one for one in options if one.stable or (one.network, one.precision, one.threads) not in known]


def _reason(device: str, options: Sequence[Option], choice: Option | None, integers: Option | None,
            maybe: Sequence[Option], budget_ms: float) -> str:  # fmt: skip
    if choice is not None:
        told = f"published top-1 {choice.top1:g} %" if choice.top1 is not None else "no published accuracy"
        unsteady = "" if choice.stable else "; UNSTABLE: that measurement varied by more than 5 %, so measure again"
        return (f"{choice.network} in {choice.form} form on {choice.runtime}, {choice.threads} thread(s): "
                f"{choice.p50_ms:.2f} ms [{choice.low_ms:.2f}, {choice.high_ms:.2f}], {told}{unsteady}")  # fmt: skip
    if maybe:
        named = ", ".join(f"{one.network}{unstable_mark(one.stable)}" for one in maybe)
        return f"measure again: the intervals of {named} hold {budget_ms:g} ms"
    if integers is not None:
        return (f"measure accuracy first: only {integers.network} in int8 keeps {budget_ms:g} ms"
                f"{unstable_mark(integers.stable)}, how well is not known")  # fmt: skip
    if not options:
        return f"measure first: {device} has no record of such a network"
    fastest = min(options, key=lambda option: option.p50_ms)
    told = f"the fastest is {fastest.network} with {fastest.p50_ms:.2f} ms{unstable_mark(fastest.stable)}"
    return f"measure first: of what was measured none keeps {budget_ms:g} ms; {told}"


def _option(record: Record) -> Option:
    told = record.conditions
    top1, source = _published(record.network)
    low, high = median_interval(record, CONFIDENCE)
    return Option(
        network=record.network, form=told.form or "unknown", precision=told.precision or "float32",
        runtime=f"{told.runtime} {told.runtime_version}", threads=told.threads, p50_ms=record.p50_ms, low_ms=low,
        high_ms=high, stable=record.stable is not False, top1=top1, source=source,
        record=f"{record.file}, measurement {told.measurement}",
    )  # fmt: skip


def _published(network: str) -> tuple[float | None, str | None]:
    for peer in published_peers():
        if peer.name == network:
            return peer.top1, peer.source
    return None, None
