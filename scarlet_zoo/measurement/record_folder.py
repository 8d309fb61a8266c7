"""A folder of records with one file for each device, where the records that phones send are written."""

from __future__ import annotations

from pathlib import Path

from scarlet_zoo.measurement.records import Record, read_records, write_records
from scarlet_zoo.utils.files import make_folder


class Results:
    """A folder that holds one file of records for each device, and nothing else.

    If two pages give the same device name, the second one's records go under ``NAME 2``.

    Args:
        folder: the folder; it is created if it is missing.

    Attributes:
        received: the records that were added, in order.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self.folder = folder
        self.received: list[Record] = []
        self._names: dict[str, str] = {}

    def name_of(self, client: str, wanted: str) -> str:
        """The device name of a page: the name it wants, or that name with a number if another page has it."""
        if client not in self._names:
            taken, number, name = set(self._names.values()), 1, wanted
            while name in taken:
                number += 1
                name = f"{wanted} {number}"
            self._names[client] = name
        return self._names[client]

    def add(self, record: Record) -> Path:
        """Add a record to the file of its device, which is replaced atomically; gives the path of that file."""
        path = self.file_of(record.conditions.device)
        known = read_records(path) if path.is_file() else []
        write_records(path, [*known, record])
        self.received.append(record)
        return path

    def file_of(self, device: str) -> Path:
        """The path ``NAME.json`` of a device's file; :func:`file_name` makes NAME."""
        return self.folder / f"{file_name(device)}.json"


def file_name(device: str) -> str:
    """A device's name as a file name: letters, digits, ``-``, ``_`` and ``.`` stay, the rest becomes a dash."""
    name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in device)
    return name.strip("-.") or "device"
