"""The search spaces that have a name, and what may be added to each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from scarlet_zoo.candidates import chain_layers, mbconv_choices
from scarlet_zoo.errors import unknown_name
from scarlet_zoo.space import BRANCHES, PATHS, SearchSpace

# SCARLET-NAS, architecture figure; (channels, layers, stride) per stage.
_SCARLET_STAGES = ((32, 2, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
# Ours, for pictures of 28 pixels: benchmarks/README.md says what was measured to choose it.
_MINI_STAGES = ((16, 1, 2), (24, 3, 1), (48, 4, 2))
_MINI: dict[str, Any] = {
    "in_chans": 1, "input_size": 28, "num_classes": 10, "stem_width": 16, "first_width": 8, "head_width": 256,
    "stem_stride": 1, "mean": (0.286,), "std": (0.353,), "crop": 1.0,
}  # fmt: skip


def _chain(name: str, stages: Iterable[tuple[int, int, int]], squeeze_excite: bool = True, **rest: Any) -> SearchSpace:
    choices = mbconv_choices(squeeze_excite=squeeze_excite)
    layers = chain_layers(stages, choices, in_chs=rest.get("first_width", SearchSpace.first_width))
    return SearchSpace(name, choices, layers, **rest)


# The names with -7 have the smaller choice set of SCARLET-NAS's analysis: six MBConv and the skip.
_SPACES: Mapping[str, SearchSpace] = {
    space.name: space
    for space in (
        _chain("scarlet", _SCARLET_STAGES),
        _chain("scarlet-7", _SCARLET_STAGES, squeeze_excite=False),
        _chain("scarlet-mini", _MINI_STAGES, **_MINI),
        _chain("scarlet-mini-7", _MINI_STAGES, squeeze_excite=False, **_MINI),
    )
}


def get_space(name: str) -> SearchSpace:
    """The named search space; ``<name>+branches`` is the one with branches, ``<name>+paths2`` with sets of paths.

    Raises:
        UnknownNameError: no such space; the message lists the near ones.
    """
    base, *added = name.split("+")
    if base not in _SPACES or not all(re.fullmatch(rf"{BRANCHES}|{PATHS}[1-9]\d*", feature) for feature in added):
        near = [f"{known}{feature}" for known in _SPACES for feature in ("", f"+{BRANCHES}", f"+{PATHS}2")]
        raise unknown_name("search space", name, near)
    space = _SPACES[base]
    for feature in added:
        most = feature.removeprefix(PATHS)
        space = space.with_branches() if feature == BRANCHES else space.with_path_sets(int(most))
    return space


def list_spaces() -> list[str]:
    """The names of all search spaces."""
    return list(_SPACES)
