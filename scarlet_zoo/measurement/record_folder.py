"""A folder of records with one file for each device, where the records that phones send are written."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from scarlet_zoo.measurement.records import Record, read_records, record_text, write_record_texts
from scarlet_zoo.utils.files import make_folder
from scarlet_zoo.utils.names import as_file_name, folded
from scarlet_zoo.utils.ownership import owned_file


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
        self._files: dict[Path, tuple[tuple[int, int, int], list[str]]] = {}
        self._lock = Lock()

    def name_of(self, client: str, wanted: str) -> str:
        """The device name of a page: the name it wants, or that name with a number if another page has it."""
        with self._lock:
            if client not in self._names:
                taken, number, name = {folded(file_name(name)) for name in self._names.values()}, 1, wanted
                while folded(file_name(name)) in taken:
                    number += 1
                    name = f"{wanted} {number}"
                self._names[client] = name
            return self._names[client]

    def add(self, record: Record) -> Path:
        """Add a record to the file of its device, which is replaced atomically; gives the path of that file.

        Threads and other processes that add to the same file wait for one another, so no record is lost.
        """
        path = self.file_of(record.conditions.device)
        with self._lock, owned_file(path, wait=True):
            texts = self._texts(path)
            texts.append(record_text(record))
            write_record_texts(path, texts)
            self._files[path] = (_state(path), texts)
            self.received.append(record)
        return path

    def _texts(self, path: Path) -> list[str]:
        """The records of a file as JSON; what was written here is not read again unless the file has changed."""
        if not path.is_file():
            return []
        state, texts = self._files.get(path, (None, []))
        return texts if state == _state(path) else list(map(record_text, read_records(path)))

    def file_of(self, device: str) -> Path:
        """The path ``NAME.json`` of a device's file; :func:`file_name` makes NAME."""
        return self.folder / f"{file_name(device)}.json"


def file_name(device: str) -> str:
    """A device's name as a file name: letters, digits, ``-``, ``_`` and ``.`` stay, the rest becomes a dash."""
    return as_file_name(device, "device", mark="-")


def _state(path: Path) -> tuple[int, int, int]:
    """What changes when another process writes a file."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
