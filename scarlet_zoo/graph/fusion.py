"""Will it fuse? What ONNX Runtime really runs of a file, convolution by convolution.

A runtime decides when it loads a file which operators it merges, and says nothing where it does not. The graph
that comes out of its optimiser does: this module reads that graph.
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
from scarlet_zoo.graph.load import read_onnx
from scarlet_zoo.graph.runtime_versions import interpreter_of

_BLOCKED = "com.microsoft.nchwc"
_REORDERS = {"ReorderInput", "ReorderOutput"}
_QUANTISERS = {"QuantizeLinear", "DequantizeLinear"}
_ACTIVATIONS = {"Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Softplus", "Tanh"}
# Between a convolution and what is made of its output these change nothing but where it lies in memory.
_TRANSPARENT = _REORDERS | _QUANTISERS | {"Transpose"}


@dataclass(frozen=True, slots=True)
class Convolution:
    """What became of one convolution.

    Attributes:
        name: of the node that runs.
        operator: what runs: ``Conv``, ``FusedConv``, ``nchwc.Conv``, ``QLinearConv``, ...
        activation: the one that was fused into it.
        follower: the operator that computes its activation, or its batch norm, apart from it.
        blocked: whether it runs in the blocked channel layout.
        reorders: copies from or to that layout, and transpositions, right beside it.
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
    """What a runtime runs of a file.

    Attributes:
        file: as it was named.
        runtime: name and version.
        machine: kind of processor; the answer holds for it only.
        convolutions: in the order of the graph.
        totals: see :data:`TOTALS`.
        operators: how often each operator is run.
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
    "convolutions": "convolutions that run",
    "fused": "convolutions with their activation inside",
    "unfused": "convolutions whose activation is computed apart",
    "batch_norms": "batch norms left",
    "unblocked": "convolutions outside the blocked channel layout, which are all on processors without it",
    "reorders": "copies between layouts, transpositions included",
    "float": "convolutions and products of matrices left in float in a file that is quantised",
    "stray": "quantise and dequantise operators that are neither at the input nor at the output",
}


def inspect(path: str | Path, runtime: str = "ort") -> FusionReport:
    """Say what a runtime on this processor runs of a file.

    Args:
        path: an ``.onnx`` or an ``.ort`` file.
        runtime: ``ort`` for the one that is installed, or ``ort==1.22.1`` for another version.

    Raises:
        ArtifactError: the file is none, or that runtime does not load it.
        ScarletError: that runtime is not to be had.
    """
    path = Path(path)
    if path.suffix != ".ort":
        read_onnx(path)
    elif not path.is_file():
        raise ArtifactError(f"{path}: no such file, wanted an ONNX or ORT file")
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "runs.onnx"
        told = _optimize(path, out, runtime)
        graph = onnx.load(out).graph
    return report_of_graph(str(path), f"onnxruntime {told['runtime_version']}", told["machine"], graph)


def _optimize(path: Path, out: Path, runtime: str) -> dict[str, str]:
    """In a process of its own, whichever version it is: a hostile file may take its process along."""
    command = [str(interpreter_of(runtime)), optimized_graph.__file__, str(path), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.strip().split("\n") if line]
        reason = lines[-1] if lines else f"it ends with code {done.returncode}"
        raise ArtifactError(f"{path}: {runtime} does not load it: {reason}")
    told: dict[str, str] = json.loads(done.stdout)
    return told


def report_of_graph(file: str, runtime: str, machine: str, graph: onnx.GraphProto) -> FusionReport:
    """What the graph says that a runtime on a kind of processor wrote after optimising a file."""
    view = _View(graph)
    rows = tuple(_convolution(node, view) for node in graph.node if _is_convolution(node))
    operators: dict[str, int] = {}
    for node in graph.node:
        operators[_operator(node)] = operators.get(_operator(node), 0) + 1
    quantized = any(node.op_type in _QUANTISERS or node.op_type.startswith("QLinear") for node in graph.node)
    matrices = sum(node.op_type in ("Gemm", "MatMul", "FusedGemm", "FusedMatMul") for node in graph.node)
    totals = {
        "convolutions": len(rows),
        "fused": sum(row.activation is not None for row in rows),
        "unfused": sum(row.follower is not None for row in rows),
        "batch_norms": sum(node.op_type == "BatchNormalization" for node in graph.node),
        "unblocked": sum(not row.blocked for row in rows),
        "reorders": sum(node.op_type in _REORDERS or node.op_type == "Transpose" for node in graph.node),
        "float": sum(not row.quantized for row in rows) + matrices if quantized else 0,
        "stray": sum(node.op_type in _QUANTISERS and not view.at_the_edge(node) for node in graph.node),
    }
    assert totals.keys() == TOTALS.keys()
    return FusionReport(file, runtime, machine, rows, totals, dict(sorted(operators.items())))


class _View:
    """Who makes and who reads each tensor of a graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.makers = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.constants = {tensor.name for tensor in graph.initializer}
        self.edges = {value.name for value in (*graph.input, *graph.output)} - self.constants

    def at_the_edge(self, node: onnx.NodeProto) -> bool:
        """Whether a node reads the graph's input or makes its output."""
        return bool(self.edges & {node.input[0], *node.output})

    def after(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """The operators that compute with a node's output."""
        waiting = list(self.readers.get(node.output[0], ()))
        while waiting:
            reader = waiting.pop()
            if reader.op_type in _TRANSPARENT:
                waiting += self.readers.get(reader.output[0], ())
            else:
                yield reader

    def beside(self, node: onnx.NodeProto) -> int:
        """Copies between layouts right before and behind a node."""
        before = self.makers.get(node.input[0])
        behind = self.readers.get(node.output[0], ())
        return sum(other is not None and other.op_type in _REORDERS | {"Transpose"} for other in (before, *behind))


def _is_convolution(node: onnx.NodeProto) -> bool:
    return node.op_type in ("Conv", "FusedConv", "QLinearConv", "ConvInteger", "NhwcFusedConv", "NhwcConv")


def _operator(node: onnx.NodeProto) -> str:
    """``nchwc.Conv`` for what is in the blocked layout, else the bare name."""
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
    """Whether a node adds a constant, as a hard-swish that is spelled out begins."""
    if node.op_type == "Add":
        return any(name in constants for name in node.input)
    # Inputs are (A, scale, zero, B, scale, zero, ...).
    return node.op_type == "QLinearAdd" and bool(constants & {node.input[0], node.input[3]})
