"""The type of a graph rewrite, and the helpers that all rewrites share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

# Takes one node and returns the nodes that replace it, whose last one gives its output; none to leave the node.
Rewrite = Callable[[ir.Node], Sequence[ir.Node]]


class RefusedError(Exception):
    """A node that a rewrite recognises but must not change; the text says why."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node that a rewrite has refused to change.

    Attributes:
        rewrite: name of the rewrite.
        node: name of the node.
        reason: why it was refused.
    """

    rewrite: str
    node: str
    reason: str


@dataclass(frozen=True)
class Lowering:
    """The result of rewriting a graph.

    Attributes:
        form: name of the graph variant.
        applied: how often each rewrite was applied, by its name.
        refused: the nodes that a rewrite has refused to change.
    """

    form: str
    applied: dict[str, int]
    refused: tuple[Refusal, ...]


def apply(rewrite: Rewrite, graph: ir.Graph, refused: list[Refusal]) -> int:
    """Apply a rewrite to every node of a graph, and return how many nodes it replaced."""
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
    """Remove nodes without readers, which would count as readers in the next rewrite."""
    for node in reversed(list(graph)):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            graph.remove(node, safe=True)


def replace(node: ir.Node, new: Sequence[ir.Node]) -> None:
    """Replace a node by new ones; the output of the last takes over the old output's name and readers."""
    graph = node.graph
    assert graph is not None
    output, replaced = new[-1].outputs[0], node.outputs[0]
    output.name, output.shape, output.type = replaced.name, replaced.shape, replaced.type
    for inserted in new:
        # No rewrite changes the precision.
        inserted.outputs[0].type = inserted.outputs[0].type or replaced.type
    # A dict keeps the order of the graph; the order of a set, and so the file's bytes, would differ in each process.
    for value in dict.fromkeys(
        v for inserted in new for v in inserted.inputs if v is not None and v.producer() is None
    ):
        if value.const_value is not None and not value.is_initializer():
            _register(graph, value)
    ir.convenience.replace_nodes_and_values(graph, node, [node], new, [replaced], [output])


def _register(graph: ir.Graph, value: ir.Value) -> None:
    """Add an initializer under a unique name, because a node that is rewritten twice gives the same name twice."""
    assert value.name is not None
    name, number = value.name, 1
    while value.name in graph.initializers:
        number += 1
        value.name = f"{name}_{number}"
    graph.register_initializer(value)


def constant(owner: ir.Node, name: str, value: object, dtype: object) -> ir.Value:
    """Make an initializer for the owner's graph, named after the owner's output."""
    tensor = ir.tensor(np.asarray(value, dtype=dtype), name=f"{owner.outputs[0].name}_{name}")  # type: ignore[call-overload]
    return ir.Value(
        name=tensor.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.numpy().shape), const_value=tensor
    )


def array_of(value: ir.Value | None) -> NDArray[Any] | None:
    """The elements of a constant; None for a computed value."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return tensor.numpy() if tensor is not None else None


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is a constant: an initializer, or the output of a Constant operator."""
    return value is not None and ir.convenience.get_const_tensor(value) is not None


def scalar_of(value: ir.Value | None) -> float | None:
    """The value of a constant with one element and at most one axis, else None."""
    array = array_of(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 and array.ndim <= 1 else None


def float_type(node: ir.Node) -> np.dtype[np.generic]:
    """The dtype in which a node computes; float32 if the graph does not say."""
    dtype = node.inputs[0].dtype if node.inputs and node.inputs[0] is not None else None
    return np.dtype(dtype.numpy() if dtype is not None else np.float32)


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that gives a value, if it is one of these standard operators, else None."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.domain in ("", "ai.onnx") and node.op_type in op_types else None


def readers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read a value, once for each time; without nodes that a rewrite made and then dropped."""
    return [use.node for use in value.uses() if use.node.graph is not None]


def only_reader(value: ir.Value) -> bool:
    """Whether exactly one node reads a value, and it is not an output of the graph."""
    return len(readers(value)) == 1 and not value.is_graph_output()


def is_floating(value: ir.Value) -> bool:
    """Whether a value is of floating point; also where the graph does not say."""
    return value.dtype is None or value.dtype.is_floating_point()


def opset(node: ir.Node) -> int:
    """Opset version of the standard operators in a node's graph; 0 if unknown."""
    imports = node.graph.opset_imports if node.graph is not None else {}
    return imports.get("", 0) or imports.get("ai.onnx", 0)
