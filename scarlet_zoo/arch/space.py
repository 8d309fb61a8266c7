"""Which architectures there are: search spaces, and their definition as plain data.

A space is a chain: a stem convolution, a depthwise-separable block, the searchable
layers, a 1x1 head convolution, pooling and a linear classifier. Its tokens are its own. It may
have branches besides (:mod:`scarlet_zoo.arch.branches`).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from scarlet_zoo.arch.branches import OFF, Edge, edge_name, every_edge, read_edges
from scarlet_zoo.arch.choices import (
    Choice,
    choice_fields,
    choice_of,
    members_of,
    path_sets,
    without_sets,
)
from scarlet_zoo.errors import ArchError

BRANCHES, PATHS = "branches", "paths"
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
        for token, choice in ((token, block) for token, named in self.choices for block in named.blocks):
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
        if type(layer.width) is not int or layer.width < 1:
            raise ArchError(f"{where}: got {layer.width!r} channels, wanted a whole number from 1")
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

    @property
    def size(self) -> int:
        """How many architectures the space holds."""
        return math.prod(map(len, self.decisions))

    def with_branches(self) -> SearchSpace:
        """The same chain with every branch that may be, named ``<name>+branches`` (:mod:`scarlet_zoo.arch.branches`).

        Raises:
            ArchError: it has branches, or is too short for any.
        """
        edges = every_edge(len(self.layers))
        if self.branches or not edges:
            raise ArchError(f"search space {self.name!r}: wanted one without branches and with two layers or more")
        return replace(self, name=f"{self.name}+{BRANCHES}", branches=edges)

    def with_path_sets(self, most: int = 2) -> SearchSpace:
        """The same with every set of 2 to ``most`` blocks as a token, ``<name>+paths<most>``.

        Raises:
            ArchError: it has sets, or a layer has fewer blocks.
        """
        if self.most_paths > 1:
            raise ArchError(f"search space {self.name!r}: has sets of paths, wanted a space without")
        fewest = min(sum(not self.choice(token).is_skip for token in layer.tokens) for layer in self.layers)
        if not 2 <= most <= fewest:
            raise ArchError(f"search space {self.name!r}: got sets of {most} paths, wanted 2 to {fewest}")
        sets = dict(path_sets(self.choices, most))
        layers = [
            replace(layer, tokens=(*layer.tokens, *(t for t in sets if set(members_of(t)) <= set(layer.tokens))))
            for layer in self.layers
        ]
        choices = (*self.choices, *sets.items())
        return replace(self, name=f"{self.name}+{PATHS}{most}", choices=choices, layers=tuple(layers))

    @property
    def chain(self) -> SearchSpace:
        """The space without sets of paths and without branches: single choices, one behind the other."""
        choices = tuple((token, choice) for token, choice in self.choices if not choice.beside)
        layers = tuple(replace(layer, tokens=without_sets(layer.tokens)) for layer in self.layers)
        return replace(self, name=self.name.partition("+")[0], choices=choices, layers=layers, branches=())

    @property
    def most_paths(self) -> int:
        """Blocks that may stand side by side in a layer; 1 where there are no sets."""
        return max(len(choice.blocks) for _, choice in self.choices)

    def to_json(self) -> str:
        """The definition as one line of JSON, which :meth:`from_json` reads back to an equal value."""
        fields = asdict(self)
        # Files and runs carry the text of spaces from before there were sets of paths and branches.
        fields["choices"] = tuple((token, choice_fields(choice)) for token, choice in self.choices)
        fields["branch_operator"] = choice_fields(self.branch_operator)
        if not self.branches:
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
            fields["choices"] = tuple((token, choice_of(choice)) for token, choice in fields["choices"])
            fields["layers"] = tuple(
                Layer(layer["width"], layer["stride"], tuple(layer["tokens"])) for layer in fields["layers"]
            )
            fields |= {key: tuple(fields[key]) for key in ("mean", "std") if key in fields}
            if "branches" in fields:
                fields["branches"] = tuple((int(source), int(target)) for source, target in fields["branches"])
                fields["branch_operator"] = choice_of(fields["branch_operator"])
            return cls(**fields)
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, ArchError):
                raise
            raise ArchError(f"search space definition: {type(error).__name__}: {error}") from error
