"""Which form is the fastest here: all are made, verified and measured in turns; the released one as a baseline only."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.deployment.parity import Parity, ParityError
from scarlet_zoo.errors import CheckFailedError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.passes.lower import FORMS
from scarlet_zoo.latency import Settings, measure
from scarlet_zoo.utils.files import json_text, make_folder, write_text

# Gives the file of a form, verified.
Make = Callable[[str, Path], Parity]


@dataclass(frozen=True)
class Tried:
    """A form on this machine.

    Attributes:
        form: of :data:`scarlet_zoo.graph.passes.lower.FORMS`.
        verified: whether its file computes what its source computes.
        reason: why not.
        sqnr_db: of its outputs.
        ratio: median latency over that of the form that was kept; below 1 only for the baseline.
        record: all of the measurement.
        chosen: whether it is the one that was kept.
        candidate: whether it may be kept; the released form is a baseline to measure against, never one to ship.
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
    """A file in the fastest form, and the whole table of those that were tried.

    Attributes:
        artifact: the file.
        table: one row a form; beside the file, as ``NAME.tuning.json``.
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
    """Keep the fastest form that verifies, of those that are to be shipped.

    Args:
        make: writes the file of a form and compares it with its source.
        path: of the file to keep.
        settings: how to measure.
        progress: told (done, expected) of the measurement.
        forms: to try; those that are not to be shipped are measured beside the others, and never kept.

    Raises:
        CheckFailedError: none that may be kept verifies.
    """
    make_folder(path.parent)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        files = {form: Path(temporary) / f"{form}.onnx" for form in forms}
        verdicts = {form: _verdict(make, form, file) for form, file in files.items()}
        good = [form for form in forms if not isinstance(verdicts[form], ParityError)]
        candidates = [form for form in good if FORMS[form].ships]
        if not candidates:
            tried = " ".join(form for form in forms if FORMS[form].ships)
            raise CheckFailedError(f"{path}: none of the forms {tried} computes what its source computes")
        timings = dict(zip(good, measure([files[form] for form in good], settings, progress), strict=True))
        best = min(candidates, key=lambda form: timings[form].p50_ms)
        rows = []
        for form, verdict in verdicts.items():
            if isinstance(verdict, ParityError):
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


def _verdict(make: Make, form: str, file: Path) -> Parity | ParityError:
    try:
        return make(form, file)
    except ParityError as error:
        return error
