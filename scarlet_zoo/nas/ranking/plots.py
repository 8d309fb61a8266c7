"""Plots of a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scarlet_zoo.utils.plotting import new_figure, save_figure


def plot_verdict(report: Mapping[str, Any], stem: Path) -> None:
    """Write the figure of :func:`draw_verdict` as ``stem.png`` and ``stem.svg``."""
    save_figure(draw_verdict(report), stem)


def draw_verdict(report: Mapping[str, Any]) -> Any:
    """Draw each ranker's tau-b, with its interval and each seed, and its partial tau-b beyond multiply-adds.

    Args:
        report: result of :func:`scarlet_zoo.nas.ranking.verdict.verdict`.
    """
    rows: Sequence[Mapping[str, Any]] = report["rows"][::-1]
    figure = new_figure(9.5, 0.32 * len(rows) + 1.4)
    whole, beyond = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    colours = ["#2166ac" if row["strategy"] else "0.55" for row in rows]
    for axes, key in ((whole, "tau"), (beyond, "beyond_macs")):
        for place, (row, colour) in enumerate(zip(rows, colours, strict=True)):
            estimate = row[key]
            axes.plot([estimate["low"], estimate["high"]], [place, place], color=colour, linewidth=2)
            axes.plot([estimate["value"]], [place], "o", color=colour, markersize=5)
        axes.axvline(0, color="0.8", linewidth=1, zorder=0)
        axes.grid(axis="x", alpha=0.3)
    for place, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        whole.plot(row["tau_each"], [place] * len(row["tau_each"]), "|", color=colour, markersize=9)
    if report["ceiling"]:
        whole.axvline(report["ceiling"]["perfect_ranker"]["value"], color="#b2182b", linewidth=1, linestyle="--")
    whole.set_yticks(range(len(rows)), [row["recipe"] for row in rows])
    whole.set_xlabel("Kendall tau-b against the ground truth\n(95 % interval; bars: seeds; dashed: a perfect ranker's)")
    beyond.set_xlabel("partial tau-b, beyond multiply-adds")
    return figure
