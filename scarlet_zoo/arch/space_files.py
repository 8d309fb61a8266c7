"""Search spaces that a user declares in a TOML file, and every space by its name or its file.

A declaration uses the terms in which papers describe a space; docs/spaces.md names every key with its limits::

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
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError

from scarlet_zoo.arch.architecture import is_identity_string
from scarlet_zoo.arch.choices import mbconv_choices
from scarlet_zoo.arch.limits import MOST_EXPANSION, MOST_KERNEL, MOST_LAYERS, MOST_SIDE, MOST_STAGES, MOST_TOKENS
from scarlet_zoo.arch.space import Channels, Classes, SearchSpace, Share, Stride, Text, Width
from scarlet_zoo.arch.spaces import chain_layers, get_space, list_spaces
from scarlet_zoo.errors import ArchError
from scarlet_zoo.utils.reading import bounded_text, parse_toml
from scarlet_zoo.utils.schema import first_fault

ENDING = ".toml"
_MOST_BYTES = 2**20  # of a declaration, which has a few lines
# The names of timm's activations.
ACTIVATIONS = (
    "celu", "elu", "gelu", "gelu_tanh", "hard_mish", "hard_sigmoid", "hard_swish", "hardsigmoid", "hardswish",
    "identity", "leaky_relu", "mish", "prelu", "quick_gelu", "relu", "relu6", "selu", "sigmoid", "silu", "swish",
    "tanh",
)  # fmt: skip
IMAGE_CHANNELS = (1, 3)
# What may stand before the colon of an identity string; a plus sign begins what is added to a space.
_NAME = r"[^\s:+/\\]+"


def _stage(value: Any) -> Any:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("three numbers, [channels, layers, stride], such as [24, 2, 2]")
    return value


def _distinct(values: list[int]) -> list[int]:
    if len(set(values)) != len(values):
        raise ValueError("each number once")
    return values


def _odd(size: int) -> int:
    if size % 2 != 1:
        raise ValueError("an odd kernel")
    return size


def _activation(name: str) -> str:
    if name not in ACTIVATIONS:
        raise ValueError(f"one of {' '.join(ACTIVATIONS)}")
    return name


def _level(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError("0 to 1, since pixels are scaled to [0, 1]; divide values of the scale 0 to 255 by 255")
    return value


Depth = Annotated[int, Field(ge=1, le=MOST_LAYERS)]
Stage = Annotated[tuple[Width, Depth, Stride], BeforeValidator(_stage), Field(strict=False)]
Ratios = Annotated[list[Annotated[int, Field(ge=1, le=MOST_EXPANSION)]], Field(min_length=1), AfterValidator(_distinct)]
Kernel = Annotated[int, Field(ge=1, le=MOST_KERNEL), AfterValidator(_odd)]
Kernels = Annotated[list[Kernel], Field(min_length=1), AfterValidator(_distinct)]
Activation = Annotated[str, AfterValidator(_activation)]
Level = Annotated[FiniteFloat, AfterValidator(_level)]
Spread = Annotated[FiniteFloat, Field(gt=0), AfterValidator(_level)]


class SpaceDeclaration(BaseModel):
    """The declaration of a search space in a TOML file; the module's docstring has an example.

    Attributes:
        name: the part of an identity string before the colon.
        stages: channels, number of layers and stride of each stage.
        expand_ratios: hidden channels over input channels of the candidates.
        kernel_sizes: sides of the depthwise kernels of the candidates, in pixels.
        squeeze_excite: whether each candidate is also offered with a squeeze-and-excitation gate.
        branches: whether the space has branches.
        paths: largest number of parallel blocks in a layer; no sets of paths when left out.
        in_chans, input_size, num_classes: input channels, side of the square input in pixels, and classes.
        stem_width, first_width, head_width: channels of the three fixed convolutions.
        stem_stride: stride of the stem convolution.
        activation, edge_activation: activations of the searchable blocks, and of stem, first block and head.
        mean, std: mean and deviation that normalise pixels in [0, 1], one value for each channel.
        crop: side of the central crop over the side that images are resized to.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: Text
    stages: Annotated[list[Stage], Field(min_length=1, max_length=MOST_STAGES)]
    expand_ratios: Ratios = [3, 6]
    kernel_sizes: Kernels = [3, 5, 7]
    squeeze_excite: bool = True
    branches: bool = False
    paths: Annotated[int, Field(ge=2)] | None = None
    in_chans: Channels = SearchSpace.in_chans
    input_size: Annotated[int, Field(ge=8, le=MOST_SIDE)] = SearchSpace.input_size
    num_classes: Classes = SearchSpace.num_classes
    stem_width: Width = SearchSpace.stem_width
    first_width: Width = SearchSpace.first_width
    head_width: Width = SearchSpace.head_width
    stem_stride: Stride = SearchSpace.stem_stride
    activation: Activation = SearchSpace.activation
    edge_activation: Activation = SearchSpace.edge_activation
    mean: list[Level] | None = None
    std: list[Spread] | None = None
    crop: Share = SearchSpace.crop

    def space(self) -> SearchSpace:
        """Build the declared search space.

        Raises:
            ArchError: an invalid space, a name that no identity string can begin with, or a built-in space's name for
                another definition.
        """
        self._check_name()
        self._check_size()
        self._check_numbers()
        choices = mbconv_choices(self.expand_ratios, self.kernel_sizes, self.squeeze_excite)
        layers = chain_layers(self.stages, choices, in_chs=self.first_width)
        space = SearchSpace(
            self.name, choices, layers, in_chans=self.in_chans, input_size=self.input_size,
            num_classes=self.num_classes, stem_width=self.stem_width, first_width=self.first_width,
            head_width=self.head_width, stem_stride=self.stem_stride, activation=self.activation,
            edge_activation=self.edge_activation, mean=self._of_channels("mean", self.mean, SearchSpace.mean, 0.5),
            std=self._of_channels("std", self.std, SearchSpace.std, 0.25), crop=self.crop,
        )  # fmt: skip
        declared = replace(self._extended(space), name=self.name)
        if self.name in list_spaces() and declared != replace(get_space(self.name), num_classes=self.num_classes):
            raise ArchError(
                f"name: got {self.name!r}, the name of a built-in space with another definition, wanted another name"
            )
        return declared

    def _extended(self, space: SearchSpace) -> SearchSpace:
        """Add the branches and the sets of paths; an error names the key that asked for them."""
        key = "branches"
        try:
            extended = space.with_branches() if self.branches else space
            key = "paths"
            return extended.with_path_sets(self.paths) if self.paths else extended
        except ArchError as error:
            raise ArchError(f"{key}: {error}") from error

    def _check_name(self) -> None:
        if not re.fullmatch(_NAME, self.name) or not is_identity_string(f"{self.name}:"):
            raise ArchError(
                f"name: got {self.name!r}, wanted a name without colons, spaces or line breaks, plus signs, slashes "
                "or backslashes, and none of timm's hf-hub, hf_hub and local-dir"
            )

    def _check_size(self) -> None:
        reduced = self.stem_stride
        for _, _, stride in self.stages:
            reduced *= stride
        if self.input_size < reduced:
            raise ArchError(
                f"input_size: got {self.input_size}, wanted {reduced} or more, because stem_stride and the strides of "
                f"the stages divide the side of an image by {reduced}"
            )

    def _check_numbers(self) -> None:
        """Check what the keys amount to before a list of layers or candidates is made of them."""
        layers = sum(depth for _, depth, _ in self.stages)
        if layers > MOST_LAYERS:
            raise ArchError(f"stages: got {layers:,} layers in all, wanted at most {MOST_LAYERS}")
        blocks = len(self.expand_ratios) * len(self.kernel_sizes) * (1 + self.squeeze_excite)
        if blocks >= MOST_TOKENS:
            raise ArchError(
                f"expand_ratios, kernel_sizes: got {blocks:,} candidates, wanted fewer than {MOST_TOKENS:,}"
            )

    def _of_channels(
        self, key: str, given: list[float] | None, colours: tuple[float, ...], neutral: float
    ) -> tuple[float, ...]:
        """Return one value for each channel: the given values, ImageNet's for colour images, else the neutral value."""
        if given is None:
            return colours if self.in_chans == len(colours) else (neutral,) * self.in_chans
        if len(given) != self.in_chans:
            raise ArchError(f"{key}: got {len(given)} values, wanted {self.in_chans}, one for each channel of in_chans")
        return tuple(given)


