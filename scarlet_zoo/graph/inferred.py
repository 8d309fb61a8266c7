"""Infer the shapes of an ONNX graph node by node, with sizes that the graph computes from constants.

onnx's own propagation of sizes lists every number of a range, so that a range of a few bytes takes all memory; here
only tensors of a thousand elements or less are computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, TypeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

_SMALL = 1024  # elements of tensors that may be sizes
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
# Operators by which graphs compute sizes.
_COMPUTED = {
    "Abs", "Add", "Cast", "Ceil", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Exp", "Expand", "Flatten",
    "Floor", "Gather", "Identity", "Max", "Min", "Mod", "Mul", "Neg", "Pow", "Range", "ReduceMax", "ReduceProd",
    "ReduceSum", "Reshape", "Round", "Shape", "Size", "Slice", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose",
    "Unsqueeze", "Where",
}  # fmt: skip


@dataclass(frozen=True)
class Sized:
    """A value of a graph.

    Attributes:
        name: its name.
        bytes: its size, 0 where it is unknown.
        kind: its type and shape.
    """

    name: str
    bytes: int
    kind: TypeProto


def with_inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield nodes, and those of the graphs that they hold."""
    for node in nodes:
        yield node
        for graph in subgraphs_of(node):
            yield from with_inner(graph.node)


