"""The search spaces that have a name; :mod:`scarlet_zoo.arch.space_files` reads those that a user declares."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from scarlet_zoo.arch.choices import Choice, mbconv_choices
from scarlet_zoo.arch.space import BRANCHES, PATHS, Layer, SearchSpace
from scarlet_zoo.errors import UnknownNameError, unknown_name


def chain_layers(
    stages: Iterable[tuple[int, int, int]], choices: Iterable[tuple[str, Choice]], in_chs: int = 16
) -> tuple[Layer, ...]:
    """Return the layers of a chain; a skip is allowed in every layer where it fits.

    A skip fits if the layer has stride 1, as many output as input channels, and is not the first.

    Args:
        stages: channels, number of layers and stride of each stage.
        choices: token and choice of every candidate.
        in_chs: input channels of the first layer.
    """
    named = tuple(choices)
    every = tuple(token for token, _ in named)
    blocks = tuple(token for token, choice in named if not choice.is_skip)
    layers: list[Layer] = []
    for width, depth, stride in stages:
        for position in range(depth):
            step = stride if position == 0 else 1
            fits = step == 1 and width == in_chs and bool(layers)
            layers.append(Layer(width, step, every if fits else blocks))
            in_chs = width
    return tuple(layers)


# SCARLET-NAS, architecture figure; (channels, layers, stride) per stage.
_SCARLET_STAGES = ((32, 2, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
# Our space for images of 28 x 28 pixels; benchmarks/README.md describes the measurements behind it.
_MINI_STAGES = ((16, 1, 2), (24, 3, 1), (48, 4, 2))
_MINI: dict[str, Any] = {
    "in_chans": 1, "input_size": 28, "num_classes": 10, "stem_width": 16, "first_width": 8, "head_width": 256,
    "stem_stride": 1, "mean": (0.286,), "std": (0.353,), "crop": 1.0,
}  # fmt: skip
# Our spaces for small colour images and for photographs; docs/spaces.md has their cost.
_RGB32_STAGES = ((24, 3, 2), (48, 4, 2), (96, 3, 1))
_RGB32: dict[str, Any] = {
    "input_size": 32, "num_classes": 10, "stem_width": 16, "first_width": 16, "head_width": 384, "stem_stride": 1,
    "crop": 1.0,
}  # fmt: skip
# Chosen among four candidates of the same cost: benchmarks/spaces and benchmarks/results/cifar10.jsonl.
_CIFAR_STAGES = ((20, 2, 2), (40, 3, 2), (72, 3, 1), (120, 2, 2))
_CIFAR: dict[str, Any] = {**_RGB32, "first_width": 12, "head_width": 320}
_RGB96_STAGES = ((24, 2, 2), (40, 3, 2), (80, 4, 2), (112, 3, 1))
_RGB96: dict[str, Any] = {"input_size": 96, "num_classes": 10, "stem_width": 24, "first_width": 16, "head_width": 640}
_GREY: dict[str, Any] = {"in_chans": 1, "mean": (0.5,), "std": (0.25,)}


def _chain(
    name: str,
    stages: Iterable[tuple[int, int, int]],
    squeeze_excite: bool = True,
    expand_ratios: Iterable[int] = (3, 6),
    kernel_sizes: Iterable[int] = (3, 5, 7),
    **rest: Any,
) -> SearchSpace:
    choices = mbconv_choices(expand_ratios, kernel_sizes, squeeze_excite)
    layers = chain_layers(stages, choices, in_chs=rest.get("first_width", SearchSpace.first_width))
    return SearchSpace(name, choices, layers, **rest)


# Spaces whose name ends in -7 have the smaller choice set of SCARLET-NAS's analysis: six MBConv and the skip.
_SPACES: Mapping[str, SearchSpace] = {
    space.name: space
    for space in (
        _chain("scarlet", _SCARLET_STAGES),
        _chain("scarlet-7", _SCARLET_STAGES, squeeze_excite=False),
        _chain("scarlet-mini", _MINI_STAGES, **_MINI),
        _chain("scarlet-mini-7", _MINI_STAGES, squeeze_excite=False, **_MINI),
        _chain("scarlet-rgb32", _RGB32_STAGES, **_RGB32),
        _chain("scarlet-cifar", _CIFAR_STAGES, expand_ratios=(2, 6), kernel_sizes=(3, 5), **_CIFAR),
        _chain("scarlet-rgb96", _RGB96_STAGES, **_RGB96),
        _chain("scarlet-grey96", _RGB96_STAGES, **_RGB96, **_GREY),
    )
}


_ADDED = rf"{BRANCHES}|{PATHS}[1-9][0-9]{{0,3}}"


def get_space(name: str) -> SearchSpace:
    """Return a search space by name; ``<name>+branches`` adds branches, ``<name>+paths2`` adds sets of paths.

    Raises:
        UnknownNameError: there is no such space; the message lists similar names.
    """
    base, *added = name.split("+")
    if base not in _SPACES or not all(
        re.fullmatch(rf"{BRANCHES}|{PATHS}[1-9][0-9]{{0,3}}", feature) for feature in added
    ):
        near = [f"{known}{feature}" for known in _SPACES for feature in ("", f"+{BRANCHES}", f"+{PATHS}2")]
        unknown = unknown_name("search space", name, near)
        raise UnknownNameError(f"{unknown}, or the TOML file of your own (docs/spaces.md), such as {name[:40]}.toml")
    space = _SPACES[base]
    for feature in added:
        most = feature.removeprefix(PATHS)
        space = space.with_branches() if feature == BRANCHES else space.with_path_sets(int(most))
    return space


def list_spaces() -> list[str]:
    """Return the names of all search spaces."""
    return list(_SPACES)
