"""What a network can be exported to: for each target its graph form, its numbers, and what it needs installed."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scarlet_zoo.errors import ExportError, unknown_name


@dataclass(frozen=True, slots=True)
class Target:
    """A runtime, with the spelling that is the fastest exact one on it.

    Attributes:
        form: of the graph, see :mod:`scarlet_zoo.graph.passes.lower`.
        runtime: that runs the file, see :mod:`scarlet_zoo.deployment.runtimes.registry`.
        precision: ``float32`` or ``int8``.
        suffix: of the file.
        why: where the choice comes from.
    """

    form: str
    runtime: str
    precision: str
    suffix: str
    why: str


def _here() -> str:
    return "blocked" if platform.machine().lower() in ("x86_64", "amd64") else "native"


_OWN = "what its own converter makes of the network"
TARGETS: Mapping[str, Target] = MappingProxyType({
    "native": Target("native", "ort", "float32", ".onnx", "the operators that every runtime knows"),
    "ort": Target(_here(), "ort", "float32", ".onnx", "ort-x64 or ort-arm64, as this machine is"),
    "ort-x64": Target("blocked", "ort", "float32", ".onnx", "benchmarks/results/spelling.json"),
    "ort-arm64": Target("native", "ort", "float32", ".onnx", "its wheels have no blocked layout; not measured"),
    "ort-int8": Target("friendly", "ort", "int8", ".onnx", "benchmarks/results/int8.json"),
    "openvino": Target("native", "openvino", "float32", ".xml", _OWN),
    "ncnn": Target("native", "ncnn", "float32", ".ncnn.param", _OWN),
    "litert": Target("native", "litert", "float32", ".tflite", _OWN),
    "executorch": Target("native", "executorch", "float32", ".pte", _OWN),
    "coreml": Target("native", "coreml", "float32", ".mlpackage", "converted only: Core ML runs on Apple's systems"),
})  # fmt: skip


def float_variant(name: str) -> str:
    """The graph variant of a target of ONNX Runtime in float32.

    Raises:
        UnknownNameError: no such target; the message lists them.
        ExportError: another runtime or precision.
    """
    found = get_target(name)
    if (found.runtime, found.precision) != ("ort", "float32"):
        known = [key for key, entry in TARGETS.items() if (entry.runtime, entry.precision) == ("ort", "float32")]
        raise ExportError(f"target {name!r}: not for this verb, wanted one of {' '.join(known)}")
    return found.form


def get_target(name: str) -> Target:
    """The target of a name.

    Raises:
        UnknownNameError: no such target; the message lists them.
    """
    if name not in TARGETS:
        raise unknown_name("target", name, TARGETS)
    return TARGETS[name]
