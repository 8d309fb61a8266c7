"""Compute an int8 file in exact integer arithmetic, whatever the processor.

A product of a uint8 and an int8 has 16 bits. x64 processors without VNNI add two such products in 16 bits and let the
sum saturate in silence, so a file with int8 weights of more than 7 bits gives other answers there. The same weights as
uint8 with zero 128 stand for the same numbers; their products are widened before they are added, on every processor,
and no sum of integers in 32 bits is rounded. So the file with its weights rewritten in this way is the reference: for
golden outputs, for the choice of ranges, for the correction of biases, and for every figure that is printed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from scarlet_zoo.errors import ScarletWarning
from scarlet_zoo.graph.load import read_onnx
from scarlet_zoo.graph.provider import ON_CPU
from scarlet_zoo.graph.quantization.isa import MOST_IN_PAIRS, this_isa
from scarlet_zoo.graph.session import OnnxNetwork
from scarlet_zoo.latency import Provider

# Operators with a sum of products, and the positions of their weight's scale and zero in operator-oriented files.
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_INTEGER_PRODUCTS = {"QLinearConv": (3, 5), "QLinearMatMul": (3, 5), "ConvInteger": (1, 3), "MatMulInteger": (1, 3)}
# What is added to the integers and to their zero.
_RAISED = 128


def _int8_readers(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, int, int]]:
    """Yield the nodes that read the int8 weight of a sum of products, with the positions of the weight and its zero."""
    int8 = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    dequantized = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    seen = set()
    for node in graph.node:
        reader, positions = node, _INTEGER_PRODUCTS.get(node.op_type)
        if node.op_type in _PRODUCTS and len(node.input) > 1 and node.input[1] in dequantized:
            reader, positions = dequantized[node.input[1]], (0, 2)
        if positions is not None and reader.input[positions[0]] in int8 and reader.output[0] not in seen:
            seen.add(reader.output[0])
            yield reader, *positions


def runs_exactly(model: onnx.ModelProto, isa: str | None = None) -> bool:
    """Whether a processor's kernels compute a file's sums of products exactly.

    Without VNNI they do where the int8 weights are small enough, see :mod:`.isa`.

    Args:
        model: the file's model.
        isa: class of the processor; that of this machine when left out.
    """
    if (isa or this_isa()) != "x64":
        return True
    read = {reader.input[at] for reader, at, _ in _int8_readers(model.graph)}
    weights = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name in read)
    return all(int(np.abs(weight.astype(np.int16)).max(initial=0)) <= MOST_IN_PAIRS for weight in weights)


def saturates_here(path: Path) -> bool:
    """Whether a file is an ONNX file on which this processor's kernels saturate."""
    return path.suffix.lower() == ".onnx" and this_isa() == "x64" and not runs_exactly(read_onnx(path))


def warn_if_inexact(path: Path) -> bool:
    """Warn with a :class:`scarlet_zoo.errors.ScarletWarning` if this processor's kernels saturate on an ONNX file.

    Returns:
        Whether they do.
    """
    if not saturates_here(path):
        return False
    warnings.warn(
        f"{path}: has int8 weights, and this processor has no VNNI, so sums saturate and its answers are not the "
        "file's own; for this processor export with --isa x64-avx2",
        ScarletWarning,
        stacklevel=2,
    )
    return True


def exact_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model with its int8 weights as uint8 with zero 128, which every processor computes exactly."""
    exact = onnx.ModelProto()
    exact.CopyFrom(model)
    graph = exact.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for reader, at, zero_at in list(_int8_readers(graph)):
        weight = numpy_helper.to_array(constants[reader.input[at]])
        zero_name = reader.input[zero_at] if len(reader.input) > zero_at else ""
        # Dequantisation has one zero for each of its scales.
        scales = constants.get(reader.input[at + 1])
        shape = tuple(scales.dims) if scales is not None else ()
        zero = numpy_helper.to_array(constants[zero_name]) if zero_name else np.zeros(shape, np.int8)
        for position, array in ((at, weight), (zero_at, zero)):
            name = f"{reader.output[0]}_exact_{position}"
            raised = (array.astype(np.int16) + _RAISED).astype(np.uint8)
            graph.initializer.append(numpy_helper.from_array(raised, name))
            reader.input.extend([""] * (position + 1 - len(reader.input)))
            reader.input[position] = name
    return exact


def exact_network(path: Path) -> OnnxNetwork:
    """Load a file as a network that computes in exact integer arithmetic.

    Raises:
        ArtifactError: the runtime cannot load the file, or it has other inputs than one image.
    """
    return OnnxNetwork(path, exact_model(onnx.load(path)).SerializeToString())


def network_as_written(path: Path, provider: Provider = ON_CPU) -> OnnxNetwork:
    """Load a file to judge what it computes: in exact integer arithmetic, with a warning, where the kernels saturate.

    Args:
        path: the file.
        provider: the execution provider that it runs on; on another one than the CPU, what that computes is judged.

    Raises:
        ArtifactError: the runtime cannot load the file, or it has other inputs than one image.
    """
    if not provider.is_cpu:
        return OnnxNetwork(path, provider=provider)
    return exact_network(path) if warn_if_inexact(path) else OnnxNetwork(path)


# Operators on dequantised tensors whose integer kernels round the result of float arithmetic, or of a table of it.
_ROUND_IN_FLOAT = ("Sigmoid", "LeakyRelu", "AveragePool")


def rounds_in_float(model: onnx.ModelProto) -> bool:
    """Whether a file has integer operators whose rounding may differ in the last step between processors."""
    return any(node.op_type in _ROUND_IN_FLOAT for node in model.graph.node)
