"""What a fusion report means: each number good or bad against a bound, one verdict, and limits for a build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scarlet_zoo.errors import CheckFailedError, ScarletError
from scarlet_zoo.graph.fusion import TOTALS, FusionReport

# A share of the convolutions; at the input and where a layout ends there are always a few.
_UNBLOCKED_SHARE, _REORDERS_SHARE = 10, 4


@dataclass(frozen=True, slots=True)
class Judgement:
    """A total of a report against what it should be at most.

    Attributes:
        total: its name, one of :data:`scarlet_zoo.graph.fusion.TOTALS`.
        value: what is judged.
        bound: what it should be at most; None where the number is not judged.
        good: whether it keeps the bound; None where it is not judged.
        reason: why there is this bound, or none.
        finding: what is wrong, in a sentence; empty where nothing is.
    """

    total: str
    value: int
    bound: int | None
    good: bool | None
    reason: str
    finding: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def judge(report: FusionReport) -> tuple[Judgement, ...]:
    """Each total of a report, good or bad, in the order of :data:`scarlet_zoo.graph.fusion.TOTALS`."""
    totals, count = report.totals, report.totals["convolutions"]
    judged = {
        "unfused": _judgement("unfused", totals["unfused"], 0, "an activation that is computed apart reads and writes "
                              "the whole feature map once more",
                              f"{totals['unfused']} of {count} convolutions have their activation computed apart"),
        "batch_norms": _judgement("batch_norms", totals["batch_norms"], 0, "a batch norm can be part of the "
                                  "convolution in front of it", f"{totals['batch_norms']} batch norms are left"),
        "unblocked": _blocked(report),
        "reorders": _judgement("reorders", totals["reorders"], count // _REORDERS_SHARE, "a copy moves the whole "
                               f"feature map; a quarter of the {count} convolutions may have one",
                               f"{totals['reorders']} copies between layouts, for {count} convolutions"),
        "float": _judgement("float", totals["float"], 0, "what stays in float gains nothing from integers",
                            f"{totals['float']} convolutions and products of matrices are left in float in a "
                            "quantised file"),
        "stray": _judgement("stray", totals["stray"], 0, "a conversion between integers that are computed with "
                            "reads and writes the whole feature map",
                            f"{totals['stray']} quantise and dequantise operators stand between others"),
    }  # fmt: skip
    return tuple(judged.get(name) or Judgement(name, totals[name], None, None, "neither good nor bad")
                 for name in TOTALS)  # fmt: skip


def _judgement(total: str, value: int, bound: int, reason: str, finding: str) -> Judgement:
    good = value <= bound
    return Judgement(total, value, bound, good, reason, "" if good else finding)


def _blocked(report: FusionReport) -> Judgement:
    """Float convolutions outside the blocked layout, where there is such a layout."""
    count = report.totals["convolutions"]
    plain = sum(not row.blocked and not row.quantized for row in report.convolutions)
    if report.machine.lower() not in ("x86_64", "amd64"):
        reason = "this kind of processor has no blocked channel layout"
        return Judgement("unblocked", report.totals["unblocked"], None, None, reason)
    reason = f"the blocked channel layout is fast on x64; a tenth of the {count} may be outside, integers not counted"
    finding = f"{plain} of {count} convolutions run outside the blocked channel layout that is fast on x64"
    return _judgement("unblocked", plain, count // _UNBLOCKED_SHARE, reason, finding)


def findings(report: FusionReport) -> Sequence[str]:
    """What is likely to make this file slow, in sentences."""
    order = ("unfused", "batch_norms", "float", "stray", "unblocked", "reorders")
    found = {row.total: row.finding for row in judge(report) if row.finding}
    return [found[name] for name in order if name in found]


def verdict(report: FusionReport) -> str:
    """One sentence: whether the file runs fused as it should, and what likely costs time where it does not."""
    where = f"{report.runtime} on {report.machine}"
    bad = [row for row in judge(report) if row.finding]
    if not bad:
        return f"GOOD: it runs fused as it should on {where}: nothing stands in the way of this runtime"
    apart = sum(row.value for row in bad if row.total in ("unfused", "batch_norms", "stray"))
    lead = f"{apart} operators are not fused" if apart else "it is likely slower than it could be"
    return f"BAD: {lead} on {where}: {'; '.join(f'{row.finding} ({row.reason})' for row in bad)}"


def parse_limits(text: str) -> dict[str, int]:
    """``unfused=0,reorders=40`` as numbers by total.

    Raises:
        ScarletError: a total that is none, or a limit that is no number.
    """
    limits = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if name not in TOTALS or not number.isdigit():
            raise ScarletError(f"fail-on {part!r}: wanted TOTAL=NUMBER with a total of {' '.join(TOTALS)}")
        limits[name] = int(number)
    return limits


def check_limits(report: FusionReport, limits: Mapping[str, int]) -> None:
    """Hold a report against the most that is allowed.

    Raises:
        CheckFailedError: totals above their limits; all of them are named.
    """
    over = [f"{name} {report.totals[name]}, at most {limit}" for name, limit in limits.items()
            if report.totals[name] > limit]  # fmt: skip
    if over:
        raise CheckFailedError(f"{report.file} on {report.runtime}: {'; '.join(over)}")
