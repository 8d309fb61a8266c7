"""Tables and one-line conditions in markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A markdown table; the first column is text, the others are aligned to the right."""
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(['---', *['---:'] * (len(header) - 1)])}|"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def conditions_line(conditions: Mapping[str, Any]) -> str:
    """Where and how a latency was measured, in one line."""
    threads = f"{conditions['threads']} thread{'s' * (conditions['threads'] != 1)}"
    # Files that are measured together may have inputs of several shapes; then there is none to tell.
    shapes = ["x".join(map(str, sides)) for sides in conditions.get("input_shape", {}).values()]
    fed = f"input {' '.join(shapes)}, " if shapes else ""
    runtime = f"{conditions['runtime']} {conditions['runtime_version']}"
    return f"{conditions['device']}, {threads}, {runtime}, {fed}{conditions['mode']}, {conditions['date']}"
