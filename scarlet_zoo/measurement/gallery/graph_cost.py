"""What an ONNX file of any exporter costs, layer by layer: its convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from scarlet_zoo.arch.cost import Cost, LayerCost
from scarlet_zoo.graph.load import read_onnx, with_input_shapes
from scarlet_zoo.graph.strange import of_strange_file
from scarlet_zoo.measurement.onnx_layers import macs_of

_PRODUCTS = ("Gemm", "MatMul")
# Operators with multiply-adds that are not counted here.
_UNCOUNTED = ("ConvTranspose", "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "Einsum", "LSTM", "GRU")
_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True)
class GraphCost:
    """The cost of a file.

    Attributes:
        layers: its convolutions and matrix products in order; a product's channels are its rows and columns.
        params: number of values in their weights and biases.
        complete: whether the multiply-adds of all layers are known; otherwise ``macs`` is None.
    """

    layers: tuple[LayerCost, ...]
    params: int
    complete: bool

    @property
    def macs(self) -> int | None:
        """Multiply-adds for one image; None where the file does not state all sizes."""
        return Cost(self.layers).macs if self.complete and self.layers else None


@of_strange_file("counted")
def graph_cost(path: Path, shapes: Mapping[str, Sequence[int]]) -> GraphCost:
    """Count the multiply-adds of a file for one image.

    Args:
        path: an ONNX file of any exporter.
        shapes: shapes of its inputs, where their sides are dynamic.

    Raises:
        ArtifactError: the file is no ONNX file, or shape inference does not understand its graph.
    """
    graph = onnx.shape_inference.infer_shapes(with_input_shapes(read_onnx(path), shapes)).graph
    sides = {value.name: _sides(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    stored = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    stored |= {node.output[0]: list(attribute.t.dims) for node in graph.node if node.op_type == "Constant"
               for attribute in node.attribute if attribute.name == "value"}  # fmt: skip
    held = dict(stored)
    for node in graph.node:  # weights of an int8 file, which pass through this operator
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            held[node.output[0]] = stored[node.input[0]]
    layers: list[LayerCost] = []
    params, complete = 0, True
    for node in graph.node:
        if node.domain not in _STANDARD or node.op_type in _UNCOUNTED:
            complete = complete and node.op_type not in _UNCOUNTED and not node.op_type.endswith(("Conv", "MatMul"))
        elif node.op_type == "Conv" or node.op_type in _PRODUCTS:
            own = sum(int(np.prod(held[name])) for name in node.input[1:] if name in held)
            layer = _layer(node, len(layers), sides, held, own)
            params += own
            complete = complete and layer is not None
            layers += [] if layer is None else [layer]
    return GraphCost(tuple(layers), params, complete)


def _sides(value: onnx.ValueInfoProto) -> list[int]:
    return [side.dim_value for side in value.type.tensor_type.shape.dim]


def _layer(node: onnx.NodeProto, place: int, sides: Mapping[str, list[int]], held: Mapping[str, list[int]],
           params: int) -> LayerCost | None:  # fmt: skip
    """The row of one operator; None where a size is not known."""
    out = sides.get(node.output[0], [])
    given = held.get(node.input[0]) or sides.get(node.input[0], [])
    weights = held.get(node.input[1]) or sides.get(node.input[1], [])
    if len(out) < 2 or not all(out[1:]) or not given or not weights or not all(weights[-2:]):
        return None
    macs = macs_of(node.op_type, out, weights)
    if node.op_type == "Conv":
        token = f"{'dw ' if weights[1] == 1 and given[1] > 1 else ''}k{max(weights[2:], default=1)}"
        stride = given[-1] // out[-1] if given[-1] else 1
        return LayerCost(str(place), token, given[1], out[1], stride, given[-1], out[-1], params, macs)
    positions = int(np.prod(out[1:-1]))
    return LayerCost(str(place), "product", given[-1] or weights[-2], out[-1], 1, positions, positions, params, macs)
