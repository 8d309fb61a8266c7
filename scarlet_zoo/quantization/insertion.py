"""Quantise and dequantise operators around everything that has an integer kernel, on the friendly form.

The graph stays a float graph on paper: a tensor x becomes DequantizeLinear(QuantizeLinear(x)), and a runtime
that has an integer kernel merges the three nodes around an operator into it. What is left between two such
operators is float, which is why the form matters: see :mod:`scarlet_zoo.lowering.friendly`.

A tensor in uint8 has x = scale * (q - zero); a weight in int8 has one scale a channel and zero 0; a bias is
int32 with the product of the scales of data and weight, so that sums of products need no conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from scarlet_zoo.lowering.rewriting import array_of, only_reader, producer, scalar_of
from scarlet_zoo.quantization.ranges import LEVELS

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
        if node.op_type in _SHAPES and node.inputs[0] is not None:
            made.aliases[str(node.outputs[0].name)] = str(node.inputs[0].name)
    return made


def _is_integer(node: ir.Node) -> bool:
    if node.op_type in ("Conv", "Gemm"):
        weight = array_of(node.inputs[1])
        return weight is not None and weight.dtype == np.float32
    if node.op_type in ("Mul", "Add"):
        return all(value is not None and value.const_value is None for value in node.inputs)
    return node.op_type in _COMPUTES or node.op_type in _SHAPES


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
        for value in (*_data(node), *node.outputs):
            bound = made.bounded.get(str(value.name))
            names[str(bound.outputs[0].name if bound is not None else value.name)] = None
    for swish in made.swishes.values():
        names.pop(str(swish.shift.outputs[0].name), None)
        names.pop(str(swish.clip.outputs[0].name), None)
    return list(names)


def _data(node: ir.Node) -> list[ir.Value]:
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


# A weight (out, ...) to (int8 values, one scale an output channel).
QuantizeWeight = Callable[[NDArray[np.float32]], tuple[NDArray[np.int8], NDArray[np.float32]]]


def nearest(weight: NDArray[np.float32], bits: int = 8) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric, one scale an output channel (axis 0), rounded to the nearest; 7 bits leave a margin for sums."""
    most = 2 ** (bits - 1) - 1
    flat = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    scales = np.where(flat > 0, flat / most, 1.0).astype(np.float32)
    levels = np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    return np.clip(levels, -most, most).astype(np.int8), scales


