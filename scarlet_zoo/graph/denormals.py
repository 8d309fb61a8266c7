"""Denormal weights: numbers below 2^-126, which some processors compute with far more slowly than others.

Training drives weights of channels that nobody reads towards zero and stops at such numbers; networks with random
weights have none, so a latency that is measured on them does not show it. A weight of that size can only change an
output that is as small itself. So they become zero where the outputs stay the same to the last bit, and are reported
where they do not.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from scarlet_zoo.errors import ScarletWarning
from scarlet_zoo.graph.onnx_file import OnnxFile

SMALLEST_NORMAL = 2.0**-126  # of float32
METADATA = "denormals_flushed"
_SEEDS = 4


@dataclass(frozen=True)
class Denormals:
    """The denormal weights of a graph.

    Attributes:
        weights: how many there are.
        tensors: names of the tensors that have some.
        flushed: whether they are zero now.
    """

    weights: int
    tensors: tuple[str, ...]
    flushed: bool = False

    def __str__(self) -> str:
        return f"{self.weights:,} of {len(self.tensors)} tensors"


def denormals_of(graph: onnx.GraphProto) -> Denormals:
    """Count the denormal float32 weights of a graph, without those that are in other files."""
    found = {tensor.name: int(_places(numpy_helper.to_array(tensor)).sum()) for tensor in _tensors(graph)}
    named = tuple(name for name, count in found.items() if count)
    return Denormals(sum(found.values()), named)


def flush_denormals(model: onnx.ModelProto, path: Path, shapes: Sequence[str] = ()) -> Denormals:
    """Make the denormal weights of a graph zero, in place, if its outputs stay the same to the last bit.

    They are compared on random inputs, on ONNX Runtime. What was made zero is stated in the graph's metadata; where an
    output would change, nothing is changed and a warning says so.

    Args:
        model: the graph, with its weights inside.
        path: where it is going to be written, for messages.
        shapes: shapes of inputs with dynamic sides other than the batch, such as ``1,3,48,320``.

    Raises:
        ArtifactError: the graph has denormal weights and cannot be run on these shapes.
    """
    found = denormals_of(model.graph)
    if not found.weights:
        return found
    flushed = onnx.ModelProto()
    flushed.CopyFrom(model)
    for tensor in _tensors(flushed.graph):
        values = numpy_helper.to_array(tensor)
        if (small := _places(values)).any():
            tensor.CopyFrom(numpy_helper.from_array(np.where(small, np.float32(0), values), tensor.name))
    if not _same_bits(model, flushed, path, shapes):
        warnings.warn(f"{path}: {found} are denormal, below 1.2e-38 (first: {found.tensors[0]}), which some processors "
                      "compute with far more slowly; zero in their place would change its outputs, so "
                      "they stay", ScarletWarning, stacklevel=2)  # fmt: skip
        return found
    model.CopyFrom(flushed)
    model.metadata_props.add(key=METADATA, value=str(found))
    return Denormals(found.weights, found.tensors, flushed=True)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """The float32 tensors of a graph that are weights: initializers and constants."""
    constants = (attribute.t for node in graph.node if node.op_type == "Constant" for attribute in node.attribute
                 if attribute.name == "value")  # fmt: skip
    for tensor in (*graph.initializer, *constants):
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.data_location != onnx.TensorProto.EXTERNAL:
            yield tensor


def _places(values: np.ndarray) -> np.ndarray:
    """Where values are denormal, without a product or a sum, which could flush them."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32) & np.uint32(0x7FFFFFFF)
    places: np.ndarray = (bits > 0) & (bits < np.uint32(0x00800000))
    return places


def _same_bits(model: onnx.ModelProto, flushed: onnx.ModelProto, path: Path, shapes: Sequence[str]) -> bool:
    """Whether two graphs give the same outputs to the last bit."""
    before, after = (OnnxFile(path, one.SerializeToString()) for one in (model, flushed))
    for seed in range(_SEEDS):
        feeds = {name: before.random(name, shape, seed) for name, shape in before.shapes(shapes).items()}
        both = zip(before.run(feeds), after.run(feeds), strict=True)
        if any(ours.tobytes() != theirs.tobytes() for ours, theirs in both):
            return False
    return True
