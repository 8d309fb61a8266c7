"""Report which operators ONNX Runtime really runs for a file, convolution by convolution.

A runtime decides while it loads a file which operators it fuses, and does not report where it cannot. This module
reads the graph that the runtime's optimiser has written.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph import optimized_graph
from scarlet_zoo.graph.denormals import denormals_of
from scarlet_zoo.graph.inferred import subgraphs_of, with_inner
from scarlet_zoo.graph.load import loadable, read_onnx
from scarlet_zoo.graph.runtime_versions import interpreter_of
from scarlet_zoo.graph.strange import of_strange_file
from scarlet_zoo.utils.files import replacing

_BLOCKED = "com.microsoft.nchwc"
_REORDERS = {"ReorderInput", "ReorderOutput"}
_QUANTISERS = {"QuantizeLinear", "DequantizeLinear"}
_ACTIVATIONS = {"Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Softplus", "Tanh"}
# These operators change only the layout or number type of a convolution's output, not its values.
_TRANSPARENT = _REORDERS | _QUANTISERS | {"Transpose"}
# Operators that hold a graph of their own. Its operators are counted, and not only the operator that holds them.
WITH_SUBGRAPHS = frozenset({"If", "Loop", "Scan"})


@dataclass(frozen=True, slots=True)
class Convolution:
    """How the runtime runs one convolution.

    Attributes:
        name: name of the node in the optimised graph.
        operator: its operator: ``Conv``, ``FusedConv``, ``nchwc.Conv``, ``QLinearConv``, ...
        activation: the activation fused into it; None if there is none.
        follower: the separate operator that computes its activation or its batch norm; None if there is none.
        blocked: whether it runs in the blocked channel layout.
        reorders: number of layout copies and transpositions directly before and after it.
        quantized: whether it computes in integers.
    """

    name: str
    operator: str
    activation: str | None
    follower: str | None
    blocked: bool
    reorders: int
    quantized: bool


@dataclass(frozen=True)
class FusionReport:
    """The operators that a runtime runs for a file.

    Attributes:
        file: the path as it was given.
        runtime: name and version of the runtime.
        machine: processor architecture; the report holds for it only.
        convolutions: all convolutions, in the order of the graph.
        totals: number for each name in :data:`TOTALS`.
        operators: number of nodes of each operator.
    """

    file: str
    runtime: str
    machine: str
    convolutions: tuple[Convolution, ...]
    totals: Mapping[str, int]
    operators: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


TOTALS: Mapping[str, str] = {
    "convolutions": "convolutions in the optimised graph",
    "fused": "convolutions with a fused activation",
    "unfused": "convolutions whose activation is a separate operator",
    "batch_norms": "batch norms that remain",
    "unblocked": "convolutions outside the blocked channel layout: all of them on processors without that layout",
    "reorders": "copies between layouts, transpositions included",
    "float": "convolutions and matrix products that remain in float in a quantised file",
    "stray": "quantise and dequantise operators that are neither at the input nor at the output",
    "denormals": "weights below 1.2e-38, which some processors compute with far more slowly",
}


@of_strange_file("explained")
def inspect(path: str | Path, runtime: str = "ort") -> FusionReport:
    """Report the operators that a runtime runs for a file on this processor.

    Args:
        path: an ``.onnx`` or an ``.ort`` file.
        runtime: ``ort`` for the installed ONNX Runtime, or ``ort==1.22.1`` for another version.

    Raises:
        ArtifactError: the file is missing or is not a network, or the runtime cannot load it.
        ScarletError: the runtime is unknown or cannot be installed.
    """
    path = Path(path)
    if path.suffix != ".ort":
        read_onnx(path)
    elif not path.is_file():
        raise ArtifactError(f"{path}: no such file, wanted an ONNX or ORT file")
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "optimized.onnx"
        with loadable(path) as found, replacing(out) as written:
            versions = _optimize(path, found, written, runtime)
        graph = onnx.load(out, load_external_data=False).graph  # only names and shapes of tensors are needed
    return report_of_graph(str(path), f"onnxruntime {versions['runtime_version']}", versions["machine"], graph)


def _optimize(path: Path, found: Path, out: Path, runtime: str) -> dict[str, str]:
    """Write the optimised graph in a separate process, because a malicious file may crash it."""
    command = [str(interpreter_of(runtime)), optimized_graph.__file__, str(found), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.strip().split("\n") if line]
        reason = lines[-1] if lines else f"exit code {done.returncode}"
        raise ArtifactError(f"{path}: {runtime} does not load it: {reason}")
    versions: dict[str, str] = json.loads(done.stdout)
    return versions


def report_of_graph(file: str, runtime: str, machine: str, graph: onnx.GraphProto) -> FusionReport:
    """Make the report from the graph that a runtime has written after optimising a file, subgraphs included."""
    views = list(_views(graph))
    nodes = [node for view in views for node in view.nodes]
    rows = tuple(_convolution(node, view) for view in views for node in view.nodes if _is_convolution(node))
    operators: dict[str, int] = {}
    for node in nodes:
        operators[_operator(node)] = operators.get(_operator(node), 0) + 1
    quantized = any(node.op_type in _QUANTISERS or node.op_type.startswith("QLinear") for node in nodes)
    matrices = sum(node.op_type in ("Gemm", "MatMul", "FusedGemm", "FusedMatMul") for node in nodes)
    totals = {
        "convolutions": len(rows),
        "fused": sum(row.activation is not None for row in rows),
        "unfused": sum(row.follower is not None for row in rows),
        "batch_norms": sum(node.op_type == "BatchNormalization" for node in nodes),
        "unblocked": sum(not row.blocked for row in rows),
        "reorders": sum(node.op_type in _REORDERS or node.op_type == "Transpose" for node in nodes),
        "float": sum(not row.quantized for row in rows) + matrices if quantized else 0,
        "stray": sum(
            node.op_type in _QUANTISERS and not view.at_the_edge(node) for view in views for node in view.nodes
        ),
        "denormals": denormals_of(graph).weights,
    }
    assert totals.keys() == TOTALS.keys()
    return FusionReport(file, runtime, machine, rows, totals, dict(sorted(operators.items())))


def _views(graph: onnx.GraphProto, outer: _View | None = None, holder: onnx.NodeProto | None = None) -> Iterator[_View]:
    """Yield the view of a graph, and those of the subgraphs that its nodes hold."""
    view = _View(graph, outer, holder)
    yield view
    for node in graph.node:
        for inner in subgraphs_of(node):
            yield from _views(inner, view, node)


class _View:
    """The nodes that write and read each tensor of a graph; of a subgraph also the node that holds it.

    Nodes of subgraphs read tensors of the graphs around them, and so are among the readers of those.
    """

    def __init__(self, graph: onnx.GraphProto, outer: _View | None, holder: onnx.NodeProto | None) -> None:
        self.nodes, self.outer, self.holder = graph.node, outer, holder
        self.writers = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        self.constants: set[str] = {tensor.name for tensor in graph.initializer} | (outer.constants if outer else set())
        for node in with_inner(graph.node):
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
            for inner in subgraphs_of(node):
                self.constants |= {tensor.name for tensor in inner.initializer}
        self.outputs = [value.name for value in graph.output]
        # What enters or leaves a subgraph does not enter or leave the network.
        self.edges = set() if outer else {*self.outputs, *(value.name for value in graph.input)} - self.constants

    def at_the_edge(self, node: onnx.NodeProto) -> bool:
        """Whether a node reads the graph's input or writes its output."""
        return bool(self.edges & {node.input[0], *node.output})

    def after(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Yield the nodes that compute with a node's output, also those behind the node that holds this subgraph."""
        waiting: list[tuple[_View, str]] = [(self, node.output[0])]
        while waiting:
            view, name = waiting.pop()
            for reader in view.readers.get(name, ()):
                if reader.op_type in _TRANSPARENT:
                    waiting.append((view, reader.output[0]))
                else:
                    yield reader
            if view.outer is not None and view.holder is not None and name in view.outputs:
                # The first output of a loop's body is its condition, which the loop does not give.
                place = view.outputs.index(name) - (view.holder.op_type == "Loop")
                if 0 <= place < len(view.holder.output):
                    waiting.append((view.outer, view.holder.output[place]))

    def beside(self, node: onnx.NodeProto) -> int:
        """Number of layout copies and transpositions directly before and after a node."""
        before = self.writers.get(node.input[0])
        behind = self.readers.get(node.output[0], ())
        return sum(other is not None and other.op_type in _REORDERS | {"Transpose"} for other in (before, *behind))


def _is_convolution(node: onnx.NodeProto) -> bool:
    return node.op_type in ("Conv", "FusedConv", "QLinearConv", "ConvInteger", "NhwcFusedConv", "NhwcConv")


def _operator(node: onnx.NodeProto) -> str:
    """The operator's name; in the blocked layout with a prefix, as ``nchwc.Conv``."""
    return f"nchwc.{node.op_type}" if node.domain == _BLOCKED else node.op_type


def _convolution(node: onnx.NodeProto, view: _View) -> Convolution:
    fused = next((attribute.s.decode() for attribute in node.attribute if attribute.name == "activation"), None)
    apart = [
        after.op_type
        for after in view.after(node)
        if after.op_type in _ACTIVATIONS | {"BatchNormalization"} or _shifts(after, view.constants)
    ]
    return Convolution(
        name=node.name,
        operator=_operator(node),
        activation=fused or None,
        follower=sorted(apart)[0] if apart else None,
        blocked=node.domain == _BLOCKED,
        reorders=view.beside(node),
        quantized=node.op_type in ("QLinearConv", "ConvInteger"),
    )


def _shifts(node: onnx.NodeProto, constants: set[str]) -> bool:
    """Whether a node adds a constant, as the first node of a hard-swish written in basic operators does."""
    if node.op_type == "Add":
        return any(name in constants for name in node.input)
    # Inputs are (A, scale, zero, B, scale, zero, ...).
    return node.op_type == "QLinearAdd" and bool(constants & {node.input[0], node.input[3]})
