"""Plan which operators of a network compute in integers, and choose the grid of each tensor.

A plan is for a graph in variant ``friendly`` (:mod:`scarlet_zoo.graph.passes.quantizable`): a clip after a convolution
becomes the range of its integers, and the two factors of a hard-swish are read from one tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from scarlet_zoo.graph.passes.rewrite import array_of, only_reader, producer, scalar_of
from scarlet_zoo.graph.quantization.calibrate import LEVELS
from scarlet_zoo.graph.quantization.rounding import scale_without_ties

_SHAPES = ("Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "MaxPool", "Identity")
_COMPUTES = ("Conv", "Gemm", "Mul", "Add", "GlobalAveragePool", "AveragePool")
_BOUNDS = ("Clip", "Relu")


@dataclass(frozen=True, slots=True)
class Grid:
    """The 256 values that a quantised tensor can take: scale * (q - zero), q from 0 to 255."""

    scale: float
    zero: int

    @classmethod
    def over(cls, low: float, high: float) -> Grid:
        """The grid of a range; it includes 0, because convolutions pad with 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / LEVELS, 1e-12)
        return cls(scale, int(np.clip(round(-low / scale), 0, LEVELS)))

    @classmethod
    def of_swish(cls, high: float) -> Grid:
        """The grid that begins exactly at -3 (scale = 3 / zero, with a whole zero) and reaches at least ``high``."""
        zero = int(np.clip(3 * LEVELS // (max(high, 0.0) + 3), 1, LEVELS))
        return cls(3 / zero, zero)


@dataclass(frozen=True, slots=True)
class Swish:
    """The nodes of a hard-swish x * clip(x + 3, 0, 6) without its factor 1/6."""

    x: ir.Value
    shift: ir.Node
    clip: ir.Node
    product: ir.Node


@dataclass
class Plan:
    """The operators and tensors to quantise.

    Attributes:
        grids: grid of each tensor, by name.
        bounded: clips that become the range of the tensor before them, by that tensor's name.
        swishes: hard-swishes, by the name of their x.
        aliases: tensors that share the grid of another tensor, because an operator only moves values.
        operators: the nodes to compute in integers.
    """

    grids: dict[str, Grid] = field(default_factory=dict)
    bounded: dict[str, ir.Node] = field(default_factory=dict)
    swishes: dict[str, Swish] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    operators: list[ir.Node] = field(default_factory=list)


def plan(graph: ir.Graph, skipped: frozenset[str] = frozenset()) -> Plan:
    """Find the operators that can compute in integers.

    Args:
        graph: a graph in variant ``friendly``.
        skipped: names of nodes to leave in float.
    """
    planned = Plan()
    for node in graph:
        if node.name in skipped:
            continue
        swish = _swish(node)
        if swish is not None:
            planned.swishes[str(swish.x.name)] = swish
        if _is_integer(node):
            planned.operators.append(node)
        if node.op_type in _BOUNDS and _bounds(node) is not None:
            source = node.inputs[0]
            writer = producer(source, *_COMPUTES)
            if source is not None and writer is not None and only_reader(source) and writer.name not in skipped:
                planned.bounded[str(source.name)] = node
        if node.op_type in _SHAPES and node.inputs[0] is not None and _is_data(node.outputs[0]):
            planned.aliases[str(node.outputs[0].name)] = str(node.inputs[0].name)
    return planned


def _is_integer(node: ir.Node) -> bool:
    if node.op_type in ("Conv", "Gemm"):
        weight = array_of(node.inputs[1])
        return weight is not None and weight.dtype == np.float32
    if node.op_type in ("Mul", "Add"):
        return all(value is not None and value.const_value is None for value in node.inputs)
    return node.op_type in _COMPUTES or (node.op_type in _SHAPES and _is_data(node.outputs[0]))


def _is_data(value: ir.Value) -> bool:
    """Whether a tensor holds data and not sizes, which networks with a resize also compute."""
    return value.dtype in (None, ir.DataType.FLOAT)


def _swish(node: ir.Node) -> Swish | None:
    """The hard-swish that ends at this product, if nothing else reads its x; else None."""
    if node.op_type != "Mul":
        return None
    for x, gate in (node.inputs, reversed(node.inputs)):
        clip = producer(gate, "Clip")
        shift = producer(clip.inputs[0], "Add") if clip is not None else None
        if x is None or clip is None or shift is None or _bounds(clip) != (0.0, 6.0):
            continue
        inside = x in shift.inputs and any(scalar_of(value) == 3 for value in shift.inputs)
        alone = only_reader(clip.outputs[0]) and only_reader(shift.outputs[0]) and len(x.uses()) == 2
        if inside and alone and producer(x, "Conv") is not None:
            return Swish(x, shift, clip, node)
    return None


def _bounds(node: ir.Node) -> tuple[float, float] | None:
    """(low, high) of a clip or relu with constant bounds around 0; None for any other."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    values = [scalar_of(node.inputs[i]) if len(node.inputs) > i else None for i in (1, 2)]
    low, high = values
    if low is None or low > 0 or (high is not None and high <= 0):
        return None
    return low, float("inf") if high is None else high


def tensors_of(planned: Plan) -> list[str]:
    """Names of the tensors whose ranges must be known, in the order of the graph."""
    names: dict[str, None] = {}
    for node in planned.operators:
        for value in (*data_of(node), *node.outputs):
            bound = planned.bounded.get(str(value.name))
            names[str(bound.outputs[0].name if bound is not None else value.name)] = None
    for swish in planned.swishes.values():
        names.pop(str(swish.shift.outputs[0].name), None)
        names.pop(str(swish.clip.outputs[0].name), None)
    return list(names)


def data_of(node: ir.Node) -> list[ir.Value]:
    """The inputs of a node that hold data, without constants and sizes."""
    first = node.inputs[:1] if node.op_type in ("Conv", "Gemm", *_SHAPES) else node.inputs
    return [value for value in first if value is not None and value.const_value is None]


def choose_grids(planned: Plan, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Choose the grid of every tensor from the observed ranges (low, high), in place."""
    bounds = {str(node.outputs[0].name): _bounds(node) for node in planned.bounded.values()}
    for name in tensors_of(planned):
        origin = name
        while origin in planned.aliases:
            origin = planned.aliases[origin]
        low, high = ranges[origin]
        if origin in planned.swishes:
            planned.grids[name] = Grid.of_swish(high)
            continue
        limit = bounds.get(origin)
        if limit is not None:
            low, high = max(low, limit[0]), min(high, limit[1])
        planned.grids[name] = Grid.over(low, high)
    _settle_sums(planned)


def _settle_sums(planned: Plan) -> None:
    """Choose grids on which all processors round sums alike, in the order of the graph, as a sum may be added again."""
    for node in planned.operators:
        names = [str(value.name) for value in (*node.inputs, *node.outputs) if value is not None]
        if node.op_type != "Add" or len(names) != 3 or not all(name in planned.grids for name in names):
            continue
        one, other, out = (planned.grids[name] for name in names)
        scale = scale_without_ties((one.scale, one.zero), (other.scale, other.zero), (out.scale, out.zero))
        for name in (names[2], *(alias for alias, source in planned.aliases.items() if source == names[2])):
            if name in planned.grids:
                planned.grids[name] = Grid(scale, out.zero)
