"""Lists of labelled images: CSV and JSON manifests, and the metadata files of Hugging Face's image folders."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.data.folders import Dataset
from scarlet_zoo.errors import DatasetError
from scarlet_zoo.utils.reading import bounded_text, parse_json, whole_number

ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
# Hugging Face's names of the list in a folder, the first that exists is used.
_METADATA = ("metadata.csv", "metadata.jsonl")
_KEYS = {
    "path": ("path", "file_name", "filename", "file", "image", "image_path", "filepath"),
    "label": ("label", "class", "category", "label_name", "class_name"),
    "split": ("split", "part", "subset"),
}
_PARTS = {"train": "train", "training": "train", "val": "validation", "valid": "validation",
          "validation": "validation", "dev": "validation", "test": "test", "testing": "test"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a list.

    Attributes:
        line: number of its line, or of its entry in a JSON list, from 1.
        file: the image's file.
        label: name of its class.
        part: ``train``, ``validation`` or ``test``; None if the list does not say.
    """

    line: int
    file: Path
    label: str
    part: str | None


@dataclass(frozen=True)
class Manifest:
    """The images that a list names.

    Attributes:
        file: the list.
        rows: its images.
    """

    file: Path
    rows: tuple[Row, ...]

    def whole(self) -> Dataset:
        """All images, whatever part they are of."""
        return self._dataset(self.rows)

    def parts(self) -> dict[str, Dataset]:
        """The images of each part that the list has, ``train`` among them; each has the classes of its own images.

        Raises:
            DatasetError: the list says the part of some images only, or has none for training.
        """
        named = {row.part for row in self.rows}
        if named == {None}:
            return {"train": self.whole()}
        silent = next((row for row in self.rows if row.part is None), None)
        if silent is not None:
            raise DatasetError(f"{self.file}: line {silent.line}: has no split, wanted one for every image or for none")
        if "train" not in named:
            raise DatasetError(f"{self.file}: got images for {' and '.join(sorted(filter(None, named)))} only, "
                               "wanted some with the split train")  # fmt: skip
        order = [part for part in ("train", "validation", "test") if part in named]
        return {part: self._dataset([row for row in self.rows if row.part == part]) for part in order}

    def _dataset(self, rows: Sequence[Row]) -> Dataset:
        found = {row.label for row in rows}
        # Numbers in their own order, since a label 10 is meant as the index 10, not as one between 1 and 2.
        classes = sorted(found, key=int) if all(whole_number(name) is not None for name in found) else sorted(found)
        index = {name: position for position, name in enumerate(classes)}
        ordered = sorted(rows, key=lambda row: (index[row.label], row.file))
        files, targets = tuple(row.file for row in ordered), tuple(index[row.label] for row in ordered)
        return Dataset(self.file.parent, tuple(classes), files, targets)


def is_manifest(path: Path) -> bool:
    """Whether a path has the ending of a list of images."""
    return path.suffix.lower() in ENDINGS


def metadata_in(folder: Path) -> Path | None:
    """The Hugging Face list of a folder, if there is one and it has labels; without labels class folders count.

    Raises:
        DatasetError: the list cannot be read.
    """
    for name in _METADATA:
        file = folder / name
        if file.is_file():
            first = next(_records(file), None)
            return file if first is not None and _key(first[1], "label") is not None else None
    return None


def read_manifest(file: Path) -> Manifest:
    """Read a list of labelled images: CSV with a header, a JSON list of objects, or one JSON object a line.

    Each image has a ``path`` (or ``file_name``, ``file``, ``image``) relative to the list's folder, and a ``label`` (or
    ``class``). It may have a ``split``: ``train``, ``validation`` (``val``) or ``test``. Without one, a path that
    begins with the folder ``train``, ``val`` or ``test`` gives the part if all paths do.

    Raises:
        DatasetError: the file cannot be read, or a line is not of this form; the message has its number.
    """
    rows: list[Row] = []
    first_line: dict[Path, int] = {}
    for line, record in _records(file):
        row = _row(file, line, record)
        if row.file in first_line:
            raise DatasetError(f"{file}: line {line}: names {row.file.name} again, which line {first_line[row.file]} "
                               "names, wanted each image once")  # fmt: skip
        first_line[row.file] = line
        rows.append(row)
    if not rows:
        raise DatasetError(f"{file}: names no images, wanted a line with path and label for each")
    return Manifest(file, tuple(_with_parts_of_folders(file, rows)))


