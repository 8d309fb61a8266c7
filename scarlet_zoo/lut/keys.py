"""What a table calls its blocks, and what it can be of."""

from __future__ import annotations

from collections.abc import Mapping

from scarlet_zoo.arch import Arch
from scarlet_zoo.space import SearchSpace

# Each with the graph form that it is measured in.
FORMS: Mapping[str, str] = {"float32": "native", "int8": "friendly"}
STEM, HEAD = "stem", "head"


def pieces_of(arch: Arch) -> list[str]:
    """A network's pieces in order: what stands before the layers, the position of each layer, the rest."""
    return [STEM, *(str(plan.index) for plan in arch.layers if not plan.choice.is_skip), HEAD]


def piece_key(arch: Arch, piece: str) -> str:
    """What makes two pieces the same block."""
    return piece if piece in (STEM, HEAD) else block_key(arch.space, int(piece), arch.tokens[int(piece)])


def block_key(space: SearchSpace, index: int, token: str) -> str:
    """Token, channels, stride and side of the input, of a token in a layer."""
    before, layer = space.layers[:index], space.layers[index]
    side = -(-space.input_size // space.stem_stride)
    for other in before:
        side = -(-side // other.stride)
    in_chs = before[-1].width if before else space.first_width
    return f"{token} {in_chs}-{layer.width} s{layer.stride} {side}px"
