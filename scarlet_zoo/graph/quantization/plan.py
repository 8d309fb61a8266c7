"""Plan which operators of a network compute in integers.

A plan is for a graph in variant ``friendly`` (:mod:`scarlet_zoo.graph.passes.quantizable`): a clip after a convolution
becomes the range of its integers, and the two factors of a hard-swish are read from one tensor.

What an operator does in integers is decided by what it is for. Convolutions and matrix products with constant weights
are: they are most of the work, and read and write integers whatever stands beside them. Sums, products, pools, and
operators that only move values are integers where integers go in and integers come out; between operators that have
none (layer norms, attention) they stay in float, where a grid of 256 values would only lose. Amounts of padding, sizes
and other numbers beside the data are never quantised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from scarlet_zoo.graph.passes.rewrite import array_of, is_constant, only_reader, producer, readers, scalar_of
from scarlet_zoo.graph.passes.sizes import data_values

_PRODUCTS = ("Conv", "Gemm")
_OF_ONE = ("GlobalAveragePool", "AveragePool", "Sigmoid", "LeakyRelu")
_OF_SEVERAL = ("Mul", "Add", "Concat")
# Operators that only move values, and read data from their first input alone.
_MOVES = ("Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "MaxPool", "Identity", "Slice", "Split",
          "DepthToSpace", "SpaceToDepth", "Expand", "Tile", "Resize", "Pad")  # fmt: skip
_BOUNDS = ("Clip", "Relu")


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
        operators: the nodes to compute in integers, in the order of the graph.
        bounded: clips that become the range of the tensor before them, by that tensor's name.
        clipped: clips that are computed on integers, because others read the tensor before them, too.
        swishes: hard-swishes, by the name of their x.
        aliases: tensors with the integers of another tensor, by name, with the other's name.
        factors: constant factors of aliases: the scale of the alias over that of the other tensor.
        left: nodes that stay in float although they compute with data.
    """

    operators: list[ir.Node] = field(default_factory=list)
    bounded: dict[str, ir.Node] = field(default_factory=dict)
    clipped: list[ir.Node] = field(default_factory=list)
    swishes: dict[str, Swish] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    factors: dict[str, float] = field(default_factory=dict)
    left: list[ir.Node] = field(default_factory=list)

    @property
    def clips_by_output(self) -> dict[str, ir.Node]:
        """The clips that became ranges, by the name of their output."""
        return {str(clip.outputs[0].name): clip for clip in self.bounded.values()}

    def reads(self, node: ir.Node) -> list[ir.Value]:
        """The tensors of data that an operator reads; of a hard-swish only its x, from which both factors come."""
        swish = next((found for found in self.swishes.values() if found.product is node), None)
        return [swish.x] if swish is not None else data_of(node)


def plan(graph: ir.Graph, skipped: frozenset[str] = frozenset()) -> Plan:
    """Find the operators that compute in integers.

    Args:
        graph: a graph in variant ``friendly``.
        skipped: names of nodes to leave in float.
    """
    nodes = [node for node in graph if node.name not in skipped]
    swishes = {id(found.product): found for node in nodes if (found := _swish(node)) is not None}
    inside = {id(part) for found in swishes.values() for part in (found.shift, found.clip)}
    data = data_values(graph)
    integer = _integers([node for node in nodes if id(node) not in inside], data, swishes)
    planned = Plan()
    for node in graph:
        if id(node) in integer:
            _add(planned, node, swishes.get(id(node)))
        elif id(node) not in inside and any(value in data for value in node.inputs):
            planned.left.append(node)
    # A bound is no operator of its own, and a shift and a clip whose product is not an integer are two.
    bounds = {id(clip) for clip in planned.bounded.values()}
    planned.left = [node for node in planned.left if id(node) not in bounds]
    return planned


def _add(planned: Plan, node: ir.Node, swish: Swish | None) -> None:
    """Add an operator in integers to the plan."""
    if node.op_type in _BOUNDS and _bounded_tensor(node) is not None:
        planned.bounded[str(node.inputs[0].name if node.inputs[0] else "")] = node
        return
    planned.operators.append(node)
    if swish is not None:
        planned.swishes[str(swish.x.name)] = swish
    source = data_of(node)[0]
    factor = _rescaling(node)
    if node.op_type in (*_MOVES, *_BOUNDS) or factor is not None:
        for output in node.outputs:
            planned.aliases[str(output.name)] = str(source.name)
            if factor is not None:
                planned.factors[str(output.name)] = factor
    if node.op_type in _BOUNDS:
        planned.clipped.append(node)


def _integers(nodes: list[ir.Node], data: set[ir.Value], swishes: Mapping[int, Swish]) -> set[int]:
    """Identities of the nodes that compute in integers: the largest set whose members all have a reason to."""
    able = {id(node): node for node in nodes if _is_able(node, data) or id(node) in swishes}
    while True:
        stay = {key: node for key, node in able.items() if _has_reason(node, able, swishes)}
        if len(stay) == len(able):
            return set(able)
        able = stay


