"""The picture of a search: its front, with everything that was evaluated behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scarlet_zoo.errors import TrainingError
from scarlet_zoo.files import replacing
from scarlet_zoo.searching.objectives import METRICS, Objective

if TYPE_CHECKING:
    from scarlet_zoo.searching import SearchResult


def plot_front(result: SearchResult, objectives: Sequence[Objective], stem: Path) -> None:
    """Draw the first two objectives as ``stem.png`` and ``stem.svg``; a single one against the order of evaluation.

    Raises:
        TrainingError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise TrainingError("plot: matplotlib is not installed, wanted it: pip install 'scarlet-zoo[train]'") from error
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    on_front = {str(candidate.arch) for candidate in result.front}
    points = [(_place(c.values, i, objectives), str(c.arch) in on_front) for i, c in enumerate(result.evaluated)]
    rest = [place for place, chosen in points if not chosen]
    axes.scatter([x for x, _ in rest], [y for _, y in rest], s=12, color="0.75", label="evaluated")
    best = sorted(place for place, chosen in points if chosen)
    axes.plot(*zip(*best, strict=True), "o-", color="#b2182b", markersize=4, linewidth=1, label="front")
    names = [f"{objective.name} ({METRICS[objective.name][0]})" for objective in objectives]
    axes.set_xlabel(names[1] if len(names) > 1 else "evaluation")
    axes.set_ylabel(names[0])
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    # Without dates and random names the same search draws the same files.
    with mpl.rc_context({"svg.hashsalt": "scarlet-zoo"}):
        for kind, metadata in (("png", None), ("svg", {"Date": None})):
            with replacing(stem.with_suffix(f".{kind}")) as path:
                figure.savefig(path, format=kind, dpi=150, metadata=metadata)


def _place(values: object, position: int, objectives: Sequence[Objective]) -> tuple[float, float]:
    assert hasattr(values, "__getitem__")
    x = values[objectives[1].name] if len(objectives) > 1 else position
    return float(x), float(values[objectives[0].name])
