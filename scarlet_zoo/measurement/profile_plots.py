"""The plot of a profile: the measured time of each block, and its physical limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.measurement.profiling import Profile
from scarlet_zoo.utils.files import replacing
from scarlet_zoo.utils.plotting import new_figure

_KINDS = (".png", ".svg")


def draw_blocks(axes: Any, blocks: Sequence[Mapping[str, Any]]) -> None:
    """Draw a bar of measured time for each block, with its physical limit inside; the first block is on top."""
    places = range(len(blocks))
    axes.barh(places, [block["p50_us"] for block in blocks], color="#9ecae1", label="measured")
    axes.barh(places, [block["limit_us"] for block in blocks], height=0.45, color="#08519c", label="limit")
    axes.set_yticks(places, [f"{block['name']} {block['kind']}".strip() for block in blocks])
    axes.set_xlabel("microseconds")
    axes.invert_yaxis()


def plot_profile(profile: Profile, path: Path) -> None:
    """Write the plot of a profile: for each block its measured time and its physical limit.

    Raises:
        ScarletError: ``path`` ends with neither ``.png`` nor ``.svg``, or matplotlib is not installed.
    """
    if path.suffix not in _KINDS:
        raise ScarletError(f"plot: got {path}, wanted a file name that ends with {' or '.join(_KINDS)}")
    figure = new_figure(8, 0.28 * len(profile.blocks) + 1.6)
    axes = figure.add_subplot()
    draw_blocks(axes, [block.to_dict() for block in profile.blocks])
    total, machine = profile.total, profile.machine
    what = f"{profile.file}: {total.p50_us / 1e3:.2f} ms, {total.of_limit or 0:.1f} times its limit"
    where = f"{machine.device}, threads {machine.threads}, {machine.peak_gflops:.0f} GFLOP/s"
    axes.set_title(f"{what}\n{where}", fontsize=9)
    axes.legend(frameon=False, loc="lower right")
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=150)
