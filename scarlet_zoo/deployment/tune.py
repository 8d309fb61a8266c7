"""Find the fastest graph variant on this machine: write, verify and measure all of them, interleaved.

The released graph variant is measured as a baseline only, and never chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.deployment.parity import Parity
from scarlet_zoo.errors import CheckFailedError, ScarletError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.passes.lower import FORMS
from scarlet_zoo.latency import Settings, measure
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.ownership import folder_beside

# Called with a graph variant and a path; writes that file and compares it with its source.
Make = Callable[[str, Path], Parity]


@dataclass(frozen=True)
class Tried:
    """The result of one graph variant on this machine.

    Attributes:
        form: the graph variant, one of :data:`scarlet_zoo.graph.passes.lower.FORMS`.
        verified: whether its file computes what its source computes.
        reason: why it was not verified; None if it was.
        sqnr_db: signal to noise ratio of its outputs, in dB.
        ratio: its median latency over that of the chosen graph variant; below 1 only for the baseline.
        record: the whole record of its measurement.
        chosen: whether it was chosen.
        candidate: whether it may be chosen; False for the released graph variant, which is only a baseline.
    """

    form: str
    verified: bool
    reason: str | None = None
    sqnr_db: float | None = None
    ratio: float | None = None
    record: dict[str, Any] | None = None
    chosen: bool = False
    candidate: bool = True

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Tuning:
    """A file in the fastest graph variant, and the table of all that were tried.

    Attributes:
        artifact: the file.
        table: one row for each graph variant; also written beside the file, as ``NAME.tuning.json``.
    """

    artifact: Artifact
    table: tuple[Tried, ...]


def tune(
    make: Make,
    path: Path,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
    forms: Sequence[str] = tuple(FORMS),
) -> Tuning:
    """Write the file of the fastest graph variant that verifies; the baseline is measured but never chosen.

    Args:
        make: writes the file of a graph variant and compares it with its source.
        path: where to write the chosen file.
        settings: how to measure.
        progress: called with (done, expected) during the measurement.
        forms: the graph variants to try; a baseline among them is measured and never chosen.

    Raises:
        CheckFailedError: no graph variant that may be chosen verifies.
    """
    with folder_beside(path) as temporary:
        files = {form: temporary / f"{form}.onnx" for form in forms}
        verdicts = {form: _verdict(make, form, file) for form, file in files.items()}
        verified = [form for form in forms if isinstance(verdicts[form], Parity)]
        candidates = [form for form in verified if FORMS[form].ships]
        if not candidates:
            tried = " ".join(form for form in forms if FORMS[form].ships)
            first = next(str(verdict) for form, verdict in verdicts.items() if FORMS[form].ships)
            raise CheckFailedError(
                f"{path}: none of the graph variants {tried} computes what its source computes; the first: {first}"
            )
        timings = dict(zip(verified, measure([files[form] for form in verified], settings, progress), strict=True))
        best = min(candidates, key=lambda form: timings[form].p50_ms)
        rows = []
        for form, verdict in verdicts.items():
            if not isinstance(verdict, Parity):
                rows.append(Tried(form, False, str(verdict), candidate=FORMS[form].ships))
                continue
            timing = timings[form]
            record = {**timing.to_dict(), "file": f"{form}.onnx"}
            ratio = timing.p50_ms / timings[best].p50_ms
            rows.append(
                Tried(form, True, None, verdict.sqnr_db, ratio, record, form == best, candidate=FORMS[form].ships)
            )
        files[best].replace(path)
    write_text(path.with_suffix(".tuning.json"), json_text([row.to_dict() for row in rows], indent=1) + "\n")
    return Tuning(read_artifact(path), tuple(rows))


def _verdict(make: Make, form: str, file: Path) -> Parity | ScarletError:
    """How a variant compares, or why there is none: one that cannot be written is a row of the table as well."""
    try:
        return make(form, file)
    except ScarletError as error:
        return error