class Inserter:
    """Rewrites a graph as a plan says, in place."""

    def __init__(self, graph: ir.Graph, made: Plan, quantize_weight: QuantizeWeight) -> None:
        self.graph, self.made, self.quantize_weight = graph, made, quantize_weight
        self._dequantized: dict[str, ir.Value] = {}
        self._inner: dict[str, ir.Value] = {}

    def run(self) -> None:
        """Insert; bounded clips and shared hard-swishes go."""
        for node in list(self.made.operators):
            for position, value in enumerate(node.inputs):
                if value is not None and value in _data(node):
                    node.replace_input_with(position, self._read(value, node))
            if node.op_type in ("Conv", "Gemm"):
                self._weights(node)
        for swish in self.made.swishes.values():
            self._share(swish)
        for node in list(self.made.operators):
            output = node.outputs[0]
            bound = self.made.bounded.get(str(output.name))
            self._write(bound.outputs[0] if bound is not None else output)

    def _read(self, value: ir.Value, reader: ir.Node) -> ir.Value:
        """What a reader is to read instead of a tensor."""
        name = str(value.name)
        if name not in self.made.grids:
            return value
        if name not in self._dequantized:
            self._pair(value)
        return self._dequantized[name]

    def _write(self, value: ir.Value) -> None:
        """Let whoever still reads a tensor in float read it after it went through its grid."""
        name = str(value.name)
        if name not in self.made.grids:
            return
        if name not in self._dequantized:
            self._pair(value)
        dequantized = self._dequantized[name]
        quantizer = self._inner[name].producer()
        for use in list(value.uses()):
            if use.node is not quantizer:
                use.node.replace_input_with(use.idx, dequantized)
        if value.is_graph_output():
            position = next(i for i, output in enumerate(self.graph.outputs) if output is value)
            value.name, dequantized.name = f"{name}_float", name
            dequantized.shape, dequantized.type = value.shape, value.type
            self.graph.outputs[position] = dequantized

    def _pair(self, value: ir.Value) -> None:
        """Q and DQ behind a tensor; where a clip makes it and becomes its range, in front of that clip."""
        name, grid = str(value.name), self.made.grids[str(value.name)]
        source, maker = value, value.producer()
        bypassed = maker is not None and self.made.bounded.get(str(maker.inputs[0].name if maker.inputs[0] else "")) is maker
        if bypassed:
            assert maker is not None
            assert maker.inputs[0] is not None
            source = maker.inputs[0]
        parameters = self._parameters(name, grid)
        quantize = ir.node("QuantizeLinear", [source, *parameters], name=f"{name}_quantize")
        dequantize = ir.node("DequantizeLinear", [quantize.outputs[0], *parameters], name=f"{name}_dequantize")
        quantize.outputs[0].name, dequantize.outputs[0].name = f"{name}_q", f"{name}_dq"
        anchor = source.producer()
        if anchor is None:
            self.graph.insert_before(self.graph[0], [quantize, dequantize])
        else:
            self.graph.insert_after(anchor, [quantize, dequantize])
        self._inner[name], self._dequantized[name] = quantize.outputs[0], dequantize.outputs[0]

    def _parameters(self, name: str, grid: Grid) -> list[ir.Value]:
        return [self._constant(f"{name}_scale", np.float32(grid.scale)),
                self._constant(f"{name}_zero", np.uint8(grid.zero))]  # fmt: skip

    def _constant(self, name: str, value: object) -> ir.Value:
        if name in self.graph.initializers:
            return self.graph.initializers[name]
        tensor = ir.tensor(np.asarray(value), name=name)
        made = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)  # type: ignore[arg-type]
        self.graph.register_initializer(made)
        return made

    def _weights(self, node: ir.Node) -> None:
        weight, data = array_of(node.inputs[1]), node.inputs[0]
        assert weight is not None
        assert data is not None
        maker = producer(data, "DequantizeLinear")
        scale = scalar_of(maker.inputs[1]) if maker is not None else None
        if scale is None:
            return
        transposed = node.op_type == "Gemm" and not ("transB" in node.attributes and node.attributes["transB"].as_int())
        levels, scales = self.quantize_weight(weight.T if transposed else weight)
        axis = 1 if transposed else 0
        self._dequantize_constant(node, 1, levels.T if transposed else levels, scales, axis)
        bias = array_of(node.inputs[2]) if len(node.inputs) > 2 else None
        if bias is not None:
            product = scales.astype(np.float64) * np.float64(np.float32(scale))
            whole = np.clip(np.rint(bias / product), -(2**31), 2**31 - 1).astype(np.int32)
            self._dequantize_constant(node, 2, whole, product.astype(np.float32), 0)

    def _dequantize_constant(
        self, node: ir.Node, position: int, levels: NDArray[np.generic], scales: NDArray[np.float32], axis: int
    ) -> None:
        stem = f"{node.outputs[0].name}_{'weight' if position == 1 else 'bias'}"
        values = [self._constant(f"{stem}_q", levels), self._constant(f"{stem}_scale", scales),
                  self._constant(f"{stem}_zero", np.zeros(len(scales), dtype=levels.dtype))]  # fmt: skip
        made = ir.node("DequantizeLinear", values, {"axis": axis}, name=f"{stem}_dequantize")
        made.outputs[0].name = f"{stem}_dq"
        self.graph.insert_before(node, [made])
        node.replace_input_with(position, made.outputs[0])

    def _share(self, swish: Swish) -> None:
        """Both factors of x * clip(x + 3, 0, 6) from one integer tensor q with x = s (q - z) and s z = 3.

        x + 3 = s (q - z) + s z = s q is the same q with zero 0, and clip(s q, 0, 6) = s min(q, 2 z), since q is
        not negative. Where 2 z reaches 255 no clip is left. What is below -3 became q = 0, where x is -3 instead
        of less: the product is 0 there either way.
        """
        name = str(swish.x.name)
        grid = self.made.grids[name]
        shared = self._inner[name]
        nodes = []
        if 2 * grid.zero < LEVELS:
            bounds = [self._constant("swish_low", np.uint8(0)),
                      self._constant(f"{name}_swish_high", np.uint8(2 * grid.zero))]  # fmt: skip
            nodes.append(ir.node("Clip", [shared, *bounds], name=f"{name}_swish_clip"))
            shared = nodes[-1].outputs[0]
            shared.name = f"{name}_swish_q"
        parameters = [self._constant(f"{name}_scale", np.float32(grid.scale)),
                      self._constant("swish_zero", np.uint8(0))]  # fmt: skip
        nodes.append(ir.node("DequantizeLinear", [shared, *parameters], name=f"{name}_swish_dequantize"))
        nodes[-1].outputs[0].name = f"{name}_swish_dq"
        self.graph.insert_before(swish.product, nodes)
        gate = swish.clip.outputs[0]
        for position, value in enumerate(swish.product.inputs):
            if value is gate or value is self._dequantized.get(str(gate.name)):
                swish.product.replace_input_with(position, nodes[-1].outputs[0])


def insert(graph: ir.Graph, made: Plan, quantize_weight: QuantizeWeight = nearest) -> None:
    """Put quantise and dequantise operators into a graph, in place, as a plan says."""
    Inserter(graph, made, quantize_weight).run()
