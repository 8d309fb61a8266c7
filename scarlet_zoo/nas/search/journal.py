"""Every evaluation of a search on disk as soon as it is made, so that none is made twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.nas.search.objectives import Values
from scarlet_zoo.utils.files import make_folder, write_text


class Journal:
    """A file with one line an evaluation, ``arch values seconds``; the first line says what was evaluated how.

    A last line that a kill has cut is dropped.

    Args:
        path: of the file; continued if it is there.
        conditions: what the values depend on.

    Raises:
        TrainingError: the file has evaluations under other conditions, or is none.
    """

    def __init__(self, path: Path, conditions: Mapping[str, object]) -> None:
        self.path = path
        self._values: dict[str, dict[str, float]] = {}
        make_folder(path.parent)
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        whole = [line for line in lines if line.endswith("\n")]
        head = json.dumps({"conditions": conditions}) + "\n"
        if whole and whole[0] != head:
            told = _difference(whole[0], dict(conditions))
            raise TrainingError(f"{path}: {told}, wanted the same search, or another --out")
        for line in whole[1:]:
            self._take(line)
        write_text(path, "".join(whole or [head]))
        self._file = path.open("a", encoding="utf-8")

    def _take(self, line: str) -> None:
        try:
            row = json.loads(line)
            self._values[row["arch"]] = {name: float(value) for name, value in row["values"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TrainingError(f"{self.path}: {line.strip()[:80]!r} is no evaluation") from error

    def __len__(self) -> int:
        return len(self._values)

    def get(self, arch: Arch) -> Values | None:
        """The values of an architecture, if it was evaluated."""
        return self._values.get(str(arch))

    def add(self, arch: Arch, values: Values, seconds: float) -> None:
        """Write an evaluation down."""
        assert str(arch) not in self._values, f"{arch} is evaluated twice"
        self._values[str(arch)] = dict(values)
        self._file.write(json.dumps({"arch": str(arch), "values": values, "seconds": round(seconds, 3)}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _difference(head: str, wanted: Mapping[str, object]) -> str:
    try:
        found = json.loads(head)["conditions"]
    except (ValueError, KeyError, TypeError):
        return "is no journal of a search"
    apart = [f"{key} {found.get(key)!r}, not {value!r}" for key, value in wanted.items() if found.get(key) != value]
    return f"another search's journal ({'; '.join(apart)[:300]})"
