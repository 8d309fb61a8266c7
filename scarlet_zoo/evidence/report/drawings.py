"""Plots of latency for the report, as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scarlet_zoo.measurement.profile_plots import draw_blocks
from scarlet_zoo.utils.plotting import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABEL_GAP = 0.25  # between two names, in points of accuracy


@dataclass(frozen=True)
class Point:
    """A network in the plot of accuracy over latency.

    Attributes:
        ms: latency in milliseconds.
        top1: published accuracy in percent.
        ours: whether it is one of SCARLET's networks.
        best: whether it is on the Pareto front.
    """

    name: str
    ms: float
    top1: float
    ours: bool
    best: bool


def pareto(points: Sequence[Point]) -> str:
    """Plot accuracy over latency, with the Pareto front as a line."""
    figure = new_figure(7.0, 4.6)
    axes = figure.add_subplot()
    line = [point for point in points if point.best]
    axes.step([point.ms for point in line], [point.top1 for point in line], where="post", color="0.6", linewidth=1)
    for point in points:
        axes.plot(point.ms, point.top1, "o", color=_colour(point), markersize=6 if point.best else 4)
    _label(axes, points)
    axes.set_xlabel("p50, ms, one thread, float32, the fastest of our graph variants")
    axes.set_ylabel("ImageNet top-1, %, as published")
    axes.grid(alpha=0.3)
    axes.margins(x=0.2)
    return svg(figure)


def _colour(point: Point) -> str:
    return "#b2182b" if point.ours else "#2166ac"


def _label(axes: Axes, points: Sequence[Point]) -> None:
    """Write names left of the points on the front, except its first, and right of all others, one below the other."""
    height, first = float("inf"), min(points, key=lambda point: point.ms)
    for point in sorted(points, key=lambda point: -point.top1):
        left = point.best and point is not first
        if not left:
            height = min(point.top1, height - _LABEL_GAP)
        place, offset, side = (point.top1, (-5, 4), "right") if left else (height, (6, -3), "left")
        axes.annotate(point.name, (point.ms, place), offset, textcoords="offset points", ha=side, fontsize=8,
                      color=_colour(point))  # fmt: skip


def blocks(profiles: Sequence[Mapping[str, Any]]) -> str:
    """Plot the time and the physical limit of each block of SCARLET's networks."""
    networks = [row for row in profiles if row["file"].startswith("scarlet")]
    most = max(len(row["blocks"]) for row in networks)
    figure = new_figure(9.0, 0.19 * most + 1.2)
    for place, row in enumerate(networks):
        axes = figure.add_subplot(1, len(networks), place + 1)
        draw_blocks(axes, [{**block, "name": block["name"].removeprefix("blocks.")} for block in row["blocks"]])
        axes.set_ylim(most - 0.5, -0.5)
        axes.tick_params(labelsize=7)
        axes.set_title(f"{row['file']}: {row['of_limit']:.1f} times its limit", fontsize=8)
    axes.legend(frameon=False, fontsize=7)
    return svg(figure)


def svg(figure: Any) -> str:
    """Return a figure as an SVG element; equal figures give equal text."""
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "scarlet-zoo", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