def find_space(text: str, *, for_images: bool = False) -> SearchSpace:
    """Return a search space by name, or read it from a TOML file if the text ends in ``.toml``.

    Args:
        text: the name or the path.
        for_images: whether its networks must take images, which have one or three channels.

    Raises:
        UnknownNameError: there is no such name; the message lists similar names, and says how to give a file.
        ArchError: the file is missing or does not declare a valid space, or its networks take no images.
    """
    declared = text.lower().endswith(ENDING)
    space = read_space(Path(text)) if declared else get_space(text)
    if for_images:
        check_channels(space, f"{text}: " if declared else f"search space {text!r}: ")
    return space


def check_channels(space: SearchSpace, where: str) -> None:
    """Check that the networks of a space take grey or colour images.

    Args:
        space: the space.
        where: what defines it, with a colon and a space, for the error message.

    Raises:
        ArchError: the space has another number of channels.
    """
    if space.in_chans not in IMAGE_CHANNELS:
        raise ArchError(
            f"{where}in_chans: got {space.in_chans}, wanted 1 (grey) or 3 (colour), the channels that images have"
        )


def read_space(path: Path) -> SearchSpace:
    """Read a search space from a TOML file; unknown and missing keys are errors.

    Raises:
        ArchError: the file is missing or does not declare a valid space.
    """
    try:
        content = parse_toml(
            bounded_text(path, _MOST_BYTES, encoding="utf-8-sig")
        )  # Windows's editors begin files with a mark
    except FileNotFoundError as error:
        raise ArchError(f"{path}: no such file, wanted a TOML file of a search space") from error
    except OSError as error:
        raise ArchError(f"{path}: cannot be read: {error.strerror}, wanted a TOML file of a search space") from error
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise ArchError(f"{path}: not a TOML file of a search space: {reason}") from error
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
