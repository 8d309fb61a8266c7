"""Search spaces, defined as plain data.

A space is a chain: a stem convolution, a depthwise-separable block, the searchable
layers, a 1x1 head convolution, pooling and a linear classifier. Each space defines its own tokens.
It may also have branches (:mod:`scarlet_zoo.arch.branches`).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, wraps
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from scarlet_zoo.arch.branches import OFF, Edge, edge_name, every_edge, read_edges
from scarlet_zoo.arch.choices import STRICT, Choice, choice_fields, members_of, path_sets, without_sets
from scarlet_zoo.arch.limits import (
    MOST_CHANNELS,
    MOST_CLASSES,
    MOST_IN_CHANS,
    MOST_LAYERS,
    MOST_LETTERS,
    MOST_SIDE,
    MOST_TEXT,
    MOST_TOKENS,
    check_sets,
    check_whole,
    some_of,
)
from scarlet_zoo.errors import ArchError
from scarlet_zoo.utils.names import is_plain_text
from scarlet_zoo.utils.schema import first_fault

BRANCHES, PATHS = "branches", "paths"
_BRANCH_OPERATOR = Choice(expand_ratio=3, kernel_size=3)

T = TypeVar("T")
Width = Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
Channels = Annotated[int, Field(ge=1, le=MOST_IN_CHANS)]
Side = Annotated[int, Field(ge=1, le=MOST_SIDE)]
Classes = Annotated[int, Field(ge=1, le=MOST_CLASSES)]
Text = Annotated[str, Field(max_length=MOST_LETTERS)]
Stride = Annotated[int, Field(ge=1, le=2)]
Deviation = Annotated[FiniteFloat, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, slots=True)
class Layer:
    """A searchable layer: its output channels, its stride and the tokens that it allows."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    width: Width
    stride: Stride
    tokens: Annotated[tuple[Text, ...], Field(min_length=1, max_length=MOST_TOKENS)]


def arch_error(error: ValidationError, where: str, names: list[str]) -> ArchError:
    """Convert pydantic's validation error of a search space to an :class:`ArchError`.

    Args:
        error: the validation error.
        where: what was validated, for the message.
        names: the names of its fields, in order.
    """
    own = error.errors(include_url=False)[0].get("ctx", {}).get("error")
    return own if isinstance(own, ArchError) else ArchError(f"{where}: {first_fault(error, names)}")


