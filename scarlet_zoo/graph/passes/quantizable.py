"""Graph variant ``friendly``: only Clip, products and sums between convolutions, so that all can be integer.

Hard-swish and hard-sigmoid have no integer kernels. Both can be written with a clip and a factor:

    HardSigmoid(x) = clip(x + 3, 0, 6) * 1/6          HardSwish(x) = x * clip(x + 3, 0, 6) * 1/6

A clip costs nothing in integers, because it becomes the range of the tensor before it. The +3 of a gate goes
into the bias of the convolution that gives x. The 1/6 commutes with every operator that is linear in its data.
It moves down the graph until a convolution or a matrix product takes it into its weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from scarlet_zoo.graph.passes.batch_norm import affine_of
from scarlet_zoo.graph.passes.native import is_standard, with_shift
from scarlet_zoo.graph.passes.released import clip_to_six, shift_and_clip
from scarlet_zoo.graph.passes.rewrite import RefusedError, Rewrite, array_of, constant, float_type, producer, scalar_of

# Operators with f(c * x) = c * f(x) for every c > 0, where x is the only input that depends on data.
_HOMOGENEOUS = frozenset({
    "AveragePool", "Dropout", "Flatten", "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu", "MaxPool",
    "ReduceMax", "ReduceMean", "Relu", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
_FACTOR = "factor"


def clip_hard_sigmoid(node: ir.Node) -> Sequence[ir.Node]:
    """Rewrite HardSigmoid(x) with alpha = 1/6 and beta = 1/2 as clip(x + 3, 0, 6) times 1/6.

    If x is a convolution that no other node reads, the 3 is added to its bias. Refused for other alpha
    and beta, which need a clip with other bounds.
    """
    if node.op_type != "HardSigmoid":
        return ()
    if not is_standard(node):
        raise RefusedError("its alpha is not 1/6, or its beta is not 1/2")
    conv = producer(node.inputs[0], "Conv")
    try:
        shifted = with_shift(conv, node, np.asarray(3.0)) if conv is not None else None
    except RefusedError:
        shifted = None
    if shifted is None:
        shifted, _ = shift_and_clip(node)
    clipped = clip_to_six(node, shifted)
    return shifted, clipped, _sixth(node, clipped)


def clip_hard_swish(node: ir.Node) -> Sequence[ir.Node]:
    """Rewrite HardSwish(x) as x * clip(x + 3, 0, 6) times 1/6."""
    if node.op_type != "HardSwish":
        return ()
    shifted, clipped = shift_and_clip(node)
    product = ir.node("Mul", [node.inputs[0], clipped.outputs[0]])
    return shifted, clipped, product, _sixth(node, product)


def convolve_batch_norm(node: ir.Node) -> Sequence[ir.Node]:
    """Rewrite a batch norm that no operator could take in as a convolution of each channel with one weight.

    The norm is s x + t for each channel, and a convolution has an integer kernel. Refused for a norm that takes its
    statistics from its input.
    """
    source = node.inputs[0] if node.op_type == "BatchNormalization" else None
    if source is None or source.shape is None or len(source.shape) != 4:
        return ()
    scale, shift = affine_of(node)
    weight = constant(node, "weight", scale.reshape(-1, 1, 1, 1), float_type(node))
    bias = constant(node, "bias", shift, float_type(node))
    attributes: dict[str, int | list[int]] = {"group": len(scale), "kernel_shape": [1, 1]}
    return (ir.node("Conv", [source, weight, bias], attributes, name=node.name),)


def _sixth(owner: ir.Node, node: ir.Node) -> ir.Node:
    return ir.node("Mul", [node.outputs[0], constant(owner, _FACTOR, 1 / 6, float_type(owner))])


def sink_factor(node: ir.Node) -> Sequence[ir.Node]:
    """Move a constant factor c > 0 of a node's input into the node's weights, or behind the node.

    The node computes f(c * x). Convolutions and matrix products are linear in their data, so c goes into their
    weights, not into the bias. Pools, Relu and changes of shape are homogeneous, f(c * x) = c * f(x), and a
    product is homogeneous in each factor: there c moves behind the node. Refused for any other node, for example
    an addition, whose other operand has no factor c.
    """
    found = _scaled_input(node)
    if found is None:
        return ()
    position, factor, x = found
    if node.op_type in ("Conv", "Gemm", "MatMul") and position == 0:
        weight = array_of(node.inputs[1])
        if weight is None:
            raise RefusedError("the weights that should take the factor are not constants")
        scaled = constant(node, "scaled", np.asarray(weight, dtype=np.float64) * factor, weight.dtype)
        return (_like(node, [x, scaled, *node.inputs[2:]]),)
    if node.op_type == "Mul" or (node.op_type in _HOMOGENEOUS and position == 0):
        inputs = list(node.inputs)
        inputs[position] = x
        inner = _like(node, inputs)
        inner.outputs[0].shape, inner.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
        return inner, ir.node("Mul", [inner.outputs[0], constant(node, _FACTOR, factor, float_type(node))])
    raise RefusedError(f"a factor cannot pass {node.op_type}")


def _scaled_input(node: ir.Node) -> tuple[int, float, ir.Value] | None:
    """(position, c, x) of a node's first input that is c * x with a constant c; None for a node that is one itself."""
    if _factor_of(node) is not None or len(node.outputs) != 1:
        return None
    for position, value in enumerate(node.inputs):
        found = _factor_of(value.producer() if value is not None else None)
        if found is not None:
            return position, *found
    return None


def _factor_of(node: ir.Node | None) -> tuple[float, ir.Value] | None:
    """(c, x) if a node computes c * x with a constant c > 0 of one element, else None."""
    if node is None or node.op_type != "Mul":
        return None
    for constant_side, x in (node.inputs, reversed(node.inputs)):
        value = scalar_of(constant_side)
        if value is not None and value > 0 and x is not None:
            return value, x
    return None


def merge_factors(node: ir.Node) -> Sequence[ir.Node]:
    """Merge two constant factors: (x * c) * d becomes x * (c d)."""
    outer = _factor_of(node)
    inner = _factor_of(outer[1].producer()) if outer is not None else None
    if outer is None or inner is None:
        return ()
    return (ir.node("Mul", [inner[1], constant(node, _FACTOR, outer[0] * inner[0], float_type(node))]),)


def _like(node: ir.Node, inputs: Sequence[ir.Value | None]) -> ir.Node:
    """A node with the same operator, attributes and name, but other inputs."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    return ir.node(node.op_type, inputs, attributes, name=node.name)


CLIP: tuple[Rewrite, ...] = (clip_hard_swish, clip_hard_sigmoid, convolve_batch_norm)
SINK: tuple[Rewrite, ...] = (merge_factors, sink_factor)