def _row(file: Path, line: int, record: Mapping[str, Any]) -> Row:
    path, label, part = (_value(file, line, record, kind) for kind in ("path", "label", "split"))
    if path is None or label is None:
        missing = "path" if path is None else "label"
        found = " ".join(str(key) for key in record if key)
        raise DatasetError(f"{file}: line {line}: got no {missing} (columns: {found}), wanted path and label")
    if part is not None and part.lower() not in _PARTS:
        raise DatasetError(f"{file}: line {line}: split: got {part!r}, wanted train, validation or test")
    if "://" in path:
        raise DatasetError(f"{file}: line {line}: got the address {path[:60]}, wanted the path of a file")
    return Row(line, file.parent / path, label, _PARTS[part.lower()] if part is not None else None)


def _key(record: Mapping[str, Any], kind: str) -> str | None:
    """The key of a record that holds the path, the label or the split."""
    known = {str(key).strip().lower(): key for key in record if key is not None}
    return next((known[name] for name in _KEYS[kind] if name in known), None)


def _value(file: Path, line: int, record: Mapping[str, Any], kind: str) -> str | None:
    """The text of a record's path, label or split; None if there is no such key or its value is empty."""
    key = _key(record, kind)
    value = record[key] if key is not None else None
    if isinstance(value, bool) or not isinstance(value, (str, int, type(None))):
        raise DatasetError(f"{file}: line {line}: {key}: got {json.dumps(value)[:60]}, wanted text or a whole number")
    return str(value).strip() or None if value is not None else None


def _with_parts_of_folders(file: Path, rows: Sequence[Row]) -> Sequence[Row]:
    if any(row.part is not None for row in rows):
        return rows
    tops = [next(iter(row.file.relative_to(file.parent).parts), "") if row.file.is_relative_to(file.parent) else ""
            for row in rows]  # fmt: skip
    # Without a part for training these are folders of another meaning.
    if not all(top.lower() in _PARTS for top in tops) or "train" not in {_PARTS[top.lower()] for top in tops}:
        return rows
    return [Row(row.line, row.file, row.label, _PARTS[top.lower()]) for row, top in zip(rows, tops, strict=True)]


def _records(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The records of a list with the numbers of their lines."""
    try:
        text = bounded_text(file, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DatasetError(f"{file}: cannot be read: {reason}") from error
    if file.suffix.lower() in (".csv", ".tsv"):
        return _csv_records(file, text)
    return _json_records(file, text)


def _csv_records(file: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    header = text.splitlines()[0] if text.strip() else ""
    counts = Counter(mark for mark in header if mark in ",;\t")
    delimiter = counts.most_common(1)[0][0] if counts else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    names = {key: key for key in reader.fieldnames or ()}
    unlabelled = bool(names) and (_key(names, "path") is None or _key(names, "label") is None)
    # A folder's metadata may be about something else than classes: its caller asks.
    if unlabelled and file.name not in _METADATA:
        raise DatasetError(f"{file}: line 1: got the columns {' '.join(names)}, wanted path and label")
    try:
        for record in reader:
            if None in record:
                raise DatasetError(f"{file}: line {reader.line_num}: got {len(names) + len(record[None])} values, "
                                   f"wanted {len(names)}")  # fmt: skip
            yield reader.line_num, record
    except csv.Error as error:
        raise DatasetError(f"{file}: line {reader.line_num}: is not CSV: {error}") from error


def _json_records(file: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if text.lstrip().startswith("["):
        entries = list(enumerate(_parsed(file, text, None), 1))
    else:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        entries = [(number, _parsed(file, line, number)) for number, line in lines]
    for number, entry in entries:
        if not isinstance(entry, Mapping):
            raise DatasetError(f"{file}: line {number}: got {json.dumps(entry)[:60]}, wanted an object with path and "
                               "label")  # fmt: skip
        yield number, entry


def _parsed(file: Path, text: str, line: int | None) -> Any:
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        at = line if line is not None else getattr(error, "lineno", 1)
        raise DatasetError(f"{file}: line {at}: is not JSON: {error}, wanted a list of objects, or one object a line "
                           "(.jsonl)") from error  # fmt: skip
