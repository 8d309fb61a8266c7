"""Rewrite basic arithmetic of any exporter as the operators that it stands for.

Each exporter writes hard-swish in its own way: as an operator, as ``x * HardSigmoid(x)``, as the released
SCARLET code's ``x * relu6(x + 3) / 6``, with ``Clip`` or with ``Min(Relu)``, with ``/ 6`` or ``* 0.16667``.
ONNX Runtime fuses only the operators, not these expressions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from scarlet_zoo.graph.passes.batch_norm import (
    fold_batch_norm,
    fold_batch_norm_behind,
    output_channels,
    with_parameters,
)
from scarlet_zoo.graph.passes.pads import merge_pad
from scarlet_zoo.graph.passes.rewrite import (
    RefusedError,
    Rewrite,
    array_of,
    is_floating,
    only_reader,
    opset,
    producer,
    scalar_of,
)

_SIXTH = 1 / 6
_HARD_SWISH_SINCE = 14


def raise_hard_sigmoid(node: ir.Node) -> Sequence[ir.Node]:
    """Rewrite clip(x + 3, 0, 6) / 6 as HardSigmoid(x) with alpha = 1/6 and beta = 1/2.

    (x + 3) / 6 = x / 6 + 1/2, and dividing the bounds of a clip divides it: clip(a, 0, 6) / 6 = clip(a / 6, 0, 1).
    """
    clipped = _divided_by_six(node)
    x = _clipped_shift(clipped)
    return () if x is None or not is_floating(x) else (_hard_sigmoid(x),)


def raise_hard_swish(node: ir.Node) -> Sequence[ir.Node]:
    """Rewrite x * HardSigmoid(x) and x * clip(x + 3, 0, 6) / 6 as HardSwish(x), by its definition.

    Opsets before 14 have no HardSwish: there x * HardSigmoid(x) is refused, and the other is rewritten to it.
    """
    x = _gated_by_itself(node)
    if x is None or not is_floating(x):
        return ()
    if opset(node) < _HARD_SWISH_SINCE:
        if node.op_type == "Mul" and any(producer(value, "HardSigmoid") for value in node.inputs):
            raise RefusedError(f"opset {opset(node)} has no HardSwish, wanted {_HARD_SWISH_SINCE} or later")
        gate = _hard_sigmoid(x)
        return gate, ir.node("Mul", [x, gate.outputs[0]])
    return (ir.node("HardSwish", [x]),)


def _hard_sigmoid(x: ir.Value) -> ir.Node:
    return ir.node("HardSigmoid", [x], {"alpha": _SIXTH, "beta": 0.5})


def _divided_by_six(node: ir.Node) -> ir.Value | None:
    """Return v if a node computes v / 6, v * 1/6 or 1/6 * v, else None."""
    if node.op_type == "Div":
        six = scalar_of(node.inputs[1])
        return node.inputs[0] if six == 6 else None
    if node.op_type != "Mul":
        return None
    for factor, other in (node.inputs, reversed(node.inputs)):
        value = scalar_of(factor)
        if value is not None and abs(value - _SIXTH) < 1e-6:
            return other
    return None


def _clipped_shift(value: ir.Value | None) -> ir.Value | None:
    """Return x if a value is clip(x + 3, 0, 6), written with Clip or as Min(Relu(x + 3), 6), else None."""
    clip, least = producer(value, "Clip"), producer(value, "Min")
    shifted = None
    if clip is not None and _bounds(clip) == (0, 6):
        shifted = clip.inputs[0]
    elif least is not None and len(least.inputs) == 2:
        for bound, other in (least.inputs, reversed(least.inputs)):
            relu = producer(other, "Relu")
            if scalar_of(bound) == 6 and relu is not None:
                shifted = relu.inputs[0]
    add = producer(shifted, "Add")
    if add is None:
        return None
    for three, x in (add.inputs, reversed(add.inputs)):
        if scalar_of(three) == 3:
            return x
    return None


def _bounds(clip: ir.Node) -> tuple[float | None, float | None]:
    """(min, max) of a Clip: attributes before opset 11, inputs since then."""
    low, high = (clip.attributes.get(name) for name in ("min", "max"))
    if low and high:
        return low.as_float(), high.as_float()
    low_input, high_input = (clip.inputs[i] if len(clip.inputs) > i else None for i in (1, 2))
    return scalar_of(low_input), scalar_of(high_input)


def _gated_by_itself(node: ir.Node) -> ir.Value | None:
    """Return x if a node is the last one of x * clip(x + 3, 0, 6) / 6 in any form, else None."""
    if node.op_type == "Mul":
        for x, gate in (node.inputs, reversed(node.inputs)):
            sigmoid = producer(gate, "HardSigmoid")
            if sigmoid is not None and sigmoid.inputs[0] is x and is_standard(sigmoid):
                return x
    product = producer(_divided_by_six(node), "Mul")
    if product is not None:
        for x, gate in (product.inputs, reversed(product.inputs)):
            if x is not None and _clipped_shift(gate) is x:
                return x
    return None


def is_standard(sigmoid: ir.Node) -> bool:
    """Whether a HardSigmoid has alpha 1/6 and beta 1/2 as in hard-swish; the operator's defaults are 0.2 and 1/2."""
    alpha, beta = (sigmoid.attributes.get(name) for name in ("alpha", "beta"))
    good_alpha = alpha is not None and abs(alpha.as_float() - _SIXTH) < 1e-6
    return good_alpha and (beta is None or abs(beta.as_float() - 0.5) < 1e-6)


