"""Fold batch norms into the convolutions and matrix products before or behind them.

A batch norm computes s * x + t for each channel, with s = gamma / sqrt(variance + epsilon) and t = beta - s * mean.
Behind a linear operator s goes into the weights of the output channels and t into the bias. Before one, s goes into
the weights of the input channels and t becomes a bias, which is exact only where no padding is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from scarlet_zoo.graph.passes.rewrite import RefusedError, array_of, constant, only_reader, producer

_LINEAR = ("Conv", "ConvTranspose", "Gemm")
Array = NDArray[np.float64]


def fold_batch_norm(node: ir.Node) -> Sequence[ir.Node]:
    """Fold BatchNormalization into the Conv, ConvTranspose or Gemm before it.

    The weights of output channel k are multiplied by s[k], and the bias becomes s * bias + t. Refused where another
    node reads the operator's output, which would change.
    """
    linear = producer(node.inputs[0], *_LINEAR) if node.op_type == "BatchNormalization" else None
    if linear is None:
        return ()
    scale, shift = affine_of(node)
    weight = array_of(linear.inputs[1])
    if weight is None:
        raise RefusedError("its parameters are not constants")
    if not only_reader(linear.outputs[0]):
        raise RefusedError("the convolution's output is read by another node, too")
    if linear.op_type == "ConvTranspose":
        # Weights are (C_in, C_out / groups, ...), and the input channels of group g give the output channels of g.
        groups = groups_of(linear)
        spread = np.repeat(scale.reshape(groups, -1), weight.shape[0] // groups, axis=0)
        scaled = weight * spread.reshape(weight.shape[0], -1, *[1] * (weight.ndim - 2))
    else:
        axis = _output_axis(linear)
        scaled = weight * scale.reshape(*[1] * axis, -1, *[1] * (weight.ndim - axis - 1))
    return (with_parameters(linear, node, scaled, _bias_of(linear, len(scale)) * scale + shift),)


def fold_batch_norm_behind(node: ir.Node) -> Sequence[ir.Node]:
    """Fold BatchNormalization into the Conv or Gemm behind it, that is, the one that reads it.

    The weights of input channel k are multiplied by s[k], and the sum of all weights times t is added to the bias.
    Refused where a convolution pads: there it reads 0, and not what the norm makes of 0.
    """
    norm = producer(node.inputs[0], "BatchNormalization") if node.op_type in ("Conv", "Gemm") else None
    weight = array_of(node.inputs[1]) if norm is not None else None
    if norm is None or weight is None:
        return ()
    if not only_reader(norm.outputs[0]):
        raise RefusedError("the batch norm before it is read by another node, too")
    if node.op_type == "Conv" and _pads(node):
        raise RefusedError("the batch norm before it cannot pass its padding")
    scale, shift = affine_of(norm)
    wide = np.asarray(weight, dtype=np.float64)
    if node.op_type == "Gemm":
        if "transA" in node.attributes and node.attributes["transA"].as_int():
            raise RefusedError("the batch norm before it is on the axis that is summed only without transA")
        factor = node.attributes["alpha"].as_float() if "alpha" in node.attributes else 1.0
        inputs = 1 - _output_axis(node)
        added = factor * (wide * shift.reshape(*[1] * inputs, -1, *[1] * (1 - inputs))).sum(axis=inputs)
        scaled = wide * scale.reshape(*[1] * inputs, -1, *[1] * (1 - inputs))
    else:
        # Weights are (C_out, C_in / groups, ...): those of one group read the channels of that group.
        groups = groups_of(node)
        each = wide.shape[0] // groups
        shape = (wide.shape[0], -1, *[1] * (wide.ndim - 2))
        scaled = wide * np.repeat(scale.reshape(groups, -1), each, axis=0).reshape(shape)
        moved = wide * np.repeat(shift.reshape(groups, -1), each, axis=0).reshape(shape)
        added = moved.sum(axis=tuple(range(1, wide.ndim)))
    new = with_parameters(node, node, scaled, _bias_of(node, len(added)) + added)
    new.replace_input_with(0, norm.inputs[0])
    return (new,)


def affine_of(norm: ir.Node) -> tuple[Array, Array]:
    """(s, t) of a batch norm.

    Raises:
        RefusedError: it computes its statistics from its input, has several for each channel, or they are computed.
    """
    training = "training_mode" in norm.attributes and norm.attributes["training_mode"].as_int()
    if training or len([value for value in norm.outputs if value.uses() or value.is_graph_output()]) > 1:
        raise RefusedError("it is in training mode")
    if "spatial" in norm.attributes and not norm.attributes["spatial"].as_int():
        raise RefusedError("it has statistics for every pixel")
    parameters = [array_of(value) for value in norm.inputs[1:5]]
    if any(array is None for array in parameters):
        raise RefusedError("its parameters are not constants")
    gamma, beta, mean, variance = (np.asarray(array, dtype=np.float64) for array in parameters)
    epsilon = norm.attributes["epsilon"].as_float() if "epsilon" in norm.attributes else 1e-5
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale


def groups_of(conv: ir.Node) -> int:
    """The number of groups of a convolution."""
    return conv.attributes["group"].as_int() if "group" in conv.attributes else 1


def output_channels(conv: ir.Node, weight: NDArray[Any]) -> int:
    """The number of output channels of a Conv, or of a ConvTranspose, whose weights count those of one group."""
    return int(weight.shape[1] * groups_of(conv)) if conv.op_type == "ConvTranspose" else int(weight.shape[0])


def _output_axis(linear: ir.Node) -> int:
    """The axis of the weights of a Conv or a Gemm that counts output channels."""
    transposed = "transB" in linear.attributes and linear.attributes["transB"].as_int()
    return 1 if linear.op_type == "Gemm" and not transposed else 0


def _bias_of(linear: ir.Node, channels: int) -> Array:
    """The bias of each output channel, (channels,); a Gemm's is multiplied by beta.

    Raises:
        RefusedError: it is computed, or differs between the rows of a Gemm.
    """
    given = linear.inputs[2] if len(linear.inputs) > 2 else None
    if given is None:
        return np.zeros(channels)
    bias = array_of(given)
    if bias is None:
        raise RefusedError("its parameters are not constants")
    if bias.size not in (1, channels) or (bias.size == channels != 1 and bias.shape[-1] != channels):
        raise RefusedError(f"the bias has the shape {bias.shape}, wanted one value for each channel")
    factor = linear.attributes["beta"].as_float() if "beta" in linear.attributes else 1.0
    return factor * np.broadcast_to(np.asarray(bias, dtype=np.float64).reshape(-1), (channels,))


def _pads(conv: ir.Node) -> bool:
    automatic = conv.attributes["auto_pad"].as_string() if "auto_pad" in conv.attributes else "NOTSET"
    pads = conv.attributes["pads"].as_ints() if "pads" in conv.attributes else ()
    return automatic in ("SAME_UPPER", "SAME_LOWER") or (automatic == "NOTSET" and any(pads))


def with_parameters(linear: ir.Node, owner: ir.Node, weight: Any, bias: Any) -> ir.Node:
    """Make an operator like this one with other parameters, in the same precision; a Gemm's bias is added once."""
    own = array_of(linear.inputs[1])
    assert own is not None
    parameters = [constant(owner, "weight", weight, own.dtype), constant(owner, "bias", bias, own.dtype)]
    attributes = {name: attr.value for name, attr in linear.attributes.items() if name != "beta"}
    return ir.node(linear.op_type, [linear.inputs[0], *parameters], attributes, name=linear.name)
