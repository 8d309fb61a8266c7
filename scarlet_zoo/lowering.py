"""Graph forms: how an operator is spelled, because that decides what a runtime can fuse.

A form is a list of rewrites of an ONNX graph. Each rewrite is exact, looks at one node, and
either replaces it or leaves it alone.

``native``
    HardSwish, HardSigmoid and GlobalAveragePool as single nodes, whatever the exporter wrote.
``blocked``
    native, and the gates of squeeze-and-excitation kept inside the blocked channel layout
    (NCHWc) that ONNX Runtime uses on x64. Made for that layout; not measured without it.
``released``
    The arithmetic of the released SCARLET code, ``x * clip(x + 3, 0, 6) / 6`` and a mean over rows
    after a mean over columns: the baseline to measure against, never one to ship.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from scarlet_zoo.errors import ExportError

# A rewrite gives the nodes that replace one, the last of them with its output; none to leave it.
Rewrite = Callable[[ir.Node], Sequence[ir.Node]]


def _constant(owner: ir.Node, name: str, value: object, dtype: type) -> ir.Value:
    """An initializer of the owner's graph, named after the owner's output."""
    assert owner.graph is not None
    tensor = ir.tensor(np.asarray(value, dtype=dtype), name=f"{owner.outputs[0].name}_{name}")
    return ir.Value(
        name=tensor.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.numpy().shape), const_value=tensor
    )


def _reduced_axes(node: ir.Node) -> tuple[int, ...]:
    """Axes of a ReduceMean over an input of known rank, from 0; an attribute before opset 18, then an input."""
    source = node.inputs[0]
    if source is None or source.shape is None:
        return ()
    axes: Sequence[int] = ()
    if "axes" in node.attributes:
        axes = node.attributes["axes"].as_ints()
    elif len(node.inputs) > 1 and node.inputs[1] is not None:
        given = ir.convenience.get_const_tensor(node.inputs[1])
        axes = [int(axis) for axis in given.numpy().reshape(-1)] if given is not None else ()
    return tuple(sorted(axis % len(source.shape) for axis in axes))


def pool_globally(node: ir.Node) -> Sequence[ir.Node]:
    """ReduceMean over both sides of an image is GlobalAveragePool, and Flatten where they are dropped.

    Legal for rank 4 with axes (2, 3): both are the mean over H * W values of each channel. Only
    GlobalAveragePool stays inside ONNX Runtime's blocked layout.
    """
    if node.op_type != "ReduceMean" or _reduced_axes(node) != (2, 3):
        return ()
    source = node.inputs[0]
    assert source is not None
    assert source.shape is not None
    if len(source.shape) != 4:
        return ()
    pool = ir.node("GlobalAveragePool", [source])
    keeps = node.attributes["keepdims"].as_int() if "keepdims" in node.attributes else 1
    return (pool,) if keeps else (pool, ir.node("Flatten", [pool.outputs[0]], {"axis": 1}))


def spell_hard_swish(node: ir.Node) -> Sequence[ir.Node]:
    """HardSwish(x) is x * clip(x + 3, 0, 6) / 6 by its definition."""
    if node.op_type != "HardSwish":
        return ()
    shifted, clipped = _shift_and_clip(node)
    product = ir.node("Mul", [node.inputs[0], clipped.outputs[0]])
    return shifted, clipped, product, ir.node("Div", [product.outputs[0], _constant(node, "six", 6.0, np.float32)])


def spell_hard_sigmoid(node: ir.Node) -> Sequence[ir.Node]:
    """HardSigmoid(x) with alpha = 1/6 and beta = 1/2 is clip(x + 3, 0, 6) / 6."""
    if node.op_type != "HardSigmoid" or abs(node.attributes["alpha"].as_float() - 1 / 6) > 1e-6:
        return ()
    shifted, clipped = _shift_and_clip(node)
    return shifted, clipped, ir.node("Div", [clipped.outputs[0], _constant(node, "six", 6.0, np.float32)])


def _shift_and_clip(node: ir.Node) -> tuple[ir.Node, ir.Node]:
    shifted = ir.node("Add", [node.inputs[0], _constant(node, "three", 3.0, np.float32)])
    low, high = _constant(node, "low", 0.0, np.float32), _constant(node, "high", 6.0, np.float32)
    return shifted, ir.node("Clip", [shifted.outputs[0], low, high])


def spell_head_pool(node: ir.Node) -> Sequence[ir.Node]:
    """Flatten of a GlobalAveragePool is the mean over columns, then over rows."""
    if node.op_type != "Flatten" or node.inputs[0] is None:
        return ()
    pool = node.inputs[0].producer()
    if pool is None or pool.op_type != "GlobalAveragePool":
        return ()
    assert node.graph is not None
    if node.graph.opset_imports[""] < 18:
        columns = ir.node("ReduceMean", [pool.inputs[0]], {"axes": [3], "keepdims": 0})
        return columns, ir.node("ReduceMean", [columns.outputs[0]], {"axes": [2], "keepdims": 0})
    last, third = (_constant(node, f"axis{axis}", [axis], np.int64) for axis in (3, 2))
    columns = ir.node("ReduceMean", [pool.inputs[0], last], {"keepdims": 0})
    return columns, ir.node("ReduceMean", [columns.outputs[0], third], {"keepdims": 0})


def _image_shape(value: ir.Value | None) -> tuple[int, int, int] | None:
    """(C, H, W) of an image tensor whose sides are known."""
    if value is None or value.shape is None or len(value.shape) != 4:
        return None
    sides = [side for side in value.shape.dims[1:] if isinstance(side, int)]
    return (sides[0], sides[1], sides[2]) if len(sides) == 3 else None


def spread_gate(node: ir.Node) -> Sequence[ir.Node]:
    """A product x * g with g (N, C, 1, 1) is x * resize(g), the nearest pixel of one pixel being that pixel.

    ONNX Runtime's layout pass handles a nearest Resize and a Mul of equal shapes, but not one that
    broadcasts: there it leaves the layout and comes back, copying x twice. The resized tensor's
    shape is written into the graph because shape inference loses the name of a dynamic batch.
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
    scales = _constant(node, "scales", [1, 1, height, width], np.float32)
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    resize = ir.node("Resize", [gate, None, scales], how)
    resize.outputs[0].name = f"{node.outputs[0].name}_gate"
    resize.outputs[0].shape, resize.outputs[0].type = image.shape, image.type
    return resize, ir.node("Mul", [image, resize.outputs[0]])


