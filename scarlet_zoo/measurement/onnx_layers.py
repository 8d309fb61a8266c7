"""Costs of an ONNX file's convolutions and matrix products, matched to the operators that a runtime runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from scarlet_zoo.graph.load import with_input_shapes

_WITH_MACS = ("Conv", "Gemm", "MatMul")
# A fused operator may be named after one of this many operators behind it.
_BEHIND = 8
# Suffixes that runtimes append when they name an operator after a tensor.
_SUFFIX = re.compile(r"(_nchwc|_quant|_nhwc|_token_\d+|_output_0|/(Conv|Gemm|MatMul|fused.*))+$")


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution or matrix product.

    Attributes:
        name: name of its node.
        macs: multiply-adds for one image.
        weight_bytes: size in bytes of its weights and bias as they are stored.
    """

    name: str
    macs: int
    weight_bytes: int


class Layers:
    """The layers of a file; each can be taken once, for the running operator that it became.

    Shapes of inputs by name are needed where sides are dynamic, because multiply-adds depend on them.
    """

    def __init__(self, model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        graph = onnx.shape_inference.infer_shapes(with_input_shapes(model, shapes or {})).graph
        self._held = {tensor.name: tensor for tensor in graph.initializer}
        # Some exporters write every weight as an operator that gives a constant.
        self._held |= {node.output[0]: attribute.t for node in graph.node if node.op_type == "Constant"
                       for attribute in node.attribute if attribute.name == "value"}  # fmt: skip
        self._makers = {name: node for node in graph.node for name in node.output}
        self._shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*graph.value_info, *graph.output)
        }
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._by_name: dict[str, Layer] = {}
        self.left: set[Layer] = set()
        for node in graph.node:
            layer = self._layer(node)
            if layer is not None:
                self.left.add(layer)
                for name in self._names(node):
                    self._by_name.setdefault(plain_name(name), layer)

    def take(self, operator: str) -> Layer | None:
        """Take the layer that became the running operator of this name; None if there is none, or it is taken."""
        layer = self._by_name.get(plain_name(operator))
        if layer is None or layer not in self.left:
            return None
        self.left.remove(layer)
        return layer

    def _layer(self, node: onnx.NodeProto) -> Layer | None:
        weights = self._stored(node.input[1]) if node.op_type in _WITH_MACS else None
        if weights is None:
            return None
        macs = macs_of(node.op_type, self._shapes.get(node.output[0], []), list(weights.dims))
        stored = [self._stored(name) for name in node.input[1:]]
        return Layer(node.name, macs, sum(map(_size_bytes, stored)))

    def _stored(self, name: str) -> TensorProto | None:
        """The initializer of this name, also if it passes through a DequantizeLinear; None if there is none."""
        maker = self._makers.get(name)
        if maker is not None and maker.op_type == "DequantizeLinear":
            name = maker.input[0]
        return self._held.get(name)

    def _names(self, node: onnx.NodeProto) -> list[str]:
        """Names that the running operator of this node may carry: its own, and those of operators fused into it."""
        names = [node.name, *node.output]
        for _ in range(_BEHIND):
            readers = self._readers.get(node.output[0], [])
            if len(readers) != 1 or readers[0].op_type in _WITH_MACS:
                break
            node = readers[0]
            names += [node.name, *node.output]
        return names


def macs_of(operator: str, out: Sequence[int], weights: Sequence[int]) -> int:
    """Multiply-adds of one image.

    Args:
        operator: ``Conv``, ``Gemm`` or ``MatMul``.
        out: shape of its output, (N, C, H, W), or (N, ..., columns) of a product, which is done at each place between.
        weights: shape of its weights, (C, C_in / groups, H, W), or of a product (..., rows, columns) in either order.
    """
    if operator == "Conv":
        return int(np.prod(out[1:]) * np.prod(weights[1:]))
    return int(np.prod(out[1:-1]) * np.prod(weights[-2:]))


def plain_name(name: str) -> str:
    """A node's or tensor's name without the suffixes that exporters and runtimes append."""
    return _SUFFIX.sub("", name)


def _size_bytes(tensor: TensorProto | None) -> int:
    if tensor is None:
        return 0
    return int(np.prod(tensor.dims)) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
