"""Figures drawn with matplotlib, an optional dependency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.files import replacing
from scarlet_zoo.utils.installing import install_command


def new_figure(width: float, height: float) -> Any:
    """Return an empty matplotlib figure of this width and height, in inches.

    Raises:
        ScarletError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ScarletError(
            f"plot: matplotlib is not installed, install it with: {install_command('train', ['matplotlib'])}"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, stem: Path) -> None:
    """Write a figure as ``stem.png`` and ``stem.svg``, without dates and random names: equal figures, equal files."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "scarlet-zoo"}):
        for kind, metadata in (("png", None), ("svg", {"Date": None})):
            with replacing(stem.with_suffix(f".{kind}")) as path:
                figure.savefig(path, format=kind, dpi=150, metadata=metadata)
