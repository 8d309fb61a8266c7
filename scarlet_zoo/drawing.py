"""Figures, by matplotlib, which is an extra."""

from __future__ import annotations

from typing import Any

from scarlet_zoo.errors import ScarletError


def new_figure(width: float, height: float) -> Any:
    """An empty figure of this size in inches.

    Raises:
        ScarletError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ScarletError("plot: matplotlib is not installed, wanted it: pip install 'scarlet-zoo[train]'") from error
    return Figure(figsize=(width, height), layout="constrained")
