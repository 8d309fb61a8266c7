"""Tables in markdown, and how a measurement is spoken of everywhere: its conditions in one line, and its mark."""

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


def unstable_mark(stable: bool | None) -> str:
    """The mark behind a number of a measurement that varied by more than 5 %; empty behind a steady one's."""
    return " UNSTABLE" if stable is False else ""
