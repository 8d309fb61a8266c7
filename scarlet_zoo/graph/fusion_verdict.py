"""Judge a fusion report: compare each total with a bound, give one verdict, and check limits in a build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scarlet_zoo.errors import CheckFailedError, ScarletError
from scarlet_zoo.graph.fusion import TOTALS, FusionReport
from scarlet_zoo.utils.reading import whole_number

# Bounds are this fraction (1/10, 1/4) of the convolutions: at the input and where a layout ends a few are normal.
_UNBLOCKED_SHARE, _REORDERS_SHARE = 10, 4


@dataclass(frozen=True, slots=True)
class Judgement:
    """A total of a report, compared with its bound.

    Attributes:
        total: name of the total, one of :data:`scarlet_zoo.graph.fusion.TOTALS`.
        value: the number that is compared.
        bound: the largest good value; None if the number is not judged.
        good: whether the value is within the bound; None if it is not judged.
        reason: why there is this bound, or why there is none.
        finding: what is wrong, in words; empty if nothing is wrong.
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
    """Judge each total of a report, in the order of :data:`scarlet_zoo.graph.fusion.TOTALS`."""
    totals, count = report.totals, report.totals["convolutions"]
    judged = {
        "unfused": _judgement("unfused", totals["unfused"], 0, "a separate activation reads and writes "
                              "the whole feature map once more",
                              f"{totals['unfused']} of {count} convolutions have a separate activation operator"),
        "batch_norms": _judgement("batch_norms", totals["batch_norms"], 0, "a batch norm can be folded into the "
                                  "convolution before it", f"{totals['batch_norms']} batch norms remain"),
        "unblocked": _blocked(report),
        "reorders": _judgement("reorders", totals["reorders"], count // _REORDERS_SHARE, "a copy moves the whole "
                               f"feature map; a quarter of the {count} convolutions may need one",
                               f"{totals['reorders']} copies between layouts for {count} convolutions"),
        "float": _judgement("float", totals["float"], 0, "what remains in float gains nothing from quantisation",
                            f"{totals['float']} convolutions and matrix products remain in float in a "
                            "quantised file"),
        "stray": _judgement("stray", totals["stray"], 0, "a conversion between two integer operators "
                            "reads and writes the whole feature map",
                            f"{totals['stray']} conversions are neither at the input nor at the output"),
        "denormals": _judgement("denormals", totals["denormals"], 0, "optimize makes them zero where no output "
                                "changes", f"{totals['denormals']} weights are denormal numbers"),
    }  # fmt: skip
    return tuple(judged.get(name) or Judgement(name, totals[name], None, None, "this number is neither good nor bad")
                 for name in TOTALS)  # fmt: skip


def _judgement(total: str, value: int, bound: int, reason: str, finding: str) -> Judgement:
    good = value <= bound
    return Judgement(total, value, bound, good, reason, "" if good else finding)


def _blocked(report: FusionReport) -> Judgement:
    """Judge the float convolutions outside the blocked layout; not judged where the processor has no such layout."""
    count = report.totals["convolutions"]
    plain = sum(not row.blocked and not row.quantized for row in report.convolutions)
    if report.machine.lower() not in ("x86_64", "amd64"):
        reason = "this processor architecture has no blocked channel layout"
        return Judgement("unblocked", report.totals["unblocked"], None, None, reason)
    reason = (
        f"the blocked channel layout is fast on x64; a tenth of the {count} may be outside; integer ones do not count"
    )
    finding = f"{plain} of {count} convolutions run outside the blocked channel layout, which is fast on x64"
    return _judgement("unblocked", plain, count // _UNBLOCKED_SHARE, reason, finding)


def findings(report: FusionReport) -> Sequence[str]:
    """List what is likely to make this file slow, the most likely cause first."""
    order = ("unfused", "batch_norms", "float", "stray", "unblocked", "reorders", "denormals")
    found = {row.total: row.finding for row in judge(report) if row.finding}
    return [found[name] for name in order if name in found]


def verdict(report: FusionReport) -> str:
    """One sentence: whether the file runs fused as it should, and if not, what is likely to cost time."""
    where = f"{report.runtime} on {report.machine}"
    bad = [row for row in judge(report) if row.finding]
    if not bad:
        return f"GOOD: it runs fused as it should on {where}"
    apart = sum(row.value for row in bad if row.total in ("unfused", "batch_norms", "stray"))
    lead = f"{apart} operators are not fused" if apart else "it is likely slower than it could be"
    return f"BAD: {lead} on {where}: {'; '.join(f'{row.finding} ({row.reason})' for row in bad)}"


def parse_limits(text: str) -> dict[str, int]:
    """Parse limits such as ``unfused=0,reorders=40`` into a number for each total.

    Raises:
        ScarletError: an unknown total, or a limit that is not a whole number.
    """
    limits: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        limit = whole_number(number)
        if name not in TOTALS or limit is None:
            raise ScarletError(f"fail-on: got {part!r}, wanted TOTAL=NUMBER, where TOTAL is one of {' '.join(TOTALS)}")
        limits[name] = limit
    return limits


def check_limits(report: FusionReport, limits: Mapping[str, int]) -> None:
    """Check that no total of a report is above its limit.

    Raises:
        CheckFailedError: some totals are above their limits; the message names all of them.
    """
    over = [f"{name} {report.totals[name]}, wanted at most {limit}" for name, limit in limits.items()
            if report.totals[name] > limit]  # fmt: skip
    if over:
        raise CheckFailedError(f"{report.file} on {report.runtime}: {'; '.join(over)}")
