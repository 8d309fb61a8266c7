"""The cost of an architecture, in closed form and without building the network.

One MAC is one multiply-add of a convolution or linear layer, squeeze-and-excitation included;
batch norm, biases, activations and the gate's multiplication are not counted. A skipped layer
costs nothing, with or without its stabilizer, because the deployed network has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property

from scarlet_zoo.arch.architecture import Arch, BlockPlan, BranchPlan, branch_plan
from scarlet_zoo.arch.branches import OFF
from scarlet_zoo.arch.space import SearchSpace


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One row of an architecture's cost: a layer, its input and output, and its cost.

    Attributes:
        name: ``stem``, ``first``, the searchable layer's index, a branch's edge (``0.2``, after the
            layer whose output it is added to), ``head`` or ``classifier``.
        token: type of the layer; for searchable layers and branches, the token of the choice.
        in_chs, out_chs: input and output channels.
        stride: stride of the layer.
        in_size, out_size: side of the square input and output, in pixels.
        params: learnable parameters of the trained network, including two per channel for each batch norm.
        macs: multiply-adds for one image.
    """

    name: str
    token: str
    in_chs: int
    out_chs: int
    stride: int
    in_size: int
    out_size: int
    params: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """The cost of an architecture, layer by layer from stem to classifier, and in total."""

    layers: tuple[LayerCost, ...]

    @cached_property
    def params(self) -> int:
        """Learnable parameters."""
        return sum(layer.params for layer in self.layers)

    @cached_property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return sum(layer.macs for layer in self.layers)


def _conv(in_chs: int, out_chs: int, kernel: int, size: int, *, depthwise: bool = False) -> tuple[int, int]:
    """Return (params, macs) of a convolution with batch norm whose output has ``size`` pixels a side."""
    weights = out_chs * (1 if depthwise else in_chs) * kernel * kernel
    return weights + 2 * out_chs, weights * size * size


def _gate(hidden: int, squeeze: int) -> tuple[int, int]:
    """Return (params, macs) of a squeeze-and-excitation gate: two 1x1 convolutions with bias on one pixel."""
    return 2 * hidden * squeeze + hidden + squeeze, 2 * hidden * squeeze


def _blocks(plan: BlockPlan, in_size: int, out_size: int) -> tuple[int, int]:
    """Return (params, macs) of a block, or of a set of blocks, which share the last batch norm."""
    blocks = [replace(plan, choice=choice) for choice in plan.choice.blocks]
    params, macs = (sum(pair) for pair in zip(*(_mbconv(block, in_size, out_size) for block in blocks), strict=True))
    return params - 2 * plan.out_chs * (len(blocks) - 1), macs


def _decided(plan: BlockPlan, in_size: int, out_size: int) -> tuple[int, int]:
    """Return (params, macs) of a searchable layer, which may be skipped."""
    return (0, 0) if plan.choice.is_skip else _blocks(plan, in_size, out_size)


def _mbconv(plan: BlockPlan, in_size: int, out_size: int) -> tuple[int, int]:
    hidden = plan.hidden_chs
    parts = [
        _conv(plan.in_chs, hidden, 1, in_size),
        _conv(hidden, hidden, plan.choice.kernel_size, out_size, depthwise=True),
        _conv(hidden, plan.out_chs, 1, out_size),
    ]
    if plan.choice.squeeze_excite:
        parts.append(_gate(hidden, plan.squeeze_chs))
    return sum(params for params, _ in parts), sum(macs for _, macs in parts)


def _branch(plan: BranchPlan, in_size: int, out_size: int) -> LayerCost:
    costs = _blocks(plan, in_size, out_size)
    return LayerCost(plan.name, plan.token, plan.in_chs, plan.out_chs, plan.stride, in_size, out_size, *costs)


