"""Which architectures there are: search spaces, and their definition as plain data.

A space is a chain: a stem convolution, a depthwise-separable block, the searchable
layers, a 1x1 head convolution, pooling and a linear classifier. Its tokens are its own. It may
have branches besides (:mod:`scarlet_zoo.arch.branches`).
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
from scarlet_zoo.errors import ArchError
from scarlet_zoo.utils.schema import first_fault

BRANCHES, PATHS = "branches", "paths"
_BRANCH_OPERATOR = Choice(expand_ratio=3, kernel_size=3)

T = TypeVar("T")
Count = Annotated[int, Field(ge=1)]
Stride = Annotated[int, Field(ge=1, le=2)]
Deviation = Annotated[FiniteFloat, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, slots=True)
class Layer:
    """A searchable layer: its output channels, its stride and the tokens that it allows."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    width: Count
    stride: Stride
    tokens: Annotated[tuple[str, ...], Field(min_length=1)]


def arch_error(error: ValidationError, where: str, names: list[str]) -> ArchError:
    """What pydantic found in a search space, as the error of this package.

    Args:
        error: of the validation.
        where: what was validated.
        names: of its fields, in order.
    """
    own = error.errors(include_url=False)[0].get("ctx", {}).get("error")
    return own if isinstance(own, ArchError) else ArchError(f"{where}: {first_fault(error, names)}")


def _raises_arch_error(kind: type[T]) -> type[T]:
    """Let a checked dataclass raise :class:`ArchError` when it is constructed with a fault."""
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
        name: what stands before the colon of an identity string.
        choices: token and meaning of every candidate, in candidate order.
        layers: the searchable layers in order.
        in_chans, input_size, num_classes: the input and the output that the space is made for.
        stem_width, first_width, head_width: channels of the three fixed convolutions.
        stem_stride: of the first of them, 2, or 1 where images are small.
        activation: activation inside the searchable blocks, by timm's name.
        edge_activation: activation of stem, first block and head.
        mean, std: of the pixels in [0, 1] that its networks are fed with, one value a channel.
        crop: side of the central crop over the side that images are resized to.
        branches: edges between feature maps that an architecture may have, sorted.
        branch_operator: the block that stands on each of them, without a shortcut. Which operators
            ST-NAS has there is not known to us; this one is ours.

    Raises:
        ArchError: an impossible definition, with what and where.
    """

    name: str
    choices: tuple[tuple[str, Choice], ...]
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    in_chans: Count = 3
    input_size: Count = 224
    num_classes: Count = 1000
    stem_width: Count = 32
    first_width: Count = 16
    head_width: Count = 1280
    stem_stride: Stride = 2
    activation: str = "hard_swish"
    edge_activation: str = "relu6"
    mean: tuple[FiniteFloat, ...] = (0.485, 0.456, 0.406)
    std: tuple[Deviation, ...] = (0.229, 0.224, 0.225)
    crop: Share = 224 / 256
    branches: tuple[Edge, ...] = ()
    branch_operator: Choice = _BRANCH_OPERATOR

    def __post_init__(self) -> None:
        """The rules that hold between fields; each one's own kind and range pydantic has checked."""
        if not self.name or any(mark in self.name for mark in ": \n"):
            raise ArchError(f"search space {self.name!r}: wanted a name without ':' or blanks")
        self._check_kernels()
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
        if operator.is_skip or operator.kernel_size % 2 != 1:
            raise ArchError(f"{where}: got branch operator {operator}, wanted a block with an odd kernel")

    def _check_kernels(self) -> None:
        for token, block in ((token, block) for token, choice in self.choices for block in choice.blocks):
            if not block.is_skip and block.kernel_size % 2 != 1:
                raise ArchError(
                    f"search space {self.name!r}, token {token!r}: got kernel {block.kernel_size}, wanted an odd kernel"
                )

    def _check_layer(self, index: int, layer: Layer, in_chs: int) -> None:
        where = f"search space {self.name!r}, layer {index}"
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
        values = asdict(self)
        # Files and runs carry the text of spaces from before there were sets of paths and branches.
        values["choices"] = tuple((token, choice_fields(choice)) for token, choice in self.choices)
        values["branch_operator"] = choice_fields(self.branch_operator)
        if not self.branches:
            del values["branches"], values["branch_operator"]
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> SearchSpace:
        """Rebuild a space from :meth:`to_json`, for instance out of a file's metadata.

        Raises:
            ArchError: the text is no definition of a search space.
        """
        try:
            return TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            raise arch_error(error, "search space definition", [field.name for field in fields(cls)]) from error
