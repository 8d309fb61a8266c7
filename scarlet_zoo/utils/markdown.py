"""Markdown tables, and the common wording for a measurement's conditions and for an unstable measurement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a markdown table; the first column is aligned to the left, the others to the right."""
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(['---', *['---:'] * (len(header) - 1)])}|"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def conditions_line(conditions: Mapping[str, Any]) -> str:
    """Describe in one line where and how a latency was measured."""
    threads = f"{conditions['threads']} thread{'s' * (conditions['threads'] != 1)}"
    # Files that are measured together may have different input shapes; then no shape is recorded.
    shapes = ["x".join(map(str, sides)) for sides in conditions.get("input_shape", {}).values()]
    fed = f"input {' '.join(shapes)}, " if shapes else ""
    runtime = f"{conditions['runtime']} {conditions['runtime_version']}"
    return f"{conditions['device']}, {threads}, {runtime}, {fed}{conditions['mode']}, {conditions['date']}"


def unstable_mark(stable: bool | None) -> str:
    """Return the mark that follows a number whose measurement varied by more than 5 %; empty for a stable one."""
    return " UNSTABLE" if stable is False else ""