def _rows(arch: Arch, size: int, in_chans: int, num_classes: int) -> Iterator[LayerCost]:
    space = arch.space
    stem, first, head = space.stem_width, space.first_width, space.head_width
    stride = space.stem_stride
    full, size = size, (size + stride - 1) // stride
    yield LayerCost("stem", "conv3x3", in_chans, stem, stride, full, size, *_conv(in_chans, stem, 3, size))
    depthwise, pointwise = _conv(stem, stem, 3, size, depthwise=True), _conv(stem, first, 1, size)
    params, macs = (sum(pair) for pair in zip(depthwise, pointwise, strict=True))
    yield LayerCost("first", "sep3x3", stem, first, 1, size, size, params, macs)
    sizes = [size]
    for plan in arch.layers:
        out = (size + plan.stride - 1) // plan.stride
        params, macs = _decided(plan, size, out)
        name = str(plan.index)
        yield LayerCost(name, plan.token, plan.in_chs, plan.out_chs, plan.stride, size, out, params, macs)
        size = out
        sizes.append(size)
        yield from (_branch(b, sizes[b.source], size) for b in arch.branch_plans if b.target == plan.index + 1)
    last = space.layers[-1].width
    yield LayerCost("head", "conv1x1", last, head, 1, size, size, *_conv(last, head, 1, size))
    params, macs = (head + 1) * num_classes, head * num_classes
    yield LayerCost("classifier", "linear", head, num_classes, 1, 1, 1, params, macs)


def arch_cost(
    arch: Arch, *, input_size: int | None = None, in_chans: int | None = None, num_classes: int | None = None
) -> Cost:
    """Return parameters and multiply-adds of an architecture, layer by layer.

    Args:
        arch: the architecture.
        input_size: side of the square input in pixels; that of the space when left out.
        in_chans: input channels; those of the space when left out.
        num_classes: number of classes; that of the space when left out.
    """
    space = arch.space
    return Cost(
        tuple(
            _rows(
                arch,
                space.input_size if input_size is None else input_size,
                space.in_chans if in_chans is None else in_chans,
                space.num_classes if num_classes is None else num_classes,
            )
        )
    )


@dataclass(frozen=True)
class CostTable:
    """Parameters and multiply-adds as sums over decisions; no choice changes the cost of another layer.

    Fifty times faster than :func:`arch_cost`, with equal results, for the space's own input size and classes.
    """

    space: SearchSpace

    @cached_property
    def rows(self) -> tuple[dict[str, tuple[int, int]], ...]:
        """For each decision and token, the difference to the first token's cost: (parameters, multiply-adds)."""
        rows = []
        for tokens, costs in self._costs():
            params, macs = costs[0]
            rows.append({token: (cost[0] - params, cost[1] - macs) for token, cost in zip(tokens, costs, strict=True)})
        return tuple(rows)

    def _costs(self) -> Iterator[tuple[tuple[str, ...], list[tuple[int, int]]]]:
        """Tokens of each decision, and (parameters, multiply-adds) of each token."""
        space = self.space
        sizes = [(space.input_size + space.stem_stride - 1) // space.stem_stride]
        for plan, layer in zip(self._first.layers, space.layers, strict=True):
            sizes.append((sizes[-1] + plan.stride - 1) // plan.stride)
            choices = [space.choice(token) for token in layer.tokens]
            yield layer.tokens, [_decided(replace(plan, choice=choice), *sizes[-2:]) for choice in choices]
        for edge in space.branches:
            branch = branch_plan(space, edge)
            yield (OFF, branch.name), [(0, 0), _blocks(branch, sizes[branch.source], sizes[branch.target])]

    def params(self, arch: Arch) -> int:
        """Return the learnable parameters of an architecture."""
        return self.params_and_macs(arch)[0]

    def macs(self, arch: Arch) -> int:
        """Return the multiply-adds of an architecture for one image."""
        return self.params_and_macs(arch)[1]

    def params_and_macs(self, arch: Arch) -> tuple[int, int]:
        """Return the learnable parameters of an architecture, and its multiply-adds for one image."""
        params, macs = self._fixed
        for row, token in zip(self.rows, arch.decisions, strict=True):
            params, macs = params + row[token][0], macs + row[token][1]
        return params, macs

    @property
    def largest(self) -> Arch:
        """The architecture with the most multiply-adds; of equal choices, the first."""
        return Arch.of(self.space, (max(row, key=lambda token: row[token][1]) for row in self.rows))

    @property
    def smallest(self) -> Arch:
        """The architecture with the fewest multiply-adds; it skips every layer that may be skipped."""
        return Arch.of(self.space, (min(row, key=lambda token: row[token][1]) for row in self.rows))

    @cached_property
    def _fixed(self) -> tuple[int, int]:
        cost = arch_cost(self._first)
        return cost.params, cost.macs

    @cached_property
    def _first(self) -> Arch:
        """The architecture of first tokens."""
        return Arch.of(self.space, (tokens[0] for tokens in self.space.decisions))


@cache
def cost_table(space: SearchSpace) -> CostTable:
    """Return the cost table of a space; it is built once per process."""
    return CostTable(space)