def pad_squeeze(node: ir.Node) -> Sequence[ir.Node]:
    """Conv(Relu(Conv(x))) on one pixel, its inner channels filled up with zeros to a multiple of 4.

    A zero filter with a zero bias gives 0, Relu(0) = 0, and the second convolution's weights for
    it are zero: the function is the same. With 30 channels, as in SCARLET-A, the layout pass
    refuses the second convolution.
    """
    relu = node.inputs[0].producer() if node.op_type == "Conv" and node.inputs[0] is not None else None
    squeeze = relu.inputs[0].producer() if relu is not None and relu.op_type == "Relu" and relu.inputs[0] else None
    if squeeze is None or squeeze.op_type != "Conv" or relu is None or len(relu.outputs[0].uses()) != 1:
        return ()
    tensors = [ir.convenience.get_const_tensor(value) for conv in (squeeze, node) for value in conv.inputs[1:] if value]
    if len(tensors) != 4 or any(tensor is None for tensor in tensors):
        return ()
    w1, b1, w2, b2 = (tensor.numpy() for tensor in tensors if tensor is not None)
    missing = -w1.shape[0] % 4
    if not missing or w1.shape[2:] != (1, 1) or w2.shape[2:] != (1, 1) or w2.shape[1] != w1.shape[0]:
        return ()
    wider = np.pad(w1, ((0, missing), (0, 0), (0, 0), (0, 0)))
    first = [_constant(node, "w1", wider, np.float32), _constant(node, "b1", np.pad(b1, (0, missing)), np.float32)]
    deeper = _constant(node, "w2", np.pad(w2, ((0, 0), (0, missing), (0, 0), (0, 0))), np.float32)
    new_squeeze = ir.node("Conv", [squeeze.inputs[0], *first])
    new_relu = ir.node("Relu", [new_squeeze.outputs[0]])
    return new_squeeze, new_relu, ir.node("Conv", [new_relu.outputs[0], deeper, _constant(node, "b2", b2, np.float32)])


