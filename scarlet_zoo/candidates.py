"""What the layers of a search space may choose from: MBConv blocks, the skip, and where they fit in a chain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from scarlet_zoo.arch import SKIP, Choice


@dataclass(frozen=True, slots=True)
class Layer:
    """A searchable layer: its output channels, its stride and the tokens that it allows."""

    width: int
    stride: int
    tokens: tuple[str, ...]


def choice_fields(choice: Choice) -> dict[str, Any]:
    """As JSON values; blocks beside it only where there are some."""
    fields = asdict(choice)
    return fields if choice.beside else {key: value for key, value in fields.items() if key != "beside"}


def choice_of(fields: dict[str, Any]) -> Choice:
    """The choice of :func:`choice_fields`."""
    beside = tuple(choice_of(other) for other in fields.get("beside", ()))
    return Choice(**{**fields, "beside": beside})


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