def subgraphs_of(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs that a node holds, as If, Loop and Scan do."""
    return [graph for attribute in node.attribute
            for graph in ([attribute.g] if attribute.HasField("g") else attribute.graphs)]  # fmt: skip


def tensor_bytes(kind: TypeProto) -> int:
    """The bytes of a tensor of this type, with 1 for sides that are unknown; 0 for what is no tensor."""
    if not kind.HasField("tensor_type"):
        return 0
    tensor = kind.tensor_type
    sides = [side.dim_value if side.HasField("dim_value") else 1 for side in tensor.shape.dim]
    try:
        item = int(helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize)
    except (KeyError, TypeError, ValueError):
        item = 1
    return math.prod(max(side, 0) for side in sides) * item


@dataclass
class Inferred:
    """The types of a graph's values as far as they can be inferred; :meth:`walk` finds them.

    Attributes:
        model: the model; it is not changed.
        constant_bytes: bytes of the values so far that no input of the graph changes.
        alive_bytes: bytes of the values so far that a later node reads.
    """

    model: onnx.ModelProto
    constant_bytes: int = 0
    alive_bytes: int = 0
    _types: dict[str, TypeProto] = field(default_factory=dict)
    _small: dict[str, TensorProto] = field(default_factory=dict)
    _data: set[str] = field(default_factory=set)
    _alive: dict[str, int] = field(default_factory=dict)

    def walk(self) -> Iterator[tuple[onnx.NodeProto, list[Sized]]]:
        """Yield each node with the values that it makes, inner graphs before the node that holds them."""
        constants = {tensor.name for tensor in self.model.graph.initializer}
        self._data = {value.name for value in self.model.graph.input} - constants
        yield from self._graph(self.model.graph, outer=True)

    def number(self, name: str) -> float | None:
        """The value of a constant with one element; None for others."""
        tensor = self._small.get(name)
        if tensor is None or math.prod(tensor.dims) != 1:
            return None
        return float(numpy_helper.to_array(tensor).reshape(-1)[0])

    def _graph(self, graph: onnx.GraphProto, *, outer: bool) -> Iterator[tuple[onnx.NodeProto, list[Sized]]]:
        for value in graph.input:
            self._types[value.name] = _with_ones(value.type)
        for tensor in graph.initializer:
            self._keep(tensor.name, tensor)
        last = {name: place for place, node in enumerate(graph.node) for name in _read_by(node)}
        for place, node in enumerate(graph.node):
            for inner in subgraphs_of(node):
                yield from self._graph(inner, outer=False)
            made = self._outputs(node)
            if outer:
                self._count(node, made, {name for name in _read_by(node) if last[name] == place})
            yield node, made

    def _count(self, node: onnx.NodeProto, made: Sequence[Sized], done: set[str]) -> None:
        """Count a node's values, and no longer those that only it and nodes before it have read."""
        total = sum(value.bytes for value in made)
        if node.op_type in _RANDOM or self._data & set(_read_by(node)):
            self._data.update(node.output)
            self.alive_bytes += total - sum(self._alive.pop(name, 0) for name in done)
            self._alive.update({value.name: value.bytes for value in made})
        else:
            self.constant_bytes += total

    def _keep(self, name: str, tensor: TensorProto) -> None:
        self._types[name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        if math.prod(tensor.dims) <= _SMALL and tensor.data_location != TensorProto.EXTERNAL:
            self._small[name] = tensor

    def _outputs(self, node: onnx.NodeProto) -> list[Sized]:
        try:
            found = self._inferred(node)
        except Exception:  # onnx raises many kinds for what is no valid node; a runtime will refuse it
            found = {}
        self._types.update(found)
        if node.op_type in _COMPUTED and found and all(_count_of(kind) <= _SMALL for kind in found.values()):
            self._compute(node)
        return [Sized(name, tensor_bytes(kind), kind) for name, kind in found.items()]

    def _inferred(self, node: onnx.NodeProto) -> dict[str, TypeProto]:
        versions = {entry.domain: entry.version for entry in self.model.opset_import}
        version = versions.get(node.domain, versions.get("ai.onnx", 1))
        schema = onnx.defs.get_schema(node.op_type, version, "" if node.domain == "ai.onnx" else node.domain)
        return onnx.shape_inference.infer_node_outputs(
            schema, node, {name: self._types[name] for name in node.input if name in self._types},
            {name: self._small[name] for name in node.input if name in self._small},
            opset_imports=list(self.model.opset_import), ir_version=self.model.ir_version,
        )  # fmt: skip

    def _compute(self, node: onnx.NodeProto) -> None:
        """Compute the outputs of a node whose inputs are small constants, and the shape of a tensor."""
        if node.op_type in ("Shape", "Size"):
            feeds = {node.input[0]: _blank(self._types.get(node.input[0]))}
        else:
            feeds = {name: numpy_helper.to_array(self._small[name]) for name in node.input if name in self._small}
        wanted = {name for name in node.input if name}
        if feeds.keys() != wanted or any(value is None for value in feeds.values()):
            return
        inputs = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in feeds]
        outputs = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.output if name]
        graph = helper.make_graph([node], "node", inputs, outputs)
        try:
            with np.errstate(all="ignore"):
                model = helper.make_model(graph, opset_imports=list(self.model.opset_import))
                values = ReferenceEvaluator(model).run(None, feeds)
            for value, array in zip(outputs, values, strict=True):
                self._keep(value.name, numpy_helper.from_array(np.asarray(array)))
        except Exception:  # a runtime will say what is wrong with the node
            return


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node reads, those that the graphs inside it read included."""
    for each in with_inner([node]):
        yield from each.input


def _with_ones(kind: TypeProto) -> TypeProto:
    """A type whose dynamic sides are 1."""
    fixed = TypeProto()
    fixed.CopyFrom(kind)
    for side in fixed.tensor_type.shape.dim if fixed.HasField("tensor_type") else ():
        if not side.HasField("dim_value"):
            side.dim_value = 1
    return fixed


def _count_of(kind: TypeProto) -> int:
    """Elements of a tensor; more than any that is small where a side is unknown."""
    sides = kind.tensor_type.shape.dim
    if not kind.tensor_type.HasField("shape") or not all(side.HasField("dim_value") for side in sides):
        return _SMALL + 1
    return math.prod(side.dim_value for side in sides)


def _blank(kind: TypeProto | None) -> NDArray[Any] | None:
    """A tensor of a type's shape that takes no memory, for operators that read its shape; None if it is unknown."""
    if kind is None or not kind.tensor_type.HasField("shape"):
        return None
    sides = kind.tensor_type.shape.dim
    if not all(side.HasField("dim_value") and side.dim_value >= 0 for side in sides):
        return None
    return np.broadcast_to(np.zeros((), np.float32), [side.dim_value for side in sides])
