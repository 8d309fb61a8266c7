"""Which architectures there are: search spaces, their definition as plain data, and the named ones.

A space is a chain: a stem convolution, a depthwise-separable block, the searchable
layers, a 1x1 head convolution, pooling and a linear classifier. Its tokens are its own. It may
have branches besides (:mod:`scarlet_zoo.topology`).
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from scarlet_zoo.arch import SKIP, Arch, BranchPlan, Choice
from scarlet_zoo.errors import ArchError, unknown_name
from scarlet_zoo.topology import OFF, Edge, edge_name, every_edge, read_edges

BRANCHES = "branches"
_BRANCH_OPERATOR = Choice(expand_ratio=3, kernel_size=3)


@dataclass(frozen=True, slots=True)
class Layer:
    """A searchable layer: its output channels, its stride and the tokens that it allows."""

    width: int
    stride: int
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class SearchSpace:
    """A family of architectures that differ in the choice made at each layer.

    Attributes:
        name: what stands before the colon of an identity string.
        choices: token and meaning of every candidate, in candidate order.
        layers: the searchable layers in order.
        in_chans, input_size, num_classes: the input and the output that the space is made for.
        stem_width, first_width, head_width: channels of the three fixed convolutions.
        stem_stride: of the first of them, 2, or 1 where pictures are small.
        activation: activation inside the searchable blocks, by timm's name.
        edge_activation: activation of stem, first block and head.
        mean, std: of the pixels in [0, 1] that its networks are fed with, one value a channel.
        crop: side of the central crop over the side that pictures are resized to.
        branches: edges between feature maps that an architecture may have, sorted.
        branch_operator: the block that stands on each of them, without a shortcut. Which operators
            ST-NAS has there is not known to us; this one is ours.

    Raises:
        ArchError: an impossible definition, with what and where.
    """

    name: str
    choices: tuple[tuple[str, Choice], ...]
    layers: tuple[Layer, ...]
    in_chans: int = 3
    input_size: int = 224
    num_classes: int = 1000
    stem_width: int = 32
    first_width: int = 16
    head_width: int = 1280
    stem_stride: int = 2
    activation: str = "hard_swish"
    edge_activation: str = "relu6"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop: float = 224 / 256
    branches: tuple[Edge, ...] = ()
    branch_operator: Choice = _BRANCH_OPERATOR

    def __post_init__(self) -> None:
        if not self.name or not self.layers or any(mark in self.name for mark in ": \n"):
            raise ArchError(f"search space {self.name!r}: wanted a name without ':' or blanks, and layers")
        self._check_numbers()
        if self.stem_stride not in (1, 2):
            raise ArchError(f"search space {self.name!r}: got stem stride {self.stem_stride}, wanted 1 or 2")
        if len(self._meaning) != len(self.choices):
            raise ArchError(f"search space {self.name!r}: a token is defined twice")
        if not len(self.mean) == len(self.std) == self.in_chans:
            raise ArchError(
                f"search space {self.name!r}: got {len(self.mean)} means and {len(self.std)} deviations, "
                f"wanted {self.in_chans}, one a channel"
            )
        in_chs = self.first_width
        for index, layer in enumerate(self.layers):
            self._check_layer(index, layer, in_chs)
            in_chs = layer.width
        if self.branches:
            self._check_branches()

    def _check_branches(self) -> None:
        where = f"search space {self.name!r}"
        read_edges([edge_name(edge) for edge in self.branches], every_edge(len(self.layers)), where)
        operator = self.branch_operator
        if operator.is_skip or operator.expand_ratio < 1 or operator.kernel_size % 2 != 1:
            raise ArchError(f"{where}: got branch operator {operator}, wanted a block with an odd kernel")

    def _check_numbers(self) -> None:
        for key in ("in_chans", "input_size", "num_classes", "stem_width", "first_width", "head_width"):
            value = getattr(self, key)
            if type(value) is not int or value < 1:
                raise ArchError(f"search space {self.name!r}: got {key} {value!r}, wanted a whole number from 1")
        numbers = (*self.mean, *self.std, self.crop)
        if not all(isinstance(value, (int, float)) for value in numbers) or not 0 < self.crop <= 1:
            raise ArchError(
                f"search space {self.name!r}: got mean, std, crop {numbers}, wanted numbers, crop in (0, 1]"
            )
        for token, choice in self.choices:
            sizes = (choice.expand_ratio, choice.kernel_size)
            if not choice.is_skip and (not all(type(size) is int for size in sizes) or choice.kernel_size % 2 != 1):
                raise ArchError(
                    f"search space {self.name!r}: token {token!r} has ratio and kernel {sizes}, wanted an odd kernel"
                )

    def _check_layer(self, index: int, layer: Layer, in_chs: int) -> None:
        where = f"search space {self.name!r}, layer {index}"
        if not layer.tokens:
            raise ArchError(f"{where}: no tokens")
        if layer.stride not in (1, 2):
            raise ArchError(f"{where}: got stride {layer.stride}, wanted 1 or 2")
        if layer.width <= 0 or layer.width % 8:
            raise ArchError(f"{where}: got {layer.width} channels, wanted a multiple of 8")
        for token in layer.tokens:
            if token not in self._meaning or "-" in token:
                raise ArchError(f"{where}: token {token!r} is not one of the space's: {' '.join(self._meaning)}")
            if self._meaning[token].is_skip and (layer.stride != 1 or layer.width != in_chs or index == 0):
                raise ArchError(f"{where}: a skip needs stride 1 and equal channels, got {in_chs} -> {layer.width}")

    @cached_property
    def _meaning(self) -> dict[str, Choice]:
        return dict(self.choices)

    def choice(self, token: str) -> Choice:
        """What a token of this space means."""
        return self._meaning[token]

    @cached_property
    def decisions(self) -> tuple[tuple[str, ...], ...]:
        """What may be decided: each layer's tokens, then for each branch ``off`` or its name."""
        return (*(layer.tokens for layer in self.layers), *((OFF, edge_name(edge)) for edge in self.branches))

    def arch(self, tokens: Iterable[str]) -> Arch:
        """The architecture with these tokens, one a layer, or with these decisions (:attr:`decisions`)."""
        given, layers = tuple(tokens), len(self.layers)
        if len(given) != len(self.decisions):
            return Arch(self, given)
        on = [name for name in given[layers:] if name != OFF]
        return Arch(self, given[:layers], read_edges(on, self.branches, f"architecture of space {self.name!r}"))

    def sample(self, rng: random.Random) -> Arch:
        """Draw an architecture, each layer's token and each branch uniformly."""
        return self.arch(rng.choice(allowed) for allowed in self.decisions)

    def mutate(self, arch: Arch, rng: random.Random, probability: float = 0.1) -> Arch:
        """Decide each layer and each branch anew with this probability, uniformly among its other tokens."""
        made = []
        for allowed, token in zip(self.decisions, arch.decisions, strict=True):
            others = [other for other in allowed if other != token]
            made.append(rng.choice(others) if others and rng.random() < probability else token)
        return self.arch(made)

    def cross(self, one: Arch, other: Arch, rng: random.Random) -> Arch:
        """Take each layer's token and each branch from one of two architectures, by a fair coin."""
        return self.arch(rng.choice(pair) for pair in zip(one.decisions, other.decisions, strict=True))

    @property
    def size(self) -> int:
        """How many architectures the space holds."""
        return math.prod(map(len, self.decisions))

    def with_branches(self) -> SearchSpace:
        """The same chain with every branch that may be, named ``<name>+branches`` (:mod:`scarlet_zoo.topology`).

        Raises:
            ArchError: it has branches, or is too short for any.
        """
        edges = every_edge(len(self.layers))
        if self.branches or not edges:
            raise ArchError(f"search space {self.name!r}: wanted one without branches and with two layers or more")
        return replace(self, name=f"{self.name}+{BRANCHES}", branches=edges)

    def branch_plan(self, edge: Edge) -> BranchPlan:
        """Channels and stride of one branch."""
        source, target = edge
        widths = (self.first_width, *(layer.width for layer in self.layers))
        stride = math.prod(layer.stride for layer in self.layers[source:target])
        operator = self.branch_operator
        return BranchPlan(block_token(operator), operator, widths[source], widths[target], stride, source, target)

    def to_json(self) -> str:
        """The definition as one line of JSON, which :meth:`from_json` reads back to an equal value."""
        fields = asdict(self)
        if not self.branches:
            # Files and runs carry the text of spaces from before there were branches.
            del fields["branches"], fields["branch_operator"]
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> SearchSpace:
        """Rebuild a space from :meth:`to_json`, for instance out of a file's metadata.

        Raises:
            ArchError: the text is no definition of a search space.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            fields["choices"] = tuple((token, Choice(**choice)) for token, choice in fields["choices"])
            fields["layers"] = tuple(
                Layer(layer["width"], layer["stride"], tuple(layer["tokens"])) for layer in fields["layers"]
            )
            fields |= {key: tuple(fields[key]) for key in ("mean", "std") if key in fields}
            if "branches" in fields:
                fields["branches"] = tuple((int(source), int(target)) for source, target in fields["branches"])
                fields["branch_operator"] = Choice(**fields["branch_operator"])
            return cls(**fields)
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, ArchError):
                raise
            raise ArchError(f"search space definition: {type(error).__name__}: {error}") from error


def mbconv_choices(
    expand_ratios: Iterable[int] = (3, 6), kernel_sizes: Iterable[int] = (3, 5, 7), squeeze_excite: bool = True
) -> tuple[tuple[str, Choice], ...]:
    """MBConv candidates and the skip, named ``e<ratio>k<kernel>[se]`` and ``id``.

    The order is that of the released genotypes: index = 6 * se + 3 * (ratio == 6) + (kernel - 3) / 2.
    """
    gates = (False, True) if squeeze_excite else (False,)
    blocks = [Choice(e, k, se) for se in gates for e in expand_ratios for k in kernel_sizes]
    return (*((block_token(block), block) for block in blocks), ("id", SKIP))


def block_token(block: Choice) -> str:
    """How an MBConv candidate is named: ``e<ratio>k<kernel>[se]``."""
    return f"e{block.expand_ratio}k{block.kernel_size}{'se' * block.squeeze_excite}"


def chain_layers(
    stages: Iterable[tuple[int, int, int]], choices: Iterable[tuple[str, Choice]], in_chs: int = 16
) -> tuple[Layer, ...]:
    """Layers of a chain given as (channels, layers, stride) per stage; a skip is legal wherever it fits.

    It fits where the layer has stride 1 and as many output as input channels, and is not the first.
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
    """The named search space; ``<name>+branches`` is the one with branches.

    Raises:
        UnknownNameError: no such space; the message lists the near ones.
    """
    base, *added = name.split("+")
    if base not in _SPACES or any(feature != BRANCHES for feature in added):
        raise unknown_name("search space", name, [*_SPACES, *(f"{known}+{BRANCHES}" for known in _SPACES)])
    space = _SPACES[base]
    for _ in added:
        space = space.with_branches()
    return space


def list_spaces() -> list[str]:
    """The names of all search spaces."""
    return list(_SPACES)
