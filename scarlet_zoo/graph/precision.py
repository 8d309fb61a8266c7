"""The precision of a file's weights and arithmetic, from its graph, where its metadata do not say it."""

from __future__ import annotations

from pathlib import Path

from onnx import GraphProto, TensorProto

from scarlet_zoo.graph.artifact import Artifact
from scarlet_zoo.graph.load import read_onnx
from scarlet_zoo.graph.strange import of_strange_file

FLOAT32, FLOAT16, FLOAT16_WEIGHTS, BFLOAT16, INT8 = "float32", "float16", "float16 weights", "bfloat16", "int8"
_INTEGER_OPERATORS = {
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv",
    "QLinearMatMul", "QGemm", "MatMulNBits", "DynamicQuantizeMatMul",
}  # fmt: skip
_HALVES = {TensorProto.FLOAT16: FLOAT16, TensorProto.BFLOAT16: BFLOAT16}
_LINEAR = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


@of_strange_file("read")
def precision_of(path: Path) -> str:
    """The precision of an ONNX file: ``int8`` if any operator is in integers, else that of its linear operators.

    It is ``float16`` or ``bfloat16`` where those take weights of that kind as they are, ``float16 weights`` where
    weights are kept so and computed with in float32, and ``float32`` otherwise.

    Files of any exporter are judged by their operators and tensors, so the metadata of a file cannot mislead.

    Raises:
        ArtifactError: the file is missing or is not an ONNX file.
    """
    model = read_onnx(path)
    graphs: list[GraphProto] = [model.graph]
    nodes = [node for graph in (*graphs, *model.functions) for node in graph.node]
    if any(node.op_type in _INTEGER_OPERATORS for node in nodes):
        return INT8
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    types |= {node.output[0]: attribute.t.data_type for node in nodes for attribute in node.attribute
              if attribute.HasField("t") and node.output}  # fmt: skip
    kinds = [_HALVES[types[name]] for node in nodes if node.op_type in _LINEAR for name in node.input
             if types.get(name) in _HALVES]  # fmt: skip
    if kinds:
        return kinds[0]
    return FLOAT16_WEIGHTS if _HALVES.keys() & types.values() else FLOAT32


def stated_precision(artifact: Artifact) -> str:
    """The precision in a file's metadata, or that of its operators where they do not say it."""
    return precision_of(artifact.path) if artifact.precision == "unknown" else artifact.precision
