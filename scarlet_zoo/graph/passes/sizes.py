"""Replace what a graph computes from shapes and constants by constants, where the shapes of its images are fixed.

Networks that pad or resize inside the graph compute amounts of padding, sizes and factors from the shapes of their
tensors, and some compute their weights from others. With images of a fixed size these numbers are the same for every
image: the graph is run for two batch sizes, and a number that is the same in both is a constant.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from scarlet_zoo.graph.passes.rewrite import is_constant

# Operators that read the shape of a tensor and not its values.
_SHAPE_READERS = frozenset({"Shape", "Size"})
# Operators that give other values each time, from nothing or from a shape.
_RANDOM = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"})
_BATCHES = (1, 2)


def data_values(graph: ir.Graph) -> set[ir.Value]:
    """The values that depend on the values of a graph's inputs, and not on their shapes alone; random ones, too."""
    found: set[ir.Value] = {value for value in graph.inputs if value.const_value is None}
    for node in graph:
        if node.op_type in _RANDOM or _reads_data(node, found):
            found.update(node.outputs)
    return found


def fold_sizes(model: ir.Model) -> int:
    """Replace sizes that are the same for every image and batch by constants, in place.

    A graph with an image of unknown size, with several inputs or with subgraphs is left as it is, and so is one that
    does not run on an image of zeros.

    Returns:
        The number of values that were replaced.
    """
    graph = model.graph
    shape = _image_shape(graph)
    if shape is None:
        return 0
    if any(attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
           for node in graph for attribute in node.attributes.values()):  # fmt: skip
        return 0
    data = data_values(graph)
    sizes = [value for node in graph if _reads_data(node, data) for value in node.inputs
             if value is not None and value not in data and not is_constant(value)]  # fmt: skip
    sizes = list(dict.fromkeys(sizes))
    if not sizes:
        return 0
    batch, sides = shape
    batches = _BATCHES if batch is None else (batch,)
    try:
        runs = [_run(model, sizes, (size, *sides)) for size in batches]
    except Exception:
        # ONNX Runtime's exceptions have no common base but Exception.
        return 0
    count = 0
    for position, value in enumerate(sizes):
        arrays = [run[position] for run in runs]
        tensors = all(isinstance(array, np.ndarray) for array in arrays)  # and no sequences
        if tensors and all(np.array_equal(arrays[0], other) for other in arrays[1:]):
            _replace(graph, value, arrays[0])
            count += 1
    return count


def _reads_data(node: ir.Node, data: set[ir.Value]) -> bool:
    return node.op_type not in _SHAPE_READERS and any(value in data for value in node.inputs)


def _image_shape(graph: ir.Graph) -> tuple[int | None, tuple[int, ...]] | None:
    """(batch, sides) of the only input, with None for a batch of any size; None if a side is not fixed."""
    inputs = [value for value in graph.inputs if value.const_value is None]
    if len(inputs) != 1 or inputs[0].shape is None or not len(inputs[0].shape):
        return None
    batch, *sides = (side if isinstance(side, int) else None for side in inputs[0].shape.dims)
    fixed = tuple(side for side in sides if side is not None)
    return (batch, fixed) if len(fixed) == len(sides) else None


def _run(model: ir.Model, values: list[ir.Value], shape: tuple[int, ...]) -> list[NDArray[np.generic]]:
    """Run a model on zeros of this shape, and return these of its values."""
    if not values:
        return []
    probed = model.clone()
    by_name = {value.name: value for node in probed.graph for value in node.outputs}
    probed.graph.outputs.clear()
    probed.graph.outputs.extend(by_name[value.name] for value in values)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    content = ir.serde.serialize_model(probed).SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    source = next(value for value in model.graph.inputs if value.const_value is None)
    dtype = source.dtype.numpy() if source.dtype is not None else np.float32
    arrays: list[NDArray[np.generic]] = session.run(None, {str(source.name): np.zeros(shape, dtype)})
    return arrays


def _replace(graph: ir.Graph, value: ir.Value, array: NDArray[np.generic]) -> None:
    """Let all readers of a value read a constant."""
    name = f"{value.name}_fixed"
    tensor = ir.tensor(array, name=name)
    constant = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
    graph.register_initializer(constant)
    for use in list(value.uses()):
        use.node.replace_input_with(use.idx, constant)
