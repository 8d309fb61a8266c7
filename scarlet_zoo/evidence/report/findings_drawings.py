"""Plots of what happens inside supernets, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from scarlet_zoo.evidence.report.drawings import svg
from scarlet_zoo.utils.plotting import new_figure

Row = Mapping[str, Any]
_COLOURS = {"plain": "0.4", "identity": "#b2182b", "orthogonal": "#2166ac", "kaiming": "#1b7837"}


def alike(rows: Sequence[Row]) -> str:
    """Plot the cosines of the skip to the blocks (dots) and of the blocks to each other (bars), by condition."""
    names = list(dict.fromkeys(row["asked"]["name"] for row in rows))
    figure = new_figure(7.0, 0.5 * len(names) + 1.2)
    axes = figure.add_subplot()
    seen = set()
    for row in rows:
        skip = row["asked"]["skip"]
        place = names[::-1].index(row["asked"]["name"]) + 0.16 * (list(_COLOURS).index(skip) - 1.5)
        own, others = (fmean(layer[key] for layer in row["layers"]) for key in ("skip", "blocks"))
        axes.plot([own, others], [place, place], color=_COLOURS[skip], linewidth=1)
        axes.plot(others, place, "|", color=_COLOURS[skip], markersize=8)
        axes.plot(own, place, "o", color=_COLOURS[skip], markersize=4, label=None if skip in seen else skip)
        seen.add(skip)
    axes.set_yticks(range(len(names)), names[::-1])
    axes.set_xlabel("cosine of outputs: dot, the skip to the blocks; bar, the blocks to each other")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(frameon=False, fontsize=8, loc="outside upper center", ncols=len(seen))
    return svg(figure)


def shifts(base: Mapping[str, Row]) -> str:
    """Plot feature shift and parameter shift by layer."""
    figure = new_figure(8.0, 3.2)
    for place, (key, label) in enumerate((("feature_shift", "feature shift"), ("parameter_shift", "parameter shift"))):
        axes = figure.add_subplot(1, 2, place + 1)
        for skip, row in base.items():
            axes.plot(range(1, len(row[key]) + 1), row[key], "o-", color=_COLOURS[skip], markersize=3, label=skip)
        axes.set_xlabel("layer")
        axes.set_ylabel(f"{label}, 1 - cosine")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def stability(rows: Sequence[Row]) -> str:
    """Plot how means of draws agree with each other and with the truth, over the number of averaged draws."""
    figure = new_figure(6.0, 3.4)
    axes = figure.add_subplot()
    for heat, colour in zip(sorted({row["asked"]["temperature"] for row in rows}), ("0.4", "#b2182b"), strict=True):
        same = [row["stability"] for row in rows if row["asked"]["temperature"] == heat]
        counts = [point["averaged"] for point in same[0]]
        for key, style, label in (("each_other", "o-", "with each other"), ("truth", "s--", "with the truth")):
            values = [fmean(own[at][key] for own in same) for at in range(len(counts))]
            axes.plot(counts, values, style, color=colour, markersize=4, label=f"T = {heat:g}, {label}")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, list(map(str, counts)))
    axes.set_xlabel("number of draws of the weights that are averaged")
    axes.set_ylabel("Kendall tau-b")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def updates(rows: Sequence[Row]) -> str:
    """Plot tau-b over the size of the pool that paths are drawn from, with a dot for each supernet."""
    sizes = list(dict.fromkeys(row["asked"]["size"] for row in rows))
    figure = new_figure(6.0, 3.4)
    axes = figure.add_subplot()
    means = []
    for place, size in enumerate(sizes):
        values = [row["tau"] for row in rows if row["asked"]["size"] == size]
        axes.plot([place] * len(values), values, "o", color="#2166ac", markersize=4)
        means.append(fmean(values))
    axes.plot(range(len(sizes)), means, color="#2166ac", linewidth=1)
    each = {row["asked"]["size"]: row["updates"] for row in rows}
    axes.set_xticks(range(len(sizes)), [f"{size or 'whole space'}\n{each[size]:.2g}" for size in sizes])
    axes.set_xlabel("architectures that paths are drawn from, and updates of each")
    axes.set_ylabel("Kendall tau-b with the truth")
    axes.grid(alpha=0.3)
    return svg(figure)
