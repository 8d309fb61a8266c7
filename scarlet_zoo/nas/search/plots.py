"""The plot of a search: its front, and everything that was evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scarlet_zoo.nas.search.objectives import METRICS, Objective
from scarlet_zoo.utils.plotting import new_figure, save_figure

if TYPE_CHECKING:
    from scarlet_zoo.nas.search.settings import SearchResult


def plot_front(result: SearchResult, objectives: Sequence[Objective], stem: Path) -> None:
    """Plot the first objective over the second as ``stem.png`` and ``stem.svg``, with the third as colour.

    A single objective is plotted over the order of evaluation.

    Raises:
        ScarletError: matplotlib is not installed.
    """
    figure = new_figure(7, 4.5)
    axes = figure.add_subplot()
    on_front = {str(candidate.arch) for candidate in result.front}
    points = [(_place(c.values, i, objectives), str(c.arch) in on_front) for i, c in enumerate(result.evaluated)]
    rest = [place for place, chosen in points if not chosen]
    axes.scatter([x for x, *_ in rest], [y for _, y, *_ in rest], s=12, color="0.75", label="evaluated")
    best = sorted(place for place, chosen in points if chosen)
    x, y, *third = zip(*best, strict=True)
    if third:
        # A front in three dimensions is a surface, so that a line through its points would mean nothing.
        drawn = axes.scatter(x, y, s=24, c=third[0], cmap="viridis", label="front")
        figure.colorbar(drawn, label=_axis(objectives[2]))
    else:
        axes.plot(x, y, "o-", color="#b2182b", markersize=4, linewidth=1, label="front")
    axes.set_xlabel(_axis(objectives[1]) if len(objectives) > 1 else "evaluation")
    axes.set_ylabel(_axis(objectives[0]))
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    save_figure(figure, stem)


def _axis(objective: Objective) -> str:
    return f"{objective.name} ({METRICS[objective.name][0]})"


def _place(values: Mapping[str, float], position: int, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """The second objective, or the order of evaluation; the first; and the third where there is one."""
    y, *others = (float(values[objective.name]) for objective in objectives)
    return (others[0] if others else float(position), y, *others[1:2])
