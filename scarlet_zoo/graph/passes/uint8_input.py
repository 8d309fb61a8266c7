"""Move the preprocessing of images into the graph, exactly, so that the input is uint8 pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from scarlet_zoo.graph.passes.rewrite import array_of, constant


def take_uint8_input(model: ir.Model, mean: Sequence[float], std: Sequence[float]) -> None:
    """Move the normalisation of images into the graph, in place; the new input is uint8 (N, H, W, C).

    Normalised values are (p / 255 - mean) / std = (p - 255 mean) / (255 std). The division goes into
    the weights of the first convolution. This is exact, because the padding is 0 before and after it.
    The mean cannot go into the bias: a padding of 0 stands for the mean colour in normalised values,
    but for black in pixels. So a subtraction before the padding remains.

    Args:
        model: a model with one float32 image input (N, C, H, W).
        mean, std: mean and standard deviation of each channel, for values from 0 to 1.
    """
    image = model.graph.inputs[0]
    assert image.shape is not None
    batch, channels, height, width = image.shape.dims
    pixels = ir.Value(
        name="pixels", type=ir.TensorType(ir.DataType.UINT8), shape=ir.Shape([batch, height, width, channels])
    )
    readers = list(image.uses())
    anchor = readers[0].node
    offset = constant(anchor, "pixel_mean", 255 * np.reshape(mean, (1, -1, 1, 1)), np.float32)
    cast = ir.node("Cast", [pixels], {"to": ir.DataType.FLOAT})
    planes = ir.node("Transpose", [cast.outputs[0]], {"perm": [0, 3, 1, 2]})
    nodes = [cast, planes, ir.node("Sub", [planes.outputs[0], offset])]
    scale = 1 / (255 * np.asarray(std, dtype=np.float64))
    weight = array_of(anchor.inputs[1]) if anchor.op_type == "Conv" else None
    fresh = [offset]
    if len(readers) == 1 and weight is not None and weight.shape[1] == len(scale):
        fresh.append(constant(anchor, "pixel_weight", np.asarray(weight) * scale.reshape(1, -1, 1, 1), np.float32))
        anchor.replace_input_with(1, fresh[-1])
    else:
        fresh.append(constant(anchor, "pixel_scale", scale.reshape(1, -1, 1, 1), np.float32))
        nodes.append(ir.node("Mul", [nodes[-1].outputs[0], fresh[-1]]))
    for value in fresh:
        model.graph.register_initializer(value)
    for reader in readers:
        reader.node.replace_input_with(reader.idx, nodes[-1].outputs[0])
    model.graph.insert_before(anchor, nodes)
    pixels.name = image.name
    image.name = "unused"
    model.graph.inputs[0] = pixels
    common.RemoveUnusedNodesPass()(model)
    common.NameFixPass()(model)
