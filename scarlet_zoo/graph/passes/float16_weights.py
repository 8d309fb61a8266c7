"""Weights stored in half precision and computed with in single: half the file, where a download or a disk is slow."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from scarlet_zoo.graph.passes.rewrite import array_of

_SMALLEST = 256
_LARGEST_HALF = float(np.finfo(np.float16).max)


def store_float16_weights(model: ir.Model) -> int:
    """Replace every large float32 constant by its nearest float16 value and a cast back, in place.

    A runtime folds the cast when it loads the file, so that what runs is the float32 graph with weights of 11
    significant bits. Constants with a value beyond 65504 stay as they are.

    Returns:
        How many tensors were replaced.
    """
    count = 0
    for name, value in list(model.graph.initializers.items()):
        array = array_of(value)
        if array is None or array.dtype != np.float32 or array.size < _SMALLEST or np.abs(array).max() > _LARGEST_HALF:
            continue
        tensor = ir.tensor(array.astype(np.float16), name=f"{name}_half")
        half = ir.Value(
            name=tensor.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
        )
        cast = ir.node("Cast", [half], {"to": ir.DataType.FLOAT})
        cast.outputs[0].shape, cast.outputs[0].type = ir.Shape(array.shape), ir.TensorType(ir.DataType.FLOAT)
        for use in list(value.uses()):
            use.node.replace_input_with(use.idx, cast.outputs[0])
        model.graph.register_initializer(half)
        model.graph.initializers.pop(name)
        cast.outputs[0].name = name
        model.graph.insert_before(model.graph[0], [cast])
        count += 1
    return count