FORMS: Mapping[str, tuple[Rewrite, ...]] = {
    "native": (pool_globally,),
    "blocked": (pool_globally, pad_squeeze, spread_gate),
    "released": (pool_globally, spell_hard_swish, spell_hard_sigmoid, spell_head_pool),
}


def lower(model: ir.Model, form: str) -> dict[str, int]:
    """Rewrite a model in place into a form, and clean it: no identities, no dead or duplicate tensors.

    Args:
        model: a model whose shapes are inferred.
        form: one of :data:`FORMS`.

    Returns:
        How often each rewrite was applied.

    Raises:
        ExportError: no such form.
    """
    if form not in FORMS:
        raise ExportError(f"graph form {form!r}: unknown, wanted one of {' '.join(FORMS)}")
    applied = {rewrite.__name__: sum(_apply(rewrite, node) for node in list(model.graph)) for rewrite in FORMS[form]}
    for tidy in (
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.IdentityEliminationPass(),
        common.DeduplicateInitializersPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.TopologicalSortPass(),
        common.NameFixPass(),
    ):
        tidy(model)
    return applied


def accept_pixels(model: ir.Model, mean: Sequence[float], std: Sequence[float]) -> None:
    """Put the preprocessing of a picture of the right size into the graph, in place: uint8 (N, H, W, C) in.

    Normalised values are (p / 255 - mean) / std = (p - 255 mean) / (255 std). The division goes
    into the first convolution's weights, exactly: what it pads with is 0 before and after. The
    mean cannot go into its bias, because the padding is 0 in normalised values, which is the mean
    colour, while a bias would take it for black; so it stays a subtraction in front of the padding.
    """
    image = model.graph.inputs[0]
    assert image.shape is not None
    batch, channels, height, width = image.shape.dims
    pixels = ir.Value(
        name="pixels", type=ir.TensorType(ir.DataType.UINT8), shape=ir.Shape([batch, height, width, channels])
    )
    readers = list(image.uses())
    anchor = readers[0].node
    offset = _constant(anchor, "pixel_mean", 255 * np.reshape(mean, (1, -1, 1, 1)), np.float32)
    cast = ir.node("Cast", [pixels], {"to": ir.DataType.FLOAT})
    planes = ir.node("Transpose", [cast.outputs[0]], {"perm": [0, 3, 1, 2]})
    nodes = [cast, planes, ir.node("Sub", [planes.outputs[0], offset])]
    scale = 1 / (255 * np.asarray(std, dtype=np.float64))
    weight = (
        ir.convenience.get_const_tensor(anchor.inputs[1]) if anchor.op_type == "Conv" and anchor.inputs[1] else None
    )
    fresh = [offset]
    if len(readers) == 1 and weight is not None and weight.shape[1] == len(scale):
        fresh.append(_constant(anchor, "pixel_weight", weight.numpy() * scale.reshape(1, -1, 1, 1), np.float32))
        anchor.replace_input_with(1, fresh[-1])
    else:
        fresh.append(_constant(anchor, "pixel_scale", scale.reshape(1, -1, 1, 1), np.float32))
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


def _apply(rewrite: Rewrite, node: ir.Node) -> bool:
    graph = node.graph
    new = list(rewrite(node)) if graph is not None else []
    if graph is None or not new:
        return False
    output, replaced = new[-1].outputs[0], node.outputs[0]
    output.name, output.shape, output.type = replaced.name, replaced.shape, replaced.type
    for value in {value for made in new for value in made.inputs if value is not None and value.producer() is None}:
        if value.const_value is not None and value.name not in graph.initializers:
            graph.register_initializer(value)
    ir.convenience.replace_nodes_and_values(graph, node, [node], new, [replaced], [output])
    return True
