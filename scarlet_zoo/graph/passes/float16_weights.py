"""Store weights in float16 and compute in float32, which halves the file for a slow download or disk."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from scarlet_zoo.graph.passes.rewrite import array_of

_SMALLEST = 256  # smallest number of elements that is worth a cast
_LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


def store_float16_weights(model: ir.Model) -> int:
    """Replace every large float32 constant by its nearest float16 value and a cast back, in place.

    A runtime folds the casts when it loads the file, and then runs the float32 graph with weights of 11
    significant bits. Constants with a magnitude above 65504 are not changed.

    Returns:
        The number of replaced tensors.
    """
    count = 0
    for name, value in list(model.graph.initializers.items()):
        array = array_of(value)
        if (
            array is None
            or array.dtype != np.float32
            or array.size < _SMALLEST
            or np.abs(array).max() > _LARGEST_FLOAT16
        ):
            continue
        tensor = ir.tensor(array.astype(np.float16), name=f"{name}_half")
        stored = ir.Value(
            name=tensor.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
        )
        cast = ir.node("Cast", [stored], {"to": ir.DataType.FLOAT})
        cast.outputs[0].shape, cast.outputs[0].type = ir.Shape(array.shape), ir.TensorType(ir.DataType.FLOAT)
        for use in list(value.uses()):
            use.node.replace_input_with(use.idx, cast.outputs[0])
        model.graph.register_initializer(stored)
        model.graph.initializers.pop(name)
        cast.outputs[0].name = name
        model.graph.insert_before(model.graph[0], [cast])
        count += 1
    return count
