"""Read every image of a data set once, before anything depends on it, and remember what was found.

What is known of a file is kept in this package's cache folder, by the file's path, size and time of change. A broken
file is not remembered: it is looked at again each time, since a newly installed package may make it readable.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.data.folders import Skipped
from scarlet_zoo.data.image_errors import ImageError
from scarlet_zoo.data.image_io import ImageFacts, look_at_image, printable, strict_decoders
from scarlet_zoo.errors import DatasetError
from scarlet_zoo.utils.files import cache_folder, make_folder, write_text
from scarlet_zoo.utils.reading import bounded_text, parse_json
from scarlet_zoo.utils.watching import tell_watcher

_FORMAT = 1
_SAVE_SECONDS = 30.0  # a check that is killed loses no more than this
_AT_A_TIME = 256
_NAMED = 20  # broken files that an error names


@dataclass(frozen=True)
class Checked:
    """What a check of image files has found.

    Attributes:
        facts: what is known of each file that can be read.
        broken: the files that cannot, each with the reason.
        read: number of files that were opened, because nothing was remembered of them.
    """

    facts: dict[Path, ImageFacts]
    broken: tuple[Skipped, ...]
    read: int


def check_images(source: Path, files: Sequence[Path]) -> Checked:
    """Read all image files that are not remembered as good, with several threads.

    Args:
        source: the folder or manifest that the files belong to; each has its own file in the cache.
        files: the image files.
    """
    memory = _Memory(source)
    facts: dict[Path, ImageFacts] = {}
    unknown: list[Path] = []
    for file in files:
        known = memory.get(file)
        if known is None:
            unknown.append(file)
        else:
            facts[file] = known
    broken: list[Skipped] = []
    for file, found in _looked_at(unknown, memory):
        if isinstance(found, ImageFacts):
            facts[file] = found
        else:
            broken.append(Skipped.because(file, found))
    if unknown:
        memory.save(files)
    return Checked(facts, tuple(sorted(broken, key=lambda entry: entry.file)), len(unknown))


def _looked_at(files: Sequence[Path], memory: _Memory) -> Iterable[tuple[Path, ImageFacts | ImageError]]:
    saved = time.monotonic()
    with strict_decoders(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(files), _AT_A_TIME):
            part = files[start : start + _AT_A_TIME]
            for file, found in zip(part, pool.map(_look, part), strict=True):
                if isinstance(found, ImageFacts):
                    memory.add(file, found)
                yield file, found
            tell_watcher("check images", min(start + _AT_A_TIME, len(files)), len(files))
            if time.monotonic() - saved > _SAVE_SECONDS:
                memory.save(None)
                saved = time.monotonic()


def _look(file: Path) -> ImageFacts | ImageError:
    try:
        return look_at_image(file)
    except ImageError as error:
        return error


def broken_line(source: Path, broken: Sequence[Skipped], files: int) -> str:
    """Say in one line which images cannot be read and why; the first ones of very many."""
    kinds: dict[str, list[str]] = {}
    for entry in broken[:_NAMED]:
        inside = entry.file.relative_to(source) if entry.file.is_relative_to(source) else entry.file
        kinds.setdefault(entry.kind, []).append(printable(inside))
    named = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())
    more = f" and {len(broken) - _NAMED:,} more, which 'scarlet-zoo data check' lists" if len(broken) > _NAMED else ""
    return f"{printable(source)}: {len(broken):,} of {files:,} images cannot be read: {named}{more}"


def refuse_broken(source: Path, broken: Sequence[Skipped], files: int) -> None:
    """Refuse images that cannot be read.

    Raises:
        DatasetError: there are some; the message names them all, or the first ones of very many.
    """
    if broken:
        raise DatasetError(f"{broken_line(source, broken, files)}; wanted readable images, or --skip-broken")


class _Memory:
    """The file of the cache that holds what is known of the images of one source."""

    def __init__(self, source: Path) -> None:
        place = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:24]
        self._file = cache_folder() / "checked" / f"{place}.json"
        self._entries: dict[str, Any] = self._read()

    def _read(self) -> dict[str, Any]:
        try:
            content = parse_json(bounded_text(self._file))
            return dict(content["files"]) if content["format"] == _FORMAT else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # no such file yet, or a damaged one: the images are looked at again

    def get(self, file: Path) -> ImageFacts | None:
        """What is known of a file, if it has the same size and time of change as then."""
        entry = self._entries.get(_key(file))
        try:
            if entry is None or entry[0] != _stamp(file):
                return None
            width, height, mode, kind, turned, digest, mean, square = entry[1]
            return ImageFacts(width, height, mode, kind, turned, digest, tuple(mean), tuple(square))
        except (OSError, ValueError, TypeError, LookupError):
            return None

    def add(self, file: Path, facts: ImageFacts) -> None:
        """Remember what is known of a file."""
        self._entries[_key(file)] = [_stamp(file), list(astuple(facts))]

    def save(self, files: Sequence[Path] | None) -> None:
        """Write the cache's file, with these image files only; all that are known when None."""
        if files is not None:
            kept = set(map(_key, files))
            self._entries = {key: entry for key, entry in self._entries.items() if key in kept}
        make_folder(self._file.parent)
        write_text(self._file, json.dumps({"format": _FORMAT, "files": self._entries}, separators=(",", ":")))


def _key(file: Path) -> str:
    return os.path.abspath(file)  # noqa: PTH100 links are kept


def _stamp(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]
