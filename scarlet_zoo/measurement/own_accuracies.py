"""Accuracies that were measured on a person's own data, and the records of speed that they belong to."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from scarlet_zoo.arch.zoo import safe_name
from scarlet_zoo.errors import RecordError
from scarlet_zoo.inference.right_answers import Accuracy
from scarlet_zoo.measurement.records import Record
from scarlet_zoo.utils.reading import bounded_text, parse_json
from scarlet_zoo.utils.schema import first_fault

# The columns and keys that name a network or its file, and those of its accuracy.
_NAMES, _TOP1 = ("name", "network", "file", "path"), ("top1", "accuracy")
_WANTED = (
    "wanted the output of validate --json, JSON {name: {top1, images}}, or a CSV file with the columns name, top1 and "
    "images"
)


class Row(BaseModel):
    """One accuracy: of a network or a file, in percent, on this many images.

    Attributes:
        name: the network's name, its identity string, or the path or the name of its file.
        top1: top-1 accuracy in percent.
        images: number of images that it was measured on; None if it is not known.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Annotated[str, Field(min_length=1)]
    top1: Annotated[FiniteFloat, Field(ge=0, le=100)]
    images: Annotated[int, Field(ge=1, le=10**12)] | None = None


@dataclass(frozen=True)
class OwnAccuracy:
    """An accuracy on a person's own images.

    Attributes:
        row: the accuracy, and what it belongs to.
        source: the file that states it.
    """

    row: Row
    source: Path

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval in percent by Wilson's score; None if the number of images is not known."""
        if self.row.images is None:
            return None
        return Accuracy(round(self.row.top1 * self.row.images / 100), self.row.images).interval

    def fit(self, record: Record) -> int:
        """How closely it belongs to a record: 3 by the file's path, 2 by the file's name, 1 by the network, 0 not."""
        name, file = self.row.name, record.file
        if name == file:
            return 3
        if Path(name).suffix and Path(name).name == Path(file).name:
            return 2
        arch = str((record.conditions.model_extra or {}).get("arch", ""))
        names = {record.network, arch, Path(file).stem, file.partition(" (")[0]}
        return int(name in names or safe_name(name) in {Path(file).stem, record.network})


def read_accuracies(path: Path) -> list[OwnAccuracy]:
    """Read the accuracies in a file.

    Args:
        path: the output of ``validate --json``, or several of them as a list or one a line; JSON that gives each name
            its accuracy in percent or an object with ``top1`` and ``images``; or CSV with a head.

    Raises:
        RecordError: the file cannot be read, or holds something else; the message names the row.
    """
    try:
        text = bounded_text(path, encoding="utf-8-sig")
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}, {_WANTED}") from error
    except ValueError as error:
        raise RecordError(f"{path}: cannot be read: {error}, {_WANTED}") from error
    rows = list(_of_json(path, text) if text.lstrip()[:1] in ("{", "[") else _of_csv(path, text))
    if not rows:
        raise RecordError(f"{path}: has no accuracies, {_WANTED}")
    return [OwnAccuracy(_checked(path, number, row), path) for number, row in enumerate(rows, start=1)]


def _of_json(path: Path, text: str) -> Iterator[Mapping[str, Any]]:
    try:
        content = parse_json(text, finite=False)
    except ValueError:
        try:  # the outputs of several commands, one a line
            content = [parse_json(line, finite=False) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise RecordError(f"{path}: is not JSON, {_WANTED}") from error
    if isinstance(content, Mapping) and not any(key in content for key in _TOP1):
        for name, value in content.items():
            yield {"name": name, **(value if isinstance(value, Mapping) else {"top1": value})}
        return
    for row in content if isinstance(content, list) else [content]:
        if not isinstance(row, Mapping):
            raise RecordError(f"{path}: got {row!r:.40}, {_WANTED}")
        yield row


def _of_csv(path: Path, text: str) -> Iterator[Mapping[str, Any]]:
    head = text.partition("\n")[0]
    mark = next((mark for mark in ("\t", ";") if mark in head), ",")
    try:
        yield from _csv_rows(path, csv.DictReader(text.splitlines(), delimiter=mark, skipinitialspace=True))
    except csv.Error as error:
        raise RecordError(f"{path}: is not CSV: {error}, {_WANTED}") from error


def _csv_rows(path: Path, reader: csv.DictReader[str]) -> Iterator[Mapping[str, Any]]:
    columns = {column.strip().lower(): column for column in reader.fieldnames or ()}
    if not any(name in columns for name in _NAMES) or not any(name in columns for name in _TOP1):
        raise RecordError(f"{path}: got columns {' '.join(columns) or 'none'}, {_WANTED}")
    for row in reader:
        yield {key: (row[column] or "").strip() or None for key, column in columns.items()}


def _checked(path: Path, number: int, row: Mapping[str, Any]) -> Row:
    found = {key: next((row[name] for name in names if row.get(name) is not None), None)
             for key, names in (("name", _NAMES), ("top1", _TOP1), ("images", ("images",)))}  # fmt: skip
    try:
        return Row.model_validate({key: value for key, value in found.items() if value is not None})
    except ValidationError as error:
        raise RecordError(f"{path}, row {number}: {first_fault(error, Row.model_fields)}") from error


def accuracy_of(record: Record, known: Sequence[OwnAccuracy]) -> tuple[OwnAccuracy, bool] | None:
    """Find the accuracy that belongs to a record, and whether it was measured on the record's own file.

    Raises:
        RecordError: two accuracies that differ belong to the record equally well.
    """
    fits = [(one.fit(record), one) for one in known]
    best = max((fit for fit, _ in fits), default=0)
    if best == 0:
        return None
    first, *others = [one for fit, one in fits if fit == best]
    for other in others:
        if other.row.top1 != first.row.top1:
            raise RecordError(
                f"accuracies: got {first.row.top1:g} % ({first.source}) and {other.row.top1:g} % ({other.source}) for "
                f"{record.file}, wanted one"
            )
    return first, best > 1
