"""Recommend a network to deploy on a device, from the device's records and their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.deployment.int8_speed import int8_is_faster
from scarlet_zoo.errors import RecordError
from scarlet_zoo.latency import plain_name
from scarlet_zoo.measurement.compare import median_interval
from scarlet_zoo.measurement.own_accuracies import OwnAccuracy, accuracy_of, read_accuracies
from scarlet_zoo.measurement.published import published_peers
from scarlet_zoo.measurement.records import Conditions, Record, check_record, read_json
from scarlet_zoo.utils.markdown import provider_mark, unstable_mark

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Option:
    """A network as it was measured on the device.

    Attributes:
        network, form, precision: what to deploy; ``form`` is the graph variant.
        runtime, provider, threads: the runtime, its execution provider and its number of threads.
        p50_ms, low_ms, high_ms: median latency in milliseconds and its 95 % interval.
        stable: whether the measurement varied by at most 5 %.
        top1, source: top-1 accuracy in percent, and where it stands: ImageNet's in float32, as its authors publish it;
            or the one that was measured on own images, where such accuracies are given. None if there is none.
        record: file and measurement of the record.
        images, top1_low, top1_high: number of own images and the 95 % interval; None for published accuracies, or where
            the number is not known.
        own: whether ``top1`` was measured on own images.
        of_file: whether it was measured on this very file, so that it holds for int8 too.
    """

    network: str
    form: str
    precision: str
    runtime: str
    provider: str
    threads: int
    p50_ms: float
    low_ms: float
    high_ms: float
    stable: bool
    top1: float | None
    source: str | None
    record: str
    images: int | None = None
    top1_low: float | None = None
    top1_high: float | None = None
    own: bool = False
    of_file: bool = False


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The answer of :func:`recommend`.

    Attributes:
        device: the device of the records.
        budget_ms: the latency budget, in milliseconds.
        min_top1: the lowest accuracy accepted, in percent; None accepts any.
        choice: the most accurate network whose whole interval is within the budget, among float networks and files
            whose own accuracy was measured; None if there is none.
        in_integers: the same among int8 files of unknown accuracy; None if there is none.
        maybe: more accurate networks whose interval contains the budget; another measurement may decide.
        reason: the reason for the answer, in one sentence.
        slow_int8: a sentence if int8 was measured to be no faster than float32 on the device, or is not expected to be
            by its instruction sets; None otherwise.
    """

    device: str
    budget_ms: float
    min_top1: float | None
    choice: Option | None
    in_integers: Option | None
    maybe: tuple[Option, ...]
    reason: str
    slow_int8: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def record_files(path: Path) -> list[Path]:
    """The files of records at a path: the file itself, or all ``*.json`` of a folder but its latency tables.

    Raises:
        RecordError: the folder has no such file.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.glob("*.json") if not file.name.endswith(".lut.json"))
    if not files:
        raise RecordError(f"{path}: has no *.json, wanted files of records of bench, serve or device run")
    return files


def read_evidence(path: Path) -> list[Record]:
    """Read records: a list of records, a file of ``benchmarks/results`` with a record in each row, or a folder of both.

    Raises:
        RecordError: a file cannot be read, or holds something other than records; or the folder has none.
    """
    if path.is_dir():
        return [record for file in record_files(path) for record in read_evidence(file)]
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
    accuracies: Sequence[str | Path] = (),
    provider: str | None = None,
) -> Recommendation:
    """Find the most accurate network of a device's records that keeps a latency budget.

    A network keeps the budget if the upper end of its median's interval does. An unstable measurement counts only if
    the same network, precision and number of threads has no stable one. Published accuracies hold for float32, so int8
    files have an answer of their own, unless their accuracy was measured. Published accuracies are not compared with
    measured ones: with ``accuracies``, only those count. They do not hold for weights of a file of one's own either.

    Args:
        records: records of one device, as values, as files that ``bench``, ``serve`` or ``device run`` wrote, or as
            folders of such files.
        budget_ms: highest latency of one image, in milliseconds.
        min_top1: lowest accuracy, in percent; networks without a known one are then left out.
        threads: consider only records with this number of threads; None considers all.
        accuracies: files with accuracies that were measured on own images, see
            :func:`scarlet_zoo.measurement.own_accuracies.read_accuracies`.
        provider: consider only records of this execution provider, such as ``CPU`` or ``XNNPACK``; None considers all,
            and the answer names that of its record.

    Raises:
        RecordError: there are no records, or they are of several devices; or the accuracies are of none of them.
    """
    given = ([record] if isinstance(record, Record) else read_evidence(Path(record)) for record in records)
    rows = [row for part in given for row in part]
    devices = sorted({record.conditions.device for record in rows})
    if len(devices) != 1:
        raise RecordError(
            f"recommend: got records of {', '.join(devices) or 'no device'}, wanted records of one device"
        )
    known = [one for path in accuracies for one in read_accuracies(Path(path))]
    options = [option for option in _options(rows, known) if threads in (None, option.threads)]
    if provider is not None:
        options = [option for option in options if plain_name(option.provider) == plain_name(provider)]
    if min_top1 is not None:
        options = [option for option in options if option.top1 is not None and option.top1 >= min_top1]
    unknown = [option.precision == "int8" and not option.of_file for option in options]
    kinds = {kind: [one for one, is_unknown in zip(options, unknown, strict=True) if is_unknown is kind]
             for kind in (False, True)}  # fmt: skip
    choice, integers = (_best(_steady(kind), budget_ms) for kind in kinds.values())
    least = (choice.top1 or 0.0) if choice else -1.0
    maybe = tuple(option for option in _steady(kinds[False])
                  if option.low_ms <= budget_ms < option.high_ms and (option.top1 or 0.0) > least)  # fmt: skip
    reason = _reason(devices[0], options, choice, integers, maybe, budget_ms)
    return Recommendation(device=devices[0], budget_ms=budget_ms, min_top1=min_top1, choice=choice,
                          in_integers=integers, maybe=maybe, reason=reason,
                          slow_int8=_slow_int8(_options(rows, ()), rows[0].conditions))  # fmt: skip


def _slow_int8(options: Sequence[Option], conditions: Conditions) -> str | None:
    """What is known of int8 on the device: the best ratio that was measured, else what its instruction sets say."""
    ratios = []
    for one in _steady([option for option in options if option.precision == "int8"]):
        same = (one.network, one.threads, one.provider, "float32")
        floats = [row.p50_ms for row in _steady(options)
                  if (row.network, row.threads, row.provider, row.precision) == same]  # fmt: skip
        ratios += [(one.p50_ms / min(floats), one.network)] if floats else []
    if ratios:
        ratio, network = min(ratios)
        said = f"int8 was no faster than float32 on this device: {network} took {ratio:.2f} times as long"
        return said if ratio > 1 else None
    if int8_is_faster(conditions.machine, conditions.cpu_features or ()) is False:
        return "int8 may be no faster than float32 on this device, by its instruction sets; measure both files"
    return None


def _best(options: Iterable[Option], budget_ms: float) -> Option | None:
    fast_enough = [option for option in options if option.high_ms <= budget_ms]
    return max(fast_enough, key=lambda option: (option.top1 or 0.0, -option.p50_ms), default=None)


def _steady(options: Sequence[Option]) -> list[Option]:
    """The options without unstable measurements of networks that also have a stable one on that provider."""
    known = {(one.network, one.precision, one.threads, one.provider) for one in options if one.stable}
    return [one for one in options
            if one.stable or (one.network, one.precision, one.threads, one.provider) not in known]  # fmt: skip


def _reason(device: str, options: Sequence[Option], choice: Option | None, integers: Option | None,
            maybe: Sequence[Option], budget_ms: float) -> str:  # fmt: skip
    if choice is not None:
        accuracy = _accuracy(choice, options, budget_ms)
        unsteady = "" if choice.stable else "; UNSTABLE: that measurement varied by more than 5 %, so measure again"
        where = f"on {choice.runtime}{provider_mark(asdict(choice))} with {choice.threads} thread(s)"
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


def _accuracy(choice: Option, options: Sequence[Option], budget_ms: float) -> str:
    """The accuracy of the choice in words, with the networks that so many images cannot tell from it."""
    if choice.top1 is None:
        return "no accuracy of these weights known"
    if not choice.own:
        return f"published top-1 {choice.top1:g} %"
    if choice.images is None or choice.top1_low is None:
        return f"top-1 {choice.top1:g} % on own images"
    alike = {one.network for one in options if one.high_ms <= budget_ms and one.network != choice.network
             and one.top1_high is not None and one.top1_high >= choice.top1_low}  # fmt: skip
    told = f", which cannot tell it from {' '.join(sorted(alike))}" if alike else ""
    return (f"top-1 {choice.top1:g} % [{choice.top1_low:.1f}, {choice.top1_high:.1f}] on {choice.images:,} own images"
            f"{told}")  # fmt: skip


def _options(records: Sequence[Record], known: Sequence[OwnAccuracy]) -> list[Option]:
    """The records as options, with the published accuracies or, where there are own ones, with those.

    Raises:
        RecordError: own accuracies are given, and none is of a network of these records.
    """
    found = [accuracy_of(record, known) for record in records]
    if known and not any(found):
        names = " ".join(dict.fromkeys(one.row.name for one in known))
        networks = " ".join(dict.fromkeys(record.network for record in records))
        raise RecordError(f"accuracies: got those of {names}, wanted some of the records' networks {networks}")
    return [_option(record, own, bool(known)) for record, own in zip(records, found, strict=True)]


def _option(record: Record, own: tuple[OwnAccuracy, bool] | None, only_own: bool) -> Option:
    conditions = record.conditions
    low, high = median_interval(record, CONFIDENCE)
    accuracy: dict[str, Any] = {}
    if own is not None:
        one, of_file = own
        bounds = one.interval or (None, None)
        accuracy = {"top1": one.row.top1, "source": str(one.source), "images": one.row.images, "own": True,
                    "of_file": of_file, "top1_low": bounds[0], "top1_high": bounds[1]}  # fmt: skip
    elif not only_own and not str((conditions.model_extra or {}).get("weights", "")).startswith("file "):
        accuracy = dict(zip(("top1", "source"), _published(record.network), strict=True))
    return Option(
        network=record.network, form=conditions.form or "unknown", precision=conditions.precision or "float32",
        runtime=f"{conditions.runtime} {conditions.runtime_version}", provider=conditions.provider,
        threads=conditions.threads,
        p50_ms=record.p50_ms, low_ms=low, high_ms=high, stable=record.stable is not False,
        record=f"{record.file}, measurement {conditions.measurement}", **{"top1": None, "source": None, **accuracy},
    )  # fmt: skip


def _published(network: str) -> tuple[float | None, str | None]:
    for peer in published_peers():
        if peer.name == network:
            return peer.top1, peer.source
    return None, None
