"""An architecture: one choice for each layer of a search space, written as an identity string.

An identity string is ``<space>:<token>-<token>-...``, one token a layer, for example
``scarlet:e3k7-e6k5-...``. In a space with branches, the branches that are on follow: ``.../0.2-1.4``.
The string and the architecture convert to each other without loss, and every file, record and report
of this package uses the string as the architecture's key.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from scarlet_zoo.arch.branches import OFF, Edge, edge_name, edges_text, read_edges
from scarlet_zoo.arch.choices import Choice, block_token
from scarlet_zoo.arch.limits import some_of
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.errors import ArchError

# Prefixes before a colon that are not search spaces: timm's sources of models.
_SOURCES = ("hf-hub", "hf_hub", "local-dir")


def is_identity_string(name: str) -> bool:
    """Return whether a model's name has the form of an identity string, ``<space>:<tokens>``."""
    space, colon, rest = name.partition(":")
    # A letter with a colon and a slash behind it is a drive of Windows.
    is_drive = len(space) == 1 and rest.startswith(("/", "\\"))
    return bool(colon and space) and space.lower() not in _SOURCES and "/" not in space and not is_drive


# The constants of ``timm.layers.make_divisible``, which rounds the width of timm's blocks.
_DIVISOR, _LEAST_SHARE = 8, 0.9


