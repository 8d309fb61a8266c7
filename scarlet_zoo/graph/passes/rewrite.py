"""What a rewrite of an ONNX graph is, and the few things that all of them need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

# Looks at one node and gives the nodes that replace it, the last of them with its output; none to leave it.
Rewrite = Callable[[ir.Node], Sequence[ir.Node]]


class RefusedError(Exception):
    """A site that a rewrite knows but must not touch; the text says why."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A site that was left as it is.

    Attributes:
        rewrite: what was not done.
        node: where.
        reason: why not.
    """

    rewrite: str
    node: str
    reason: str


@dataclass(frozen=True)
class Lowering:
    """What became of a graph.

    Attributes:
        form: that was asked for.
        applied: how often each rewrite was made.
        refused: the sites where one was not legal.
    """

    form: str
    applied: dict[str, int]
    refused: tuple[Refusal, ...]


def apply(rewrite: Rewrite, graph: ir.Graph, refused: list[Refusal]) -> int:
    """Offer every node of a graph to a rewrite; returns how many it replaced."""
    count = 0
    for node in list(graph):
        if node.graph is None:
            continue
        try:
            new = rewrite(node)
        except RefusedError as error:
            refused.append(Refusal(rewrite.__name__, node.name or node.outputs[0].name or node.op_type, str(error)))
            continue
        if new:
            replace(node, new)
            count += 1
    if count:
        _remove_dead(graph)
    return count


def _remove_dead(graph: ir.Graph) -> None:
    """What a rewrite has left without readers would count as a reader for the next one."""
    for node in reversed(list(graph)):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            graph.remove(node, safe=True)


def replace(node: ir.Node, new: Sequence[ir.Node]) -> None:
    """Put nodes in a node's place; the last one's output takes its output's name and readers."""
    graph = node.graph
    assert graph is not None
    output, replaced = new[-1].outputs[0], node.outputs[0]
    output.name, output.shape, output.type = replaced.name, replaced.shape, replaced.type
    for made in new:
        # No rewrite leaves the precision of its site.
        made.outputs[0].type = made.outputs[0].type or replaced.type
    # In the order of the graph: a set of objects has another order in every process, and the file other bytes.
    for value in dict.fromkeys(v for made in new for v in made.inputs if v is not None and v.producer() is None):
        if value.const_value is not None and not value.is_initializer():
            _register(graph, value)
    ir.convenience.replace_nodes_and_values(graph, node, [node], new, [replaced], [output])


def _register(graph: ir.Graph, value: ir.Value) -> None:
    """Add an initializer; a site that is rewritten twice gives the same name twice."""
    assert value.name is not None
    name, number = value.name, 1
    while value.name in graph.initializers:
        number += 1
        value.name = f"{name}_{number}"
    graph.register_initializer(value)


def constant(owner: ir.Node, name: str, value: object, dtype: object) -> ir.Value:
    """An initializer for the owner's graph, named after the owner's output."""
    tensor = ir.tensor(np.asarray(value, dtype=dtype), name=f"{owner.outputs[0].name}_{name}")  # type: ignore[call-overload]
    return ir.Value(
        name=tensor.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.numpy().shape), const_value=tensor
    )


def array_of(value: ir.Value | None) -> NDArray[Any] | None:
    """A constant's elements; none for what is computed."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return tensor.numpy() if tensor is not None else None


def scalar_of(value: ir.Value | None) -> float | None:
    """A constant of one element that gives a product no further axes."""
    array = array_of(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 and array.ndim <= 1 else None


def float_type(node: ir.Node) -> np.dtype[np.generic]:
    """In which precision a node computes; float32 where the graph does not say."""
    dtype = node.inputs[0].dtype if node.inputs and node.inputs[0] is not None else None
    return np.dtype(dtype.numpy() if dtype is not None else np.float32)


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that makes a value, if it is one of these."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.domain in ("", "ai.onnx") and node.op_type in op_types else None


def only_reader(value: ir.Value) -> bool:
    """Whether nothing but one node reads a value."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def opset(node: ir.Node) -> int:
    """Version of the standard operators in a node's graph."""
    return node.graph.opset_imports.get("", 0) if node.graph is not None else 0