def _is_able(node: ir.Node, data: set[ir.Value]) -> bool:
    """Whether an operator could compute in integers, whatever stands beside it."""
    if node.domain not in ("", "ai.onnx") or any(
        output.dtype not in (None, ir.DataType.FLOAT) for output in node.outputs
    ):
        return False
    first = node.inputs[0] if node.inputs else None
    if node.op_type in _PRODUCTS:
        weight = array_of(node.inputs[1])
        return first in data and weight is not None and weight.dtype == np.float32 and _has_plain_bias(node)
    if node.op_type in _OF_SEVERAL:
        return all(value in data for value in node.inputs) or _rescaling(node) is not None
    if node.op_type in _BOUNDS:
        return first in data and bounds_of(node) is not None
    if node.op_type == "Resize":
        return first in data and _attribute(node, "mode", "nearest") == "nearest"
    if node.op_type == "Pad":
        value = node.inputs[2] if len(node.inputs) > 2 else None
        return first in data and _attribute(node, "mode", "constant") == "constant" and value is None
    return first in data and node.op_type in (*_OF_ONE, *_MOVES)


def _has_plain_bias(node: ir.Node) -> bool:
    """Whether a product's bias is a constant with one value for each output, and its factors are 1."""
    if len(node.inputs) > 2 and node.inputs[2] is not None and array_of(node.inputs[2]) is None:
        return False
    if node.op_type == "Conv":
        return True
    turned = "transA" in node.attributes and node.attributes["transA"].as_int() == 1
    factors = [node.attributes[name].as_float() for name in ("alpha", "beta") if name in node.attributes]
    bias = array_of(node.inputs[2]) if len(node.inputs) > 2 else None
    return not turned and all(factor == 1 for factor in factors) and (bias is None or bias.ndim == 1)


def _has_reason(node: ir.Node, able: Mapping[int, ir.Node], swishes: Mapping[int, Swish]) -> bool:
    """Whether a node in integers reads and writes tensors of integers, supposing that all of ``able`` are integers."""
    if node.op_type in _PRODUCTS:
        return True
    swish = swishes.get(id(node))
    sources = [swish.x] if swish is not None else data_of(node)
    for value in sources:
        writer = value.producer()
        if writer is not None and id(writer) not in able:
            return False
    if node.op_type in _BOUNDS and _bounded_tensor(node) is not None:
        return True
    users = [reader for output in node.outputs for reader in readers(output)]
    last = any(output.is_graph_output() for output in node.outputs)
    return last or any(id(reader) in able or _is_of_swish(reader, able) for reader in users)


def _is_of_swish(reader: ir.Node, able: Mapping[int, ir.Node]) -> bool:
    """Whether a reader is the shift of a hard-swish whose product is among the integers."""
    if reader.op_type != "Add":
        return False
    return any(id(product) in able for clip in readers(reader.outputs[0]) for product in readers(clip.outputs[0]))


def _bounded_tensor(clip: ir.Node) -> ir.Value | None:
    """The tensor that a clip bounds, if an operator that chooses its own grid writes it for this clip alone."""
    source = clip.inputs[0]
    writer = producer(source, *_PRODUCTS, *_OF_SEVERAL, *_OF_ONE)
    alone = source is not None and writer is not None and only_reader(source) and _rescaling(writer) is None
    return source if alone else None


def _rescaling(node: ir.Node) -> float | None:
    """C > 0 of a node that computes c * x for a constant c of one element; the integers stay what they are."""
    if node.op_type != "Mul":
        return None
    for factor, x in (node.inputs, reversed(node.inputs)):
        value = scalar_of(factor)
        if value is not None and value > 0 and x is not None and not is_constant(x):
            return value
    return None


def _swish(node: ir.Node) -> Swish | None:
    """The hard-swish that ends at this product, if nothing else reads its x; else None."""
    if node.op_type != "Mul":
        return None
    for x, gate in (node.inputs, reversed(node.inputs)):
        clip = producer(gate, "Clip")
        shift = producer(clip.inputs[0], "Add") if clip is not None else None
        if x is None or clip is None or shift is None or bounds_of(clip) != (0.0, 6.0):
            continue
        inside = x in shift.inputs and any(scalar_of(value) == 3 for value in shift.inputs)
        alone = only_reader(clip.outputs[0]) and only_reader(shift.outputs[0]) and len(readers(x)) == 2
        if inside and alone and producer(x, "Conv") is not None:
            return Swish(x, shift, clip, node)
    return None


def bounds_of(node: ir.Node) -> tuple[float, float] | None:
    """(low, high) of a clip or relu with constant bounds around 0; None for any other."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    if "min" in node.attributes or "max" in node.attributes:
        return None
    values = [scalar_of(node.inputs[i]) if len(node.inputs) > i else None for i in (1, 2)]
    low, high = values
    if low is None or low > 0 or (high is not None and high <= 0):
        return None
    return low, float("inf") if high is None else high


def _attribute(node: ir.Node, name: str, default: str) -> str:
    return node.attributes[name].as_string() if name in node.attributes else default


def tensors_of(planned: Plan) -> list[str]:
    """Names of the tensors whose ranges must be known, in the order of the graph."""
    names: dict[str, None] = {}
    for node in planned.operators:
        for value in (*planned.reads(node), *node.outputs):
            bound = planned.bounded.get(str(value.name))
            names[str(bound.outputs[0].name if bound is not None else value.name)] = None
    return [name for name in names if name not in planned.aliases]


def data_of(node: ir.Node) -> list[ir.Value]:
    """The inputs of a node that hold data, without constants and sizes."""
    several = node.op_type in _OF_SEVERAL
    return [
        value for value in (node.inputs if several else node.inputs[:1]) if value is not None and not is_constant(value)
    ]