def merge_means(node: ir.Node) -> Sequence[ir.Node]:
    """Rewrite a mean over rows of a mean over columns as GlobalAveragePool and Flatten.

    All rows have the same length, so the mean of their means is the mean over H * W values. This holds for rank 4.
    """
    if node.op_type != "ReduceMean" or reduced_axes(node) != (2,):
        return ()
    columns = producer(node.inputs[0], "ReduceMean")
    if columns is None or reduced_axes(columns) != (3,) or _keeps(columns) or _keeps(node):
        return ()
    source = columns.inputs[0]
    if source is None or source.shape is None or len(source.shape) != 4:
        return ()
    pool = ir.node("GlobalAveragePool", [columns.inputs[0]])
    return pool, ir.node("Flatten", [pool.outputs[0]], {"axis": 1})


def pool_globally(node: ir.Node) -> Sequence[ir.Node]:
    """Rewrite ReduceMean over height and width as GlobalAveragePool, with Flatten if the two axes are dropped.

    This holds for rank 4 with axes (2, 3): both are the mean over the H * W values of each channel. Only
    GlobalAveragePool stays inside ONNX Runtime's blocked layout.
    """
    if node.op_type != "ReduceMean" or reduced_axes(node) != (2, 3):
        return ()
    source = node.inputs[0]
    if source is None or source.shape is None or len(source.shape) != 4:
        return ()
    pool = ir.node("GlobalAveragePool", [source])
    return (pool,) if _keeps(node) else (pool, ir.node("Flatten", [pool.outputs[0]], {"axis": 1}))


def _keeps(node: ir.Node) -> bool:
    """Whether a reduction keeps the reduced axes, with size 1."""
    return "keepdims" not in node.attributes or node.attributes["keepdims"].as_int() == 1


def reduced_axes(node: ir.Node) -> tuple[int, ...]:
    """Axes of a ReduceMean, not negative if the rank is known; an attribute before opset 18, an input since then."""
    source = node.inputs[0]
    axes: Sequence[int] = ()
    if "axes" in node.attributes:
        axes = node.attributes["axes"].as_ints()
    elif len(node.inputs) > 1:
        given = array_of(node.inputs[1])
        axes = [int(axis) for axis in given.reshape(-1)] if given is not None else ()
    rank = len(source.shape) if source is not None and source.shape is not None else None
    return tuple(sorted(axis % rank if rank else axis for axis in axes))


def absorb_shift(node: ir.Node) -> Sequence[ir.Node]:
    """Fold an added constant into the convolution before it: Conv(x) + c, with one c a channel, has the bias b + c.

    Refused where another node reads the convolution's output, which would change.
    """
    if node.op_type != "Add":
        return ()
    for shift, other in (node.inputs, reversed(node.inputs)):
        conv, added = producer(other, "Conv", "ConvTranspose"), array_of(shift)
        if conv is not None and added is not None:
            return (with_shift(conv, node, added),)
    return ()


def with_shift(conv: ir.Node, owner: ir.Node, added: NDArray[Any]) -> ir.Node:
    """Make a convolution that adds one value, or one for each channel, to the output of this one.

    Raises:
        RefusedError: its parameters are not constants, the shapes do not fit, or several nodes read its output.
    """
    weight = array_of(conv.inputs[1])
    bias = array_of(conv.inputs[2]) if len(conv.inputs) > 2 else None
    if weight is None or (len(conv.inputs) > 2 and bias is None):
        raise RefusedError("the convolution's parameters are not constants")
    channels = output_channels(conv, weight)
    channelwise = (channels, *[1] * (weight.ndim - 2))
    if added.ndim > weight.ndim:
        raise RefusedError(f"the node adds a tensor of shape {added.shape}, which has more axes than the output")
    if added.size != 1 and (added.shape[-len(channelwise) :] != channelwise or added.size != channels):
        raise RefusedError(f"the node adds a tensor of shape {added.shape}, wanted one value, or one for each channel")
    if not only_reader(conv.outputs[0]):
        raise RefusedError("the convolution's output is read by another node, too")
    old = np.zeros(channels) if bias is None else np.asarray(bias, dtype=np.float64)
    return with_parameters(conv, owner, weight, old + np.asarray(added, dtype=np.float64).reshape(-1))


RAISE: tuple[Rewrite, ...] = (
    merge_pad,
    raise_hard_sigmoid,
    raise_hard_swish,
    merge_means,
    pool_globally,
    absorb_shift,  # also before batch norms are folded, because some exporters add the bias in between
    fold_batch_norm,
    fold_batch_norm_behind,
    absorb_shift,
)
