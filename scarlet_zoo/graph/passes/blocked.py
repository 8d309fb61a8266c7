"""Keep the gates of squeeze-and-excitation inside the blocked channel layout of ONNX Runtime on x64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from scarlet_zoo.graph.passes.batch_norm import groups_of
from scarlet_zoo.graph.passes.rewrite import (
    RefusedError,
    Rewrite,
    array_of,
    constant,
    only_reader,
    opset,
    producer,
)

_RESIZE_SINCE, _RESIZE_MODES_SINCE, _RESIZE_REGION_LEFT_OUT_SINCE = 10, 11, 13


def _image_shape(value: ir.Value | None) -> tuple[int, int, int] | None:
    """(C, H, W) of an image tensor; None if a side is unknown."""
    if value is None or value.shape is None or len(value.shape) != 4:
        return None
    sides = [side for side in value.shape.dims[1:] if isinstance(side, int)]
    return (sides[0], sides[1], sides[2]) if len(sides) == 3 else None


def spread_gate(node: ir.Node) -> Sequence[ir.Node]:
    """Rewrite x * g with g of shape (N, C, 1, 1) as x * resize(g), where nearest resizing repeats the one pixel.

    ONNX Runtime's layout pass handles a nearest Resize and a Mul of equal shapes, but not a Mul that
    broadcasts: there it leaves the layout and returns to it, which copies x twice. The shape of the resized
    tensor is written into the graph because shape inference loses the name of a dynamic batch.
    """
    shapes = [_image_shape(value) for value in node.inputs]
    if node.op_type != "Mul" or None in shapes:
        return ()
    gates = [shape is not None and shape[1:] == (1, 1) for shape in shapes]
    if sum(gates) != 1 or shapes[0][0] != shapes[1][0]:  # type: ignore[index]
        return ()
    gate, image = node.inputs[gates.index(True)], node.inputs[gates.index(False)]
    assert gate is not None
    assert image is not None
    _, height, width = shapes[gates.index(False)]  # type: ignore[misc]
    scales = constant(node, "scales", [1, 1, height, width], np.float32)
    resize = _repeat(node, gate, scales)
    resize.outputs[0].name = f"{node.outputs[0].name}_gate"
    resize.outputs[0].shape, resize.outputs[0].type = image.shape, image.type
    return resize, ir.node("Mul", [image, resize.outputs[0]])


def _repeat(owner: ir.Node, gate: ir.Value, scales: ir.Value) -> ir.Node:
    """Make a nearest Resize as the graph's opset spells it.

    Raises:
        RefusedError: the opset is older than the operator.
    """
    version = opset(owner)
    if version < _RESIZE_SINCE:
        raise RefusedError(f"opset {version} has no Resize, wanted {_RESIZE_SINCE} or later")
    if version < _RESIZE_MODES_SINCE:
        return ir.node("Resize", [gate, scales], {"mode": "nearest"})
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    region = None if version >= _RESIZE_REGION_LEFT_OUT_SINCE else constant(owner, "roi", [], np.float32)
    return ir.node("Resize", [gate, region, scales], how)


def pad_squeeze(node: ir.Node) -> Sequence[ir.Node]:
    """Pad the inner channels of Conv(Relu(Conv(x))) with kernels of one pixel with zeros to a multiple of 4.

    A zero filter with a zero bias gives 0, Relu(0) = 0, and the second convolution's weights for
    these channels are zero, so the function is the same. With 30 channels, as in SCARLET-A, the
    layout pass refuses the second convolution.
    """
    relu = producer(node.inputs[0], "Relu") if node.op_type == "Conv" else None
    squeeze = producer(relu.inputs[0], "Conv") if relu is not None else None
    if squeeze is None or relu is None or not only_reader(relu.outputs[0]):
        return ()
    arrays = [array_of(value) for conv in (squeeze, node) for value in conv.inputs[1:]]
    if len(arrays) != 4 or any(array is None for array in arrays):
        return ()
    w1, b1, w2, b2 = (np.asarray(array) for array in arrays)
    missing = -w1.shape[0] % 4
    if not missing or w1.shape[2:] != (1, 1) or w2.shape[2:] != (1, 1) or w2.shape[1] != w1.shape[0]:
        return ()
    if groups_of(squeeze) != 1:
        return ()
    wider = np.pad(w1, ((0, missing), (0, 0), (0, 0), (0, 0)))
    first = [constant(node, "w1", wider, w1.dtype), constant(node, "b1", np.pad(b1, (0, missing)), b1.dtype)]
    deeper = constant(node, "w2", np.pad(w2, ((0, 0), (0, missing), (0, 0), (0, 0))), w2.dtype)
    own, other = ({name: attribute.value for name, attribute in conv.attributes.items()} for conv in (squeeze, node))
    new_squeeze = ir.node("Conv", [squeeze.inputs[0], *first], own)
    new_relu = ir.node("Relu", [new_squeeze.outputs[0]])
    second = [new_relu.outputs[0], deeper, constant(node, "b2", b2, b2.dtype)]
    return new_squeeze, new_relu, ir.node("Conv", second, other)


BLOCK: tuple[Rewrite, ...] = (pad_squeeze, spread_gate)