def _rounded_chs(channels: int) -> int:
    """Round to the nearest multiple of 8, at least 8 and at least 90 % of the channels."""
    nearest = max(_DIVISOR, (channels + _DIVISOR // 2) // _DIVISOR * _DIVISOR)
    return nearest if nearest >= _LEAST_SHARE * channels else nearest + _DIVISOR


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """One block of an architecture: its choice, and the channels and stride at its position.

    Attributes:
        token: name of the choice in its search space.
        choice: the block's type.
        in_chs, out_chs: input and output channels.
        stride: stride of the depthwise convolution.
    """

    token: str
    choice: Choice
    in_chs: int
    out_chs: int
    stride: int

    @property
    def hidden_chs(self) -> int:
        """Channels between the expanding and the projecting convolution, rounded to a multiple of 8 as in timm."""
        return _rounded_chs(self.in_chs * self.choice.expand_ratio)

    @property
    def squeeze_chs(self) -> int:
        """Channels inside the squeeze-and-excitation gate: a quarter of the hidden channels, rounded as in timm."""
        return round(0.25 * self.hidden_chs)


@dataclass(frozen=True, slots=True)
class LayerPlan(BlockPlan):
    """One searchable layer of one architecture; its stride is 1 or 2.

    Attributes:
        index: position among the searchable layers, from 0; a skipped layer keeps its index.
        stage: position of its stage, from 0; the first layer of a stage has no residual.
    """

    index: int
    stage: int

    @property
    def residual(self) -> bool:
        """Whether the block adds its input to its output."""
        return self.stride == 1 and self.in_chs == self.out_chs


@dataclass(frozen=True, slots=True)
class BranchPlan(BlockPlan):
    """One branch of one architecture; its stride is the product of the strides of the layers that it spans.

    Attributes:
        source: index of the feature map that it reads; feature map i is the input of layer i.
        target: index of the feature map that its output is added to.
    """

    source: int
    target: int

    @property
    def name(self) -> str:
        """The branch's name in an identity string, such as ``0.2``."""
        return edge_name((self.source, self.target))


@dataclass(frozen=True, repr=False)
class Arch:
    """An architecture: a search space and one of its tokens for each of its layers.

    Attributes:
        space: the search space.
        tokens: one token for each layer.
        branches: the edges of the space that are on, sorted; most spaces have none.

    Raises:
        ArchError: a token that the layer does not allow, the wrong number of tokens, or an unknown or unsorted branch.
    """

    space: SearchSpace
    tokens: tuple[str, ...]
    branches: tuple[Edge, ...] = ()

    def __post_init__(self) -> None:
        layers = self.space.layers
        if len(self.tokens) != len(layers):
            raise ArchError(
                f"architecture of space {self.space.name!r}: got {len(self.tokens)} tokens, wanted {len(layers)}"
            )
        for index, (token, layer) in enumerate(zip(self.tokens, layers, strict=True)):
            if token not in layer.tokens:
                raise ArchError(
                    f"architecture of space {self.space.name!r}, layer {index}: got token {token!r}, "
                    f"wanted one of {some_of(layer.tokens)}"
                )
        where = f"architecture of space {self.space.name!r}"
        read_edges([edge_name(edge) for edge in self.branches], self.space.branches, where)

    @classmethod
    def parse(cls, text: str, space: SearchSpace | None = None) -> Arch:
        """Parse an identity string; every deviation from the format is an error.

        Args:
            text: ``<space>:<token>-<token>-...``, and ``/<edge>-<edge>-...`` where branches are on.
            space: the space to decode with; when left out, the space named in the string is looked up among
                the known spaces. Files carry their space's definition for this purpose.

        Raises:
            ArchError: an unknown space, a token that its layer does not allow, or the wrong number of tokens.
        """
        name, colon, tokens = text.partition(":")
        if not colon:
            raise ArchError(f"identity string {text!r}: no colon, wanted '<space>:<token>-<token>-...'")
        if space is None:
            space = get_space(name)
        if name != space.name:
            raise ArchError(f"identity string {text!r}: got space {name!r}, wanted {space.name!r}")
        tokens, slash, edges = tokens.partition("/")
        where = f"identity string {text!r}"
        branches = read_edges(edges.split("-"), space.branches, where) if slash else ()
        return cls(space, tuple(tokens.split("-")), branches)

    @classmethod
    def of(cls, space: SearchSpace, tokens: Iterable[str]) -> Arch:
        """Build an architecture from one token for each layer, or one for each of :attr:`SearchSpace.decisions`."""
        given, layers = tuple(tokens), len(space.layers)
        if len(given) != len(space.decisions):
            return cls(space, given)
        on = [name for name in given[layers:] if name != OFF]
        return cls(space, given[:layers], read_edges(on, space.branches, f"architecture of space {space.name!r}"))

    @classmethod
    def sample(cls, space: SearchSpace, rng: random.Random) -> Arch:
        """Draw an architecture of a space; each layer's token and each branch is drawn uniformly."""
        return cls.of(space, (rng.choice(allowed) for allowed in space.decisions))

    def mutate(self, rng: random.Random, probability: float = 0.1) -> Arch:
        """Change each layer and each branch with this probability to one of its other tokens, drawn uniformly."""
        mutated = []
        for allowed, token in zip(self.space.decisions, self.decisions, strict=True):
            others = [other for other in allowed if other != token]
            mutated.append(rng.choice(others) if others and rng.random() < probability else token)
        return Arch.of(self.space, mutated)

    def cross(self, other: Arch, rng: random.Random) -> Arch:
        """Take each layer's token and each branch from this or the other architecture with equal probability."""
        pairs = zip(self.decisions, other.decisions, strict=True)
        return Arch.of(self.space, (rng.choice(pair) for pair in pairs))

    def embed_in(self, space: SearchSpace) -> Arch:
        """Return the same network in a space that extends this one's; no further branch is turned on.

        Raises:
            ArchError: the other space does not extend this one's.
        """
        if self.space.chain.name != space.chain.name:
            raise ArchError(f"search space {space.name!r}: got {self}, wanted an architecture of {space.chain.name!r}")
        apart = [key for key, value in _shape(self.space).items() if _shape(space)[key] != value]
        apart += [token for token in self.tokens if dict(space.choices).get(token) != self.space.choice(token)]
        if apart:
            raise ArchError(
                f"search space {space.name!r}: got {self} of a space with this name and another definition "
                f"({', '.join(dict.fromkeys(apart))}), wanted the same definition"
            )
        edges = self.decisions[len(self.tokens) :] or (OFF for _ in space.branches)
        return Arch.of(space, (*self.tokens, *edges))

    def __str__(self) -> str:
        return f"{self.space.name}:{'-'.join(self.tokens)}{edges_text(self.branches)}"

    def __repr__(self) -> str:
        return f"Arch.parse({str(self)!r})"

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """The decoded choice of each layer."""
        return tuple(self.space.choice(token) for token in self.tokens)

    @cached_property
    def layers(self) -> tuple[LayerPlan, ...]:
        """The searchable layers with their channels and strides, including skipped layers."""
        return tuple(self._plan())

    def _plan(self) -> Iterator[LayerPlan]:
        in_chs, stage = self.space.first_width, -1
        for index, (layer, token) in enumerate(zip(self.space.layers, self.tokens, strict=True)):
            opens = layer.stride != 1 or layer.width != in_chs or index == 0
            stage += opens
            yield LayerPlan(token, self.space.choice(token), in_chs, layer.width, layer.stride, index, stage)
            in_chs = layer.width

    @property
    def decisions(self) -> tuple[str, ...]:
        """One value for each of :attr:`SearchSpace.decisions`: the tokens, then each edge's name or ``off``."""
        on = set(self.branches)
        return (*self.tokens, *(edge_name(edge) if edge in on else OFF for edge in self.space.branches))

    @cached_property
    def branch_plans(self) -> tuple[BranchPlan, ...]:
        """The branches that are on, with their channels and strides."""
        return tuple(branch_plan(self.space, edge) for edge in self.branches)

    @property
    def skipped(self) -> tuple[int, ...]:
        """Indices of the layers that the architecture leaves out."""
        return tuple(plan.index for plan in self.layers if plan.choice.is_skip)


def _shape(space: SearchSpace) -> dict[str, object]:
    """What decides the shapes and the functions of a space's blocks, beside the choices."""
    keys = ("in_chans", "stem_width", "first_width", "head_width", "stem_stride", "activation", "edge_activation")
    return {"layers": [(layer.width, layer.stride) for layer in space.layers]} | {k: getattr(space, k) for k in keys}


def branch_plan(space: SearchSpace, edge: Edge) -> BranchPlan:
    """Return the plan of one branch of a space; its stride is the product of the strides of the layers it spans."""
    source, target = edge
    widths = (space.first_width, *(layer.width for layer in space.layers))
    stride = math.prod(layer.stride for layer in space.layers[source:target])
    operator = space.branch_operator
    return BranchPlan(block_token(operator), operator, widths[source], widths[target], stride, source, target)


def block_names(arch: Arch, *, stabilized: bool) -> dict[int, str]:
    """Map layer indices to block names in the plain network; skipped layers appear only if stabilized."""
    names: dict[int, str] = {}
    filled: dict[int, int] = {}
    for plan in arch.layers:
        place = filled.setdefault(plan.stage, 0)
        if stabilized or not plan.choice.is_skip:
            names[plan.index] = f"blocks.{plan.stage + 1}.{place}"
            filled[plan.stage] = place + 1
    return names
