"""The named search spaces, and search spaces that a user declares in a TOML file.

A declaration uses the terms in which papers describe a space::

    name = "mine"
    in_chans = 3
    input_size = 64
    num_classes = 100
    stages = [[24, 2, 2], [40, 3, 2], [80, 4, 2]]  # channels, layers, stride
    kernel_sizes = [3, 5]
    expand_ratios = [3, 6]
    squeeze_excite = true
    paths = 2  # up to two parallel blocks in a layer, their outputs summed; see scarlet_zoo.arch.choices
    branches = true  # between feature maps two or three layers apart; see scarlet_zoo.arch.branches

Keys that are left out have the defaults of :func:`scarlet_zoo.arch.choices.mbconv_choices` and
:class:`scarlet_zoo.arch.space.SearchSpace`. A layer may be skipped wherever its input and output have the same shape.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from scarlet_zoo.arch.choices import Choice, mbconv_choices
from scarlet_zoo.arch.space import BRANCHES, PATHS, Count, Deviation, Layer, SearchSpace, Share, Stride
from scarlet_zoo.errors import ArchError, unknown_name
from scarlet_zoo.utils.schema import first_fault


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


def _chain(name: str, stages: Iterable[tuple[int, int, int]], squeeze_excite: bool = True, **rest: Any) -> SearchSpace:
    choices = mbconv_choices(squeeze_excite=squeeze_excite)
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
    )
}


def get_space(name: str) -> SearchSpace:
    """Return a search space by name; ``<name>+branches`` adds branches, ``<name>+paths2`` adds sets of paths.

    Raises:
        UnknownNameError: there is no such space; the message lists similar names.
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
    """Return the names of all search spaces."""
    return list(_SPACES)


Stage = Annotated[tuple[Count, Count, Stride], Field(strict=False)]


class SpaceDeclaration(BaseModel):
    """The declaration of a search space in a TOML file; the module's docstring has an example.

    Attributes:
        stages: channels, number of layers and stride of each stage.
        branches: whether the space has branches.
        paths: largest number of parallel blocks in a layer; no sets of paths when left out.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str
    stages: Annotated[list[Stage], Field(min_length=1)]
    expand_ratios: list[Count] = [3, 6]
    kernel_sizes: list[Count] = [3, 5, 7]
    squeeze_excite: bool = True
    branches: bool = False
    paths: Annotated[int, Field(ge=2)] | None = None
    in_chans: Count = SearchSpace.in_chans
    input_size: Count = SearchSpace.input_size
    num_classes: Count = SearchSpace.num_classes
    stem_width: Count = SearchSpace.stem_width
    first_width: Count = SearchSpace.first_width
    head_width: Count = SearchSpace.head_width
    stem_stride: Stride = SearchSpace.stem_stride
    activation: str = SearchSpace.activation
    edge_activation: str = SearchSpace.edge_activation
    mean: list[FiniteFloat] | None = None
    std: list[Deviation] | None = None
    crop: Share = SearchSpace.crop

    def space(self) -> SearchSpace:
        """Build the declared search space.

        Raises:
            ArchError: an invalid space.
        """
        choices = mbconv_choices(self.expand_ratios, self.kernel_sizes, self.squeeze_excite)
        layers = chain_layers(self.stages, choices, in_chs=self.first_width)
        space = SearchSpace(
            self.name, choices, layers, in_chans=self.in_chans, input_size=self.input_size,
            num_classes=self.num_classes, stem_width=self.stem_width, first_width=self.first_width,
            head_width=self.head_width, stem_stride=self.stem_stride, activation=self.activation,
            edge_activation=self.edge_activation, mean=self._of_channels(self.mean, SearchSpace.mean, 0.5),
            std=self._of_channels(self.std, SearchSpace.std, 0.25), crop=self.crop,
        )  # fmt: skip
        extended = space.with_branches() if self.branches else space
        return replace(extended.with_path_sets(self.paths) if self.paths else extended, name=self.name)

    def _of_channels(self, given: list[float] | None, colours: tuple[float, ...], neutral: float) -> tuple[float, ...]:
        """Return one value for each channel: the given values, ImageNet's for colour images, else the neutral value."""
        if given is not None:
            return tuple(given)
        return colours if self.in_chans == len(colours) else (neutral,) * self.in_chans


def find_space(text: str) -> SearchSpace:
    """Return a search space by name, or read it from a TOML file if the text ends in ``.toml``.

    Raises:
        UnknownNameError: there is no such name; the message lists similar names.
        ArchError: the file is missing or does not declare a valid space.
    """
    return read_space(Path(text)) if text.endswith(".toml") else get_space(text)


def read_space(path: Path) -> SearchSpace:
    """Read a search space from a TOML file; unknown and missing keys are errors.

    Raises:
        ArchError: the file is missing or does not declare a valid space.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArchError(f"{path}: no such file, wanted a TOML file of a search space") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ArchError(f"{path}: not a TOML file of a search space: {str(error).splitlines()[0]}") from error
    try:
        return space_of(content)
    except ArchError as error:
        raise ArchError(f"{path}: {error}") from error


def space_of(content: Mapping[str, Any]) -> SearchSpace:
    """Build a search space from the values of a declaration; the module's docstring has an example.

    Raises:
        ArchError: unknown or missing keys, or an invalid space.
    """
    try:
        declared = SpaceDeclaration.model_validate(dict(content))
    except ValidationError as error:
        raise ArchError(first_fault(error, SpaceDeclaration.model_fields)) from error
    return declared.space()
