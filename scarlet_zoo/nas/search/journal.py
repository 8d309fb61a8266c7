"""The journal of a search: every evaluation is written at once, so that none is made twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.nas.search.objectives import Values
from scarlet_zoo.utils.files import make_folder, write_text
from scarlet_zoo.utils.reading import bounded_text, parse_json
from scarlet_zoo.utils.schema_versions import SCHEMA_KEY, SCHEMAS, refuse_newer

_NONE = "is not the journal of a search"


class Journal:
    """A file with schema version and conditions in its first line, then a line ``arch values seconds`` per evaluation.

    A last line that is incomplete, because its process was killed, is dropped. A file without evaluations that has
    other conditions is written anew.

    Args:
        path: path of the file; it is continued if it exists.
        conditions: everything that the values depend on, as JSON values.

    Raises:
        TrainingError: the file is no journal, a newer version of this package wrote it, or it has evaluations under
            other conditions.
    """

    def __init__(self, path: Path, conditions: Mapping[str, object]) -> None:
        self.path = path
        self._values: dict[str, dict[str, float]] = {}
        make_folder(path.parent)
        lines = _lines(path) if path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        head = json.dumps({SCHEMA_KEY: SCHEMAS["journal"], "conditions": conditions}) + "\n"
        # Early journals do not state their version.
        if whole and whole[0] not in (head, json.dumps({"conditions": conditions}) + "\n"):
            difference = _difference(path, whole[0], dict(conditions))
            if len(whole) > 1 or difference == _NONE:
                raise TrainingError(f"{path}: {difference}, wanted the same search, or another --out")
            # Of a search that was refused before it evaluated anything.
            whole = []
            self.reference.unlink(missing_ok=True)
        for line in whole[1:]:
            self._take(line)
        write_text(path, "".join(whole or [head]))
        self._file = path.open("a", encoding="utf-8")

    def _take(self, line: str) -> None:
        try:
            row = parse_json(line)
            self._values[row["arch"]] = {name: float(value) for name, value in row["values"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TrainingError(f"{self.path}: {line.strip()[:80]!r} is not an evaluation") from error

    @property
    def reference(self) -> Path:
        """The file beside it with the latency of the reference network, which measurements are scaled by."""
        return self.path.with_suffix(".reference.json")

    def __len__(self) -> int:
        return len(self._values)

    def get(self, arch: Arch) -> Values | None:
        """Return the values of an architecture, or None if it was not evaluated yet."""
        return self._values.get(str(arch))

    def add(self, arch: Arch, values: Values, seconds: float) -> None:
        """Append an evaluation to the file."""
        assert str(arch) not in self._values, f"{arch} is evaluated twice"
        self._values[str(arch)] = dict(values)
        self._file.write(json.dumps({"arch": str(arch), "values": values, "seconds": round(seconds, 3)}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _lines(path: Path) -> list[str]:
    try:
        return bounded_text(path).splitlines(keepends=True)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: {_NONE}: {error}, wanted the same search, or another --out") from error


def _difference(path: Path, head: str, wanted: Mapping[str, object]) -> str:
    try:
        content = parse_json(head)
        found = content["conditions"]
    except (ValueError, KeyError, TypeError):
        return _NONE
    refuse_newer("journal", content, path, TrainingError)
    apart = [f"{key} {found.get(key)!r}, not {value!r}" for key, value in wanted.items() if found.get(key) != value]
    return f"the journal of another search ({'; '.join(apart)[:300]})"
