"""A folder of records, a file for each device: what phones send back lands there."""

from __future__ import annotations

from pathlib import Path

from scarlet_zoo.measurement.records import Record, read_records, write_records
from scarlet_zoo.utils.files import make_folder


class Results:
    """Records of devices, a file for each, and nothing else.

    Two pages of the same name are told apart: the second one's records go under ``NAME 2``.

    Args:
        folder: made if it is missing.

    Attributes:
        received: records that came in, in their order.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self.folder = folder
        self.received: list[Record] = []
        self._names: dict[str, str] = {}

    def name_of(self, client: str, wanted: str) -> str:
        """The name of a page's device: the one it wants, or that with a number."""
        if client not in self._names:
            taken, number, name = set(self._names.values()), 1, wanted
            while name in taken:
                number += 1
                name = f"{wanted} {number}"
            self._names[client] = name
        return self._names[client]

    def add(self, record: Record) -> Path:
        """Write a record beside the others of its device; the file is never half written."""
        path = self.file_of(record.conditions.device)
        known = read_records(path) if path.is_file() else []
        write_records(path, [*known, record])
        self.received.append(record)
        return path

    def file_of(self, device: str) -> Path:
        """``NAME.json`` in the folder, with what is no letter, number, dash, dot or underscore replaced."""
        return self.folder / f"{file_name(device)}.json"


def file_name(device: str) -> str:
    """A device's name as that of a file or a folder."""
    kept = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in device)
    return kept.strip("-.") or "device"
