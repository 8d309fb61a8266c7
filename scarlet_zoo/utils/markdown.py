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
    runtime = f"{conditions['runtime']} {conditions['runtime_version']}{provider_mark(conditions)}"
    return f"{conditions['device']}, {threads}, {runtime}, {fed}{conditions['mode']}, {conditions['date']}"


def provider_mark(conditions: Mapping[str, Any]) -> str:
    """Return the mark that follows a runtime which ran on another execution provider than the CPU's; else empty."""
    provider = str(conditions.get("provider") or "")
    if provider.removesuffix("ExecutionProvider") in ("", "CPU", "wasm"):
        return ""
    options = ", ".join(f"{key}={value}" for key, value in (conditions.get("provider_options") or {}).items())
    return f" ({', '.join(part for part in (provider, options) if part)})"


def nodes_line(nodes: Mapping[str, int]) -> str:
    """Return how many nodes of a file ran on which execution provider, as words."""
    return ", ".join(f"{count} node{'s' * (count != 1)} on {name}" for name, count in nodes.items())


def unstable_mark(stable: bool | None) -> str:
    """Return the mark that follows a number whose measurement varied by more than 5 %; empty for a stable one."""
    return " UNSTABLE" if stable is False else ""
