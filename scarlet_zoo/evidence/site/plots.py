"""Plots of the committed records, as SVG that takes the colours of the page around it."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.inference.right_answers import Accuracy
from scarlet_zoo.latency import is_stable

_WIDTH, _HEIGHT, _ROW = 640, 300, 26
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 24, 16, 46
_OURS, _OTHERS = "#b2182b", "#737373"


@dataclass(frozen=True)
class Point:
    """A network in a plot: name, median latency in ms, top-1 in percent with its interval, and whether it is ours."""

    name: str
    ms: float
    top1: float
    low: float
    high: float
    ours: bool


def scatter_of(record: Path, images: int) -> str:
    """Draw the accuracy of a record's networks against their latency, which were measured interleaved.

    Args:
        record: rows with ``name``, ``test_top1`` and ``record``.
        images: number of test images, where the rows do not state it.
    """
    points = []
    for row in _rows(record):
        count = row.get("test_images", images)
        low, high = Accuracy(round(row["test_top1"] * count / 100), count).interval
        name = row["name"].split(" ")[0]
        points.append(Point(name, row["record"]["p50_ms"], row["test_top1"], low, high, name in ZOO))
    return scatter_svg(points, f"Test accuracy against latency, {record.name}")


def scatter_svg(points: Sequence[Point], title: str) -> str:
    """Draw points with their intervals: red are networks of the zoo, grey are others."""
    low, high = min(point.low for point in points), max(point.high for point in points)
    first, last = min(point.ms for point in points) / 1.2, max(point.ms for point in points) * 1.3

    def x_of(ms: float) -> float:
        return _LEFT + math.log(ms / first) / math.log(last / first) * (_WIDTH - _LEFT - _RIGHT)

    def y_of(top1: float) -> float:
        return _HEIGHT - _BOTTOM - (top1 - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    lines = [_head(_HEIGHT, title)]
    for tick in range(math.ceil(low), math.floor(high) + 1):
        lines += [_line(_LEFT, y_of(tick), _WIDTH - _RIGHT, y_of(tick), 0.15),
                  _text(_LEFT - 6, y_of(tick) + 4, f"{tick} %", "end")]  # fmt: skip
    for tick_ms in _round_numbers(first, last):
        lines += [_line(x_of(tick_ms), _TOP, x_of(tick_ms), _HEIGHT - _BOTTOM, 0.15),
                  _text(x_of(tick_ms), _HEIGHT - _BOTTOM + 16, f"{tick_ms:g}", "middle")]  # fmt: skip
    lines.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, "median latency of one image, ms", "middle"))
    for point in sorted(points, key=lambda one: one.ours):
        x, y, colour = x_of(point.ms), y_of(point.top1), _OURS if point.ours else _OTHERS
        right = x > 0.6 * _WIDTH
        lines += [_line(x, y_of(point.low), x, y_of(point.high), 0.6, colour),
                  f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}"/>',
                  _text(x - 10 if right else x + 10, y - 8, f"{point.name} {point.top1:.4g} %",
                        "end" if right else "start")]  # fmt: skip
    return "\n".join([*lines, "</svg></div>"])


def targets_svg(results: Path, network: str, target: str | None = None) -> str | None:
    """Draw the latency of a network for each target on one thread; None if ``runtimes.json`` does not have it.

    Args:
        results: folder of the committed records.
        network: name of the network.
        target: a target that is drawn in red.
    """
    rows = [row for row in _rows(results / "runtimes.json") if (row["name"], row["threads"]) == (network, 1)]
    if not rows or target not in {None, *(row["target"] for row in rows)}:
        return None
    rows.sort(key=lambda row: float(row["record"]["p50_ms"]))
    longest = max(row["record"]["p50_ms"] for row in rows)
    lines = [_head(_ROW * len(rows) + 6, f"{network}, latency by target")]
    for place, row in enumerate(rows):
        top, ms = _ROW * place + 4, row["record"]["p50_ms"]
        colour = _OURS if row["target"] == target else "#2166ac"
        unstable = "" if is_stable(row["record"]["cv"]) else ", UNSTABLE"
        length = ms / longest * (_WIDTH - 270)
        lines += [_text(100, top + 13, row["target"], "end"),
                  f'<rect x="108" y="{top}" width="{length:.1f}" height="18" rx="2" fill="{colour}"/>',
                  _text(116 + length, top + 13, f"{ms:.3g} ms{unstable}")]  # fmt: skip
    return "\n".join([*lines, "</svg></div>"])


def _rows(path: Path) -> list[dict[str, Any]]:
    content = json.loads(path.read_text())
    return list(content["rows"] if isinstance(content, dict) else content)


def _round_numbers(first: float, last: float) -> list[float]:
    powers = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    steps = [times * 10.0**power for power in powers for times in (1, 1.5, 2, 3, 4, 5, 7)]
    return [float(f"{step:.2g}") for step in steps if first <= step <= last]


def _head(height: int, title: str) -> str:
    return (f'<div class="wide"><svg class="drawing" viewBox="0 0 {_WIDTH} {height}" role="img" '
            f'xmlns="http://www.w3.org/2000/svg"><title>{html.escape(title)}</title>')  # fmt: skip


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, opacity: float, colour: str = "currentColor") -> str:
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-opacity="{opacity}"/>')  # fmt: skip
