"""Pictures of a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scarlet_zoo.drawing import new_figure, save_figure


def plot_verdict(report: Mapping[str, Any], stem: Path) -> None:
    """:func:`draw_verdict` as ``stem.png`` and ``stem.svg``."""
    save_figure(draw_verdict(report), stem)


def draw_verdict(report: Mapping[str, Any]) -> Any:
    """A figure of the tau-b of each recipe with its interval and each seed's.

    Args:
        report: of :func:`scarlet_zoo.ranking.verdict.verdict`.
    """
    rows: Sequence[Mapping[str, Any]] = report["rows"][::-1]
    figure = new_figure(7, 0.35 * len(rows) + 1.2)
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        colour = "#2166ac" if row["strategy"] else "0.55"
        tau = row["tau"]
        axes.plot([tau["low"], tau["high"]], [place, place], color=colour, linewidth=2)
        axes.plot(row["tau_each"], [place] * len(row["tau_each"]), "|", color=colour, markersize=9)
        axes.plot([tau["value"]], [place], "o", color=colour, markersize=5)
    if report["ceiling"]:
        axes.axvline(report["ceiling"]["perfect_ranker"]["value"], color="#b2182b", linewidth=1, linestyle="--")
    axes.axvline(0, color="0.8", linewidth=1, zorder=0)
    axes.set_yticks(range(len(rows)), [row["recipe"] for row in rows])
    axes.set_xlabel("Kendall tau-b against the ground truth (95 % interval; bars: seeds; dashed: a perfect ranker's)")
    axes.grid(axis="x", alpha=0.3)
    return figure
