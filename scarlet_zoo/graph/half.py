"""Write a float32 graph in float16 (IEEE 754 binary16), and measure which of its values float16 cannot hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes import common

from scarlet_zoo.graph.load import open_graph
from scarlet_zoo.graph.onnx_file import OnnxFile

LARGEST = float(np.finfo(np.float16).max)  # 65,504
SMALLEST_NORMAL = float(np.finfo(np.float16).tiny)  # 6.1e-5; a smaller value has fewer than 11 significant bits
# The operators that give the sum of what a mean divides.
_SUM_OF = {"GlobalAveragePool": "GlobalLpPool", "ReduceMean": "ReduceL1"}


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest magnitude that a layer gives on some inputs.

    Attributes:
        node: name of the layer, a node of the graph; of one without a name, that of its first output.
        label: the same in words.
        operator: its operator.
        largest: largest magnitude of its outputs; infinite where it gives an infinite value or none.
        added: for a mean, the largest sum of magnitudes that it divides; 0 for other operators.
    """

    node: str
    label: str
    operator: str
    largest: float = 0.0
    added: float = 0.0


def peaks(source: Path, inputs: Iterable[Mapping[str, NDArray[Any]]]) -> list[Peak]:
    """Run a float32 file on some inputs and find the largest magnitude of every layer, in the order of the graph.

    Args:
        source: the ONNX file. Only its own operators are seen, not those of the subgraphs of If, Loop and Scan.
        inputs: sets of inputs by name.

    Raises:
        ArtifactError: the file is not a valid ONNX graph, or does not run on the inputs.
    """
    model = onnx.shape_inference.infer_shapes(open_graph(source))
    watched = _watch(model)
    file = OnnxFile(source, model.SerializeToString(), optimiser=False)
    makers = {name: node for node in model.graph.node for name in node.output}
    found: dict[str, Peak] = {}
    for feeds in inputs:
        for name, value in zip(file.outputs, file.run(feeds), strict=True):
            node, is_sum = watched[name]
            before = found.get(node.output[0], Peak(_name(node), _label(node, makers), node.op_type))
            size = float(value) if np.isfinite(value) else float("inf")
            if is_sum:
                found[node.output[0]] = replace(before, added=max(before.added, size))
            else:
                found[node.output[0]] = replace(before, largest=max(before.largest, size))
    return list(found.values())


def _name(node: onnx.NodeProto) -> str:
    return node.name or node.output[0]


def _label(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> str:
    """The name of a node; of one that a rewrite made, with no name of a layer, also the one that it follows."""
    name = _name(node)
    before = makers.get(node.input[0]) if node.input and name.startswith("node_") else None
    return name if before is None else f"{name} behind {_label(before, makers)}"


def _watch(model: onnx.ModelProto) -> dict[str, tuple[onnx.NodeProto, bool]]:
    """Replace a model's outputs by the largest magnitude of every float32 tensor that a node gives.

    Returns:
        For each new output its node, and whether it is the sum that a mean divides.
    """
    graph = model.graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output, *graph.input)}
    watched: dict[str, tuple[onnx.NodeProto, bool]] = {}
    for node in list(graph.node):
        # What has no type here is the output of a custom operator.
        for name in (name for name in node.output if types.get(name) == TensorProto.FLOAT):
            graph.node.extend(
                [
                    helper.make_node("Abs", [name], [f"{name}/magnitude"]),
                    helper.make_node("ReduceMax", [f"{name}/magnitude"], [f"{name}/peak"], keepdims=0),
                ]
            )
            watched[f"{name}/peak"] = (node, False)
        if node.op_type in _SUM_OF and types.get(node.output[0]) == TensorProto.FLOAT:
            name, attributes = node.output[0], {one.name: helper.get_attribute_value(one) for one in node.attribute}
            attributes |= {"p": 1} if node.op_type == "GlobalAveragePool" else {}
            graph.node.extend(
                [
                    helper.make_node(_SUM_OF[node.op_type], node.input, [f"{name}/terms"], **attributes),
                    helper.make_node("ReduceMax", [f"{name}/terms"], [f"{name}/sum"], keepdims=0),
                ]
            )
            watched[f"{name}/sum"] = (node, True)
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in watched)
    return watched


def weights_beyond(model: onnx.ModelProto) -> dict[str, float]:
    """The constants that hold a finite value of more than 65,504, with the largest magnitude of each.

    A mask's lowest float32 number is meant as minus infinity and is none of them.
    """
    found = {}
    for name, array in _floats(model):
        sizes = np.abs(array[np.isfinite(array)])
        sizes = sizes[sizes < np.finfo(np.float32).max / 2]
        if sizes.size and float(sizes.max()) > LARGEST:
            found[name] = float(sizes.max())
    return found


def weights_below(model: onnx.ModelProto) -> list[str]:
    """The constants all of whose values are so small that float16 keeps fewer than 11 bits of them."""
    return [name for name, array in _floats(model)
            if array.size > 1 and 0 < float(np.abs(array).max(initial=0)) < SMALLEST_NORMAL]  # fmt: skip


def _floats(model: onnx.ModelProto) -> Iterable[tuple[str, NDArray[Any]]]:
    constants = [(node.output[0], attribute.t) for node in model.graph.node if node.op_type == "Constant"
                 for attribute in node.attribute if attribute.HasField("t")]  # fmt: skip
    for name, tensor in (*((one.name, one) for one in model.graph.initializer), *constants):
        if tensor.data_type == TensorProto.FLOAT:
            yield name, numpy_helper.to_array(tensor)


def in_half(model: onnx.ModelProto, *, keep_io: bool = False, keep_float: Collection[str] = ()) -> onnx.ModelProto:
    """A float32 model written in float16, by ONNX Runtime's own converter: weights, activations and operators.

    Operators for which ONNX or the runtime has no float16 stay in float32 between casts.

    Args:
        model: the model; it is not changed.
        keep_io: keep inputs and outputs float32, with a cast behind and before them.
        keep_float: nodes to leave in float32 between casts, by the names that :func:`peaks` gives them.
    """
    # ONNX Runtime is always there; importing its tools costs as long as the rest of a verb's start.
    from onnxruntime.transformers.float16 import convert_float_to_float16

    own = onnx.ModelProto()
    own.CopyFrom(model)
    for node in own.graph.node:
        node.name = _name(node) if node.output else node.name
    converted = convert_float_to_float16(own, keep_io_types=keep_io, node_block_list=list(keep_float))
    # It declares as float16 also what it leaves in float32, such as the scales of a Resize.
    del converted.graph.value_info[:]
    made = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(converted))
    # The converter puts its casts at the end of the graph.
    common.TopologicalSortPass()(made)
    return ir.serde.serialize_model(made)
