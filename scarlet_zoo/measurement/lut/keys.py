"""What a table calls its blocks, and what it can be of."""

from __future__ import annotations

from collections.abc import Mapping

from scarlet_zoo.arch.architecture import Arch, branch_plan
from scarlet_zoo.arch.branches import OFF, read_edges
from scarlet_zoo.arch.space import SearchSpace

# Each with the graph form that it is measured in.
FORMS: Mapping[str, str] = {"float32": "native", "int8": "friendly"}
STEM, HEAD = "stem", "head"


def pieces_of(arch: Arch) -> list[str]:
    """A network's pieces in order: what stands before the layers, the position of each layer, branches, the rest.

    A branch's piece is called after its edge and comes behind the layer whose output it is added to.
    """
    pieces = [STEM]
    for plan in arch.layers:
        pieces += [str(plan.index)] * (not plan.choice.is_skip)
        pieces += [branch.name for branch in arch.branch_plans if branch.target == plan.index + 1]
    return [*pieces, HEAD]


def piece_key(arch: Arch, piece: str) -> str:
    """What makes two pieces the same block."""
    if piece in (STEM, HEAD):
        return piece
    if "." in piece:
        return branch_key(arch.space, piece)
    return block_key(arch.space, int(piece), arch.tokens[int(piece)])


def decision_key(space: SearchSpace, position: int, token: str) -> str | None:
    """The block that one of :attr:`SearchSpace.decisions` puts into a network; none where it leaves one out."""
    if position >= len(space.layers):
        return None if token == OFF else branch_key(space, token)
    return None if space.choice(token).is_skip else block_key(space, position, token)


def branch_key(space: SearchSpace, name: str) -> str:
    """``branch``, operator, channels, stride and side of the input, of an edge."""
    (edge,) = read_edges([name], space.branches, f"search space {space.name!r}")
    plan = branch_plan(space, edge)
    return f"branch {plan.token} {plan.in_chs}-{plan.out_chs} s{plan.stride} {_side(space, plan.source)}px"


def block_key(space: SearchSpace, index: int, token: str) -> str:
    """Token, channels, stride and side of the input, of a token in a layer."""
    layer = space.layers[index]
    in_chs = space.layers[index - 1].width if index else space.first_width
    return f"{token} {in_chs}-{layer.width} s{layer.stride} {_side(space, index)}px"


def _side(space: SearchSpace, node: int) -> int:
    """Side of a feature map, in pixels."""
    side = -(-space.input_size // space.stem_stride)
    for layer in space.layers[:node]:
        side = -(-side // layer.stride)
    return side
