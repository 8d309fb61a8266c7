"""Graph variant ``released``: the arithmetic of the released SCARLET code, a baseline to measure against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from scarlet_zoo.graph.passes.native import is_standard
from scarlet_zoo.graph.passes.rewrite import Rewrite, constant, float_type, opset, producer

_CLIP_INPUTS_SINCE, _AXES_INPUT_SINCE = 11, 18


def spell_hard_swish(node: ir.Node) -> Sequence[ir.Node]:
    """Rewrite HardSwish(x) as x * clip(x + 3, 0, 6) / 6, by its definition."""
    if node.op_type != "HardSwish":
        return ()
    shifted, clipped = shift_and_clip(node)
    product = ir.node("Mul", [node.inputs[0], clipped.outputs[0]])
    return shifted, clipped, product, ir.node("Div", [product.outputs[0], constant(node, "six", 6.0, float_type(node))])


def spell_hard_sigmoid(node: ir.Node) -> Sequence[ir.Node]:
    """Rewrite HardSigmoid(x) with alpha = 1/6 and beta = 1/2 as clip(x + 3, 0, 6) / 6."""
    if node.op_type != "HardSigmoid" or not is_standard(node):
        return ()
    shifted, clipped = shift_and_clip(node)
    return shifted, clipped, ir.node("Div", [clipped.outputs[0], constant(node, "six", 6.0, float_type(node))])


def shift_and_clip(node: ir.Node) -> tuple[ir.Node, ir.Node]:
    """Make the nodes x + 3 and clip(x + 3, 0, 6) for the input x of a node."""
    shifted = ir.node("Add", [node.inputs[0], constant(node, "three", 3.0, float_type(node))])
    return shifted, clip_to_six(node, shifted)


def clip_to_six(owner: ir.Node, shifted: ir.Node) -> ir.Node:
    """Make the clip to [0, 6] of a node's output, in the precision of the owner; bounds are inputs since opset 11."""
    if opset(owner) < _CLIP_INPUTS_SINCE:
        return ir.node("Clip", [shifted.outputs[0]], {"min": 0.0, "max": 6.0})
    bounds = (constant(owner, name, value, float_type(owner)) for name, value in (("low", 0.0), ("high", 6.0)))
    return ir.node("Clip", [shifted.outputs[0], *bounds])


def spell_head_pool(node: ir.Node) -> Sequence[ir.Node]:
    """Rewrite GlobalAveragePool and Flatten as a mean over columns, then a mean over rows."""
    pool = producer(node.inputs[0], "GlobalAveragePool") if node.op_type == "Flatten" else None
    if pool is None:
        return ()
    if opset(node) < _AXES_INPUT_SINCE:
        columns = ir.node("ReduceMean", [pool.inputs[0]], {"axes": [3], "keepdims": 0})
        return columns, ir.node("ReduceMean", [columns.outputs[0]], {"axes": [2], "keepdims": 0})
    last, third = (constant(node, f"axis{axis}", [axis], np.int64) for axis in (3, 2))
    columns = ir.node("ReduceMean", [pool.inputs[0], last], {"keepdims": 0})
    return columns, ir.node("ReduceMean", [columns.outputs[0], third], {"keepdims": 0})


RELEASE: tuple[Rewrite, ...] = (spell_hard_swish, spell_hard_sigmoid, spell_head_pool)
