"""Which operators of a network can compute in integers, and on which grid each tensor lies.

What is planned for is the friendly form, see :mod:`scarlet_zoo.graph.passes.quantizable`: a clip behind a convolution
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
    """Where the 256 values of a tensor lie: scale * (q - zero), q from 0 to 255."""

    scale: float
    zero: int

    @classmethod
    def over(cls, low: float, high: float) -> Grid:
        """The grid over a range; 0 is on it, because convolutions pad with it."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / LEVELS, 1e-12)
        return cls(scale, int(np.clip(round(-low / scale), 0, LEVELS)))

    @classmethod
    def of_swish(cls, high: float) -> Grid:
        """A grid that begins at -3 exactly: scale = 3 / zero with a whole zero, and reaches up to ``high`` at least."""
        zero = int(np.clip(3 * LEVELS // (max(high, 0.0) + 3), 1, LEVELS))
        return cls(3 / zero, zero)


@dataclass(frozen=True, slots=True)
class Swish:
    """The nodes of x * clip(x + 3, 0, 6)."""

    x: ir.Value
    shift: ir.Node
    clip: ir.Node
    product: ir.Node


@dataclass
class Plan:
    """What is to be quantised.

    Attributes:
        grids: by tensor name.
        bounded: clips that become the range of the tensor in front of them, by that tensor's name.
        swishes: by the name of their x.
        aliases: tensors that have the grid of another, because an operator only moves values.
        operators: the nodes that are to compute in integers.
    """

    grids: dict[str, Grid] = field(default_factory=dict)
    bounded: dict[str, ir.Node] = field(default_factory=dict)
    swishes: dict[str, Swish] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    operators: list[ir.Node] = field(default_factory=list)


def plan(graph: ir.Graph, skipped: frozenset[str] = frozenset()) -> Plan:
    """Find what can compute in integers.

    Args:
        graph: in the friendly form.
        skipped: names of nodes to leave in float.
    """
    made = Plan()
    for node in graph:
        if node.name in skipped:
            continue
        swish = _swish(node)
        if swish is not None:
            made.swishes[str(swish.x.name)] = swish
        if _is_integer(node):
            made.operators.append(node)
        if node.op_type in _BOUNDS and _bounds(node) is not None:
            source = node.inputs[0]
            maker = producer(source, *_COMPUTES)
            if source is not None and maker is not None and only_reader(source) and maker.name not in skipped:
                made.bounded[str(source.name)] = node
        if node.op_type in _SHAPES and node.inputs[0] is not None and _is_data(node.outputs[0]):
            made.aliases[str(node.outputs[0].name)] = str(node.inputs[0].name)
    return made


def _is_integer(node: ir.Node) -> bool:
    if node.op_type in ("Conv", "Gemm"):
        weight = array_of(node.inputs[1])
        return weight is not None and weight.dtype == np.float32
    if node.op_type in ("Mul", "Add"):
        return all(value is not None and value.const_value is None for value in node.inputs)
    return node.op_type in _COMPUTES or (node.op_type in _SHAPES and _is_data(node.outputs[0]))


def _is_data(value: ir.Value) -> bool:
    """Whether a tensor is of pictures and not of sizes, which networks with a resize compute as well."""
    return value.dtype in (None, ir.DataType.FLOAT)


def _swish(node: ir.Node) -> Swish | None:
    """The hard-swish that ends at a product; its x is read by nobody else."""
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
    """(low, high) of a clip or a relu with constant bounds around 0."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    values = [scalar_of(node.inputs[i]) if len(node.inputs) > i else None for i in (1, 2)]
    low, high = values
    if low is None or low > 0 or (high is not None and high <= 0):
        return None
    return low, float("inf") if high is None else high


def tensors_of(made: Plan) -> list[str]:
    """Names of the tensors whose range must be known, in the order of the graph."""
    names: dict[str, None] = {}
    for node in made.operators:
        for value in (*data_of(node), *node.outputs):
            bound = made.bounded.get(str(value.name))
            names[str(bound.outputs[0].name if bound is not None else value.name)] = None
    for swish in made.swishes.values():
        names.pop(str(swish.shift.outputs[0].name), None)
        names.pop(str(swish.clip.outputs[0].name), None)
    return list(names)


def data_of(node: ir.Node) -> list[ir.Value]:
    """The inputs of a node that depend on data and are numbers."""
    first = node.inputs[:1] if node.op_type in ("Conv", "Gemm", *_SHAPES) else node.inputs
    return [value for value in first if value is not None and value.const_value is None]


def choose_grids(made: Plan, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Give every tensor its grid, in place."""
    bounds = {str(node.outputs[0].name): _bounds(node) for node in made.bounded.values()}
    for name in tensors_of(made):
        origin = name
        while origin in made.aliases:
            origin = made.aliases[origin]
        low, high = ranges[origin]
        if origin in made.swishes:
            made.grids[name] = Grid.of_swish(high)
            continue
        limit = bounds.get(origin)
        if limit is not None:
            low, high = max(low, limit[0]), min(high, limit[1])
        made.grids[name] = Grid.over(low, high)
    _settle_sums(made)


def _settle_sums(made: Plan) -> None:
    """Grids of sums on which every processor rounds alike, in the order of the graph: a sum may be added again."""
    for node in made.operators:
        names = [str(value.name) for value in (*node.inputs, *node.outputs) if value is not None]
        if node.op_type != "Add" or len(names) != 3 or not all(name in made.grids for name in names):
            continue
        one, other, out = (made.grids[name] for name in names)
        scale = scale_without_ties((one.scale, one.zero), (other.scale, other.zero), (out.scale, out.zero))
        for name in (names[2], *(alias for alias, source in made.aliases.items() if source == names[2])):
            if name in made.grids:
                made.grids[name] = Grid(scale, out.zero)
