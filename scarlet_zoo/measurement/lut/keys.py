"""The names of a table's blocks, and the precisions that a table can have."""

from __future__ import annotations

from collections.abc import Mapping

from scarlet_zoo.arch.architecture import Arch, branch_plan
from scarlet_zoo.arch.branches import OFF, read_edges
from scarlet_zoo.arch.space import SearchSpace

# Each precision with the graph variant that it is measured in.
FORMS: Mapping[str, str] = {"float32": "native", "int8": "friendly"}
STEM, HEAD = "stem", "head"


def pieces_of(arch: Arch) -> list[str]:
    """Names of a network's pieces in order: the stem, the position of each layer, branches, the head.

    A branch's piece is named after its edge and follows the layer whose output it is added to.
    """
    pieces = [STEM]
    for plan in arch.layers:
        pieces += [str(plan.index)] * (not plan.choice.is_skip)
        pieces += [branch.name for branch in arch.branch_plans if branch.target == plan.index + 1]
    return [*pieces, HEAD]


def piece_key(arch: Arch, piece: str) -> str:
    """The key of a piece's block in the table; pieces with the same key are the same block."""
    if piece in (STEM, HEAD):
        return piece
    if "." in piece:
        return branch_key(arch.space, piece)
    return block_key(arch.space, int(piece), arch.tokens[int(piece)])


def decision_key(space: SearchSpace, position: int, token: str) -> str | None:
    """The key of the block that a token of :attr:`SearchSpace.decisions` adds; None where it adds no block."""
    if position >= len(space.layers):
        return None if token == OFF else branch_key(space, token)
    return None if space.choice(token).is_skip else block_key(space, position, token)


def branch_key(space: SearchSpace, name: str) -> str:
    """The key of a branch: ``branch``, its operator, channels, stride and the input's side in pixels."""
    (edge,) = read_edges([name], space.branches, f"search space {space.name!r}")
    plan = branch_plan(space, edge)
    return f"branch {plan.token} {plan.in_chs}-{plan.out_chs} s{plan.stride} {_side(space, plan.source)}px"


def block_key(space: SearchSpace, index: int, token: str) -> str:
    """The key of a token in a layer: the token, channels, stride and the input's side in pixels."""
    layer = space.layers[index]
    in_chs = space.layers[index - 1].width if index else space.first_width
    return f"{token} {in_chs}-{layer.width} s{layer.stride} {_side(space, index)}px"


def _side(space: SearchSpace, node: int) -> int:
    """The side of a node's feature map, in pixels."""
    side = -(-space.input_size // space.stem_stride)
    for layer in space.layers[:node]:
        side = -(-side // layer.stride)
    return side
