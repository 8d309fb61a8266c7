"""Figures drawn with matplotlib, an optional dependency."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.files import replacing
from scarlet_zoo.utils.installing import install_command

# The kinds of files, and their metadata: no date, so that equal figures are equal files.
_KINDS: Mapping[str, dict[str, Any] | None] = {"png": None, "svg": {"Date": None}}


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


def kind_of(file: Path) -> str:
    """Return whether a file is to be a ``png`` or an ``svg``, by its name.

    Raises:
        ScarletError: its name ends with neither.
    """
    kind = file.suffix.lower().removeprefix(".")
    if kind not in _KINDS:
        raise ScarletError(f"plot: got {file}, wanted a file name that ends with .png or .svg")
    return kind


def save_as(figure: Any, file: Path) -> None:
    """Write a figure to a file of the kind that its name says, without dates and random names.

    Raises:
        ScarletError: the name ends with neither ``.png`` nor ``.svg``.
    """
    import matplotlib as mpl

    kind = kind_of(file)
    with mpl.rc_context({"svg.hashsalt": "scarlet-zoo"}), replacing(file) as path:
        figure.savefig(path, format=kind, dpi=150, metadata=_KINDS[kind])


def save_figure(figure: Any, stem: Path) -> None:
    """Write a figure as ``stem.png`` and ``stem.svg``, without dates and random names: equal figures, equal files."""
    for kind in _KINDS:
        save_as(figure, stem.with_suffix(f".{kind}"))