def _raises_arch_error(kind: type[T]) -> type[T]:
    """Let a checked dataclass raise :class:`ArchError` when its arguments are invalid."""
    construct: Any = kind.__dict__["__init__"]

    @wraps(construct)
    def __init__(self: T, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        try:
            construct(self, *args, **kwargs)
        except ValidationError as error:
            name = kwargs.get("name", args[0] if args else None)
            names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
            raise arch_error(error, f"search space {name!r}", names) from error

    setattr(kind, "__init__", __init__)  # noqa: B010
    return kind


@_raises_arch_error
@checked_dataclass(frozen=True, config=STRICT)
class SearchSpace:
    """A family of architectures that differ in the choice made at each layer.

    Attributes:
        name: the part of an identity string before the colon.
        choices: token and choice of every candidate, in candidate order.
        layers: the searchable layers in order.
        in_chans, input_size, num_classes: input channels, side of the square input in pixels, and classes.
        stem_width, first_width, head_width: channels of the three fixed convolutions.
        stem_stride: stride of the stem convolution: 2, or 1 for small images.
        activation: activation inside the searchable blocks, by timm's name.
        edge_activation: activation of stem, first block and head.
        mean, std: mean and deviation that normalise pixels in [0, 1], one value for each channel.
        crop: side of the central crop over the side that images are resized to.
        branches: edges between feature maps that an architecture may have, sorted.
        branch_operator: the block of each branch, without a shortcut. We do not know which operators
            ST-NAS uses there; this one is ours.

    Raises:
        ArchError: an invalid definition.
    """

    name: Text
    choices: Annotated[tuple[tuple[Text, Choice], ...], Field(max_length=MOST_TOKENS)]
    layers: Annotated[tuple[Layer, ...], Field(min_length=1, max_length=MOST_LAYERS)]
    in_chans: Channels = 3
    input_size: Side = 224
    num_classes: Classes = 1000
    stem_width: Width = 32
    first_width: Width = 16
    head_width: Width = 1280
    stem_stride: Stride = 2
    activation: str = "hard_swish"
    edge_activation: str = "relu6"
    mean: tuple[FiniteFloat, ...] = (0.485, 0.456, 0.406)
    std: tuple[Deviation, ...] = (0.229, 0.224, 0.225)
    crop: Share = 224 / 256
    branches: tuple[Edge, ...] = ()
    branch_operator: Choice = _BRANCH_OPERATOR

    def __post_init__(self) -> None:
        """Check the rules between fields; pydantic has already checked the type and range of each field."""
        if not self.name or any(mark in self.name for mark in ": \n") or not is_plain_text(self.name):
            raise ArchError(f"search space {self.name!a}: wanted a name without colons, spaces or line breaks")
        self._check_choices()
        if len(self._meaning) != len(self.choices):
            raise ArchError(f"search space {self.name!r}: got a token that is defined twice, wanted distinct tokens")
        if not len(self.mean) == len(self.std) == self.in_chans:
            raise ArchError(
                f"search space {self.name!r}: got {len(self.mean)} means and {len(self.std)} deviations, "
                f"wanted {self.in_chans} of each, one for each channel"
            )
        in_chs = self.first_width
        for index, layer in enumerate(self.layers):
            self._check_layer(index, layer, in_chs)
            in_chs = layer.width
        if self.branches:
            self._check_branches()
        check_whole(self)

    def _check_branches(self) -> None:
        where = f"search space {self.name!r}"
        read_edges([edge_name(edge) for edge in self.branches], every_edge(len(self.layers)), where)
        operator = self.branch_operator
        if operator.is_skip or operator.kernel_size % 2 != 1:
            raise ArchError(f"{where}: got branch operator {operator}, wanted a block with an odd kernel")

    def _check_choices(self) -> None:
        for token, block in ((token, block) for token, choice in self.choices for block in choice.blocks):
            if not is_plain_text(token):
                raise ArchError(
                    f"search space {self.name!r}: got token {token!a}, wanted one without control characters"
                )
            if block.beside:
                raise ArchError(f"search space {self.name!r}, token {token!r}: got a set inside a set, wanted blocks")
            if not block.is_skip and block.kernel_size % 2 != 1:
                raise ArchError(
                    f"search space {self.name!r}, token {token!r}: got kernel {block.kernel_size}, wanted an odd kernel"
                )

    def _check_layer(self, index: int, layer: Layer, in_chs: int) -> None:
        where = f"search space {self.name!r}, layer {index}"
        if len(set(layer.tokens)) != len(layer.tokens):
            raise ArchError(f"{where}: got tokens {some_of(layer.tokens)}, wanted each token once")
        for token in layer.tokens:
            if token not in self._meaning or "-" in token:
                raise ArchError(f"{where}: got token {token!r}, wanted one of {some_of(self._meaning)}")
            if self._meaning[token].is_skip and (layer.stride != 1 or layer.width != in_chs or index == 0):
                raise ArchError(
                    f"{where}: got a skip with stride {layer.stride} and channels {in_chs} -> {layer.width}, "
                    "wanted stride 1, equal channels and not the first layer"
                )

    @cached_property
    def _meaning(self) -> dict[str, Choice]:
        return dict(self.choices)

    def choice(self, token: str) -> Choice:
        """Return the choice that a token of this space names."""
        return self._meaning[token]

    @cached_property
    def decisions(self) -> tuple[tuple[str, ...], ...]:
        """The options of every decision: each layer's tokens, then ``off`` or its name for each branch."""
        return (*(layer.tokens for layer in self.layers), *((OFF, edge_name(edge)) for edge in self.branches))

    @property
    def size(self) -> int:
        """The number of architectures in the space."""
        return math.prod(map(len, self.decisions))

    def with_branches(self) -> SearchSpace:
        """Return the same chain with all possible branches (:mod:`scarlet_zoo.arch.branches`), ``<name>+branches``.

        Raises:
            ArchError: the space has branches already, or fewer than two layers.
        """
        edges = every_edge(len(self.layers))
        if self.branches or not edges:
            raise ArchError(
                f"search space {self.name!r}: got {len(self.branches)} branches and {len(self.layers)} layers, "
                "wanted a space without branches and with two layers or more"
            )
        return replace(self, name=f"{self.name}+{BRANCHES}", branches=edges)

    def with_path_sets(self, most: int = 2) -> SearchSpace:
        """Return the same space with every set of 2 to ``most`` blocks as a token, named ``<name>+paths<most>``.

        Raises:
            ArchError: the space has sets already, or a layer has fewer than ``most`` blocks.
        """
        if self.most_paths > 1:
            raise ArchError(f"search space {self.name!r}: got a space with sets of paths, wanted a space without them")
        fewest = min(sum(not self.choice(token).is_skip for token in layer.tokens) for layer in self.layers)
        if not 2 <= most <= fewest:
            raise ArchError(f"search space {self.name!r}: got sets of {most} paths, wanted 2 to {fewest}")
        check_sets(sum(not choice.is_skip for _, choice in self.choices), most, f"search space {self.name!r}")
        sets = dict(path_sets(self.choices, most))
        layers = [
            replace(layer, tokens=(*layer.tokens, *(t for t in sets if set(members_of(t)) <= set(layer.tokens))))
            for layer in self.layers
        ]
        choices = (*self.choices, *sets.items())
        return replace(self, name=f"{self.name}+{PATHS}{most}", choices=choices, layers=tuple(layers))

    @property
    def chain(self) -> SearchSpace:
        """The space without sets of paths and without branches: a plain chain of single choices."""
        choices = tuple((token, choice) for token, choice in self.choices if not choice.beside)
        layers = tuple(replace(layer, tokens=without_sets(layer.tokens)) for layer in self.layers)
        return replace(self, name=self.name.partition("+")[0], choices=choices, layers=layers, branches=())

    @property
    def most_paths(self) -> int:
        """The largest number of parallel blocks in a layer; 1 without sets of paths."""
        return max(len(choice.blocks) for _, choice in self.choices)

    def to_json(self) -> str:
        """Return the definition as one line of JSON; :meth:`from_json` reads it back to an equal value."""
        values = asdict(self)
        # Fields without content are left out: older files hold the text from before sets of paths and branches.
        values["choices"] = tuple((token, choice_fields(choice)) for token, choice in self.choices)
        values["branch_operator"] = choice_fields(self.branch_operator)
        if not self.branches:
            del values["branches"], values["branch_operator"]
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, where: object = None) -> SearchSpace:
        """Rebuild a space from the text of :meth:`to_json`, for instance from a file's metadata.

        Args:
            text: the text.
            where: the file that it is from, for the error message.

        Raises:
            ArchError: the text is not the definition of a search space.
        """
        try:
            if len(text) > MOST_TEXT:
                raise ArchError(f"search space definition: got {len(text):,} characters, wanted at most {MOST_TEXT:,}")
            try:
                return TypeAdapter(cls).validate_json(text)
            except ValidationError as error:
                raise arch_error(error, "search space definition", [field.name for field in fields(cls)]) from error
        except ArchError as error:
            if where is None:
                raise
            raise ArchError(f"{where}: {error}") from error
