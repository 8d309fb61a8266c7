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
    return f"{conditions['device']}, {threads}, {_fed(conditions)}, {conditions['mode']}, {conditions['date']}"


def _fed(conditions: Mapping[str, Any]) -> str:
    """What a file ran on, and the shapes of its inputs."""
    shapes = ["x".join(map(str, sides)) for sides in conditions.get("input_shape", {}).values()]
    runtime = f"{conditions['runtime']} {conditions['runtime_version']}{provider_mark(conditions)}"
    return f"{runtime}, input {' '.join(shapes)}" if shapes else runtime


def conditions_lines(measured: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Describe where and how several files were measured: in one line what they share, then what each has of its own.

    Args:
        measured: name and conditions of each file; their machine, threads, mode and date are those of the first.
    """
    own = [(name, _fed(conditions)) for name, conditions in measured]
    line = conditions_line(measured[0][1])
    if len({words for _, words in own}) == 1:
        return [line]
    return [line.replace(f"{own[0][1]}, ", "", 1), *(f"{name}: {words}" for name, words in own)]


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
