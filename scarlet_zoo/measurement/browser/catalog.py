"""The networks that are served, each with an input and the outputs that it must give for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.session import OnnxNetwork
from scarlet_zoo.latency import MeasurementError, Runner, Settings
from scarlet_zoo.measurement.workloads import Workload

# Largest accepted difference from this host's outputs, over their range: kernels sum in another order, and integer
# kernels round once more where a processor has no instruction for products of bytes.
_TOLERANCE = {"float32": 1e-3, "int8": 0.1}


def tolerance_of(precision: str) -> float:
    """Largest accepted difference of a browser's output from this host's, over the range of this host's outputs."""
    return _TOLERANCE.get(precision, _TOLERANCE["float32"])


@dataclass(frozen=True)
class Served:
    """A network that is served.

    Attributes:
        id: its number in the catalog, by which the page asks for it.
        label: its name in records, as the workload's label.
        network: name of the network.
        artifact: description of its file.
        size: size of the file in bytes.
        input_name: name of its input.
        input: the input to check it with, float32 (N, C, H, W) or uint8 (N, H, W, C).
        outputs: its outputs for that input on this host, by name.
        measured: whether the page measures it; otherwise it only classifies images.
    """

    id: str
    label: str
    network: str
    artifact: Artifact
    size: int
    input_name: str
    input: NDArray[Any]
    outputs: dict[str, NDArray[Any]]
    measured: bool = True

    @property
    def tolerance(self) -> float:
        """Largest accepted difference of an output from this host's, over the range of this host's outputs."""
        return tolerance_of(self.artifact.precision)

    def to_dict(self) -> dict[str, Any]:
        """What the page must know of the network, as JSON values; the input itself is served separately."""
        feed = self.artifact.preprocessing
        return {
            "id": self.id, "label": self.label, "bytes": self.size, "sha256": self.artifact.sha256,
            "precision": self.artifact.precision, "form": self.artifact.form,
            "input": {"name": self.input_name, "type": str(self.input.dtype), "shape": list(self.input.shape)},
            "outputs": {name: value.astype(float).reshape(-1).tolist() for name, value in self.outputs.items()},
            "tolerance": self.tolerance, "labels": self.artifact.labels,
            "preprocessing": None if feed is None else json.loads(feed.to_json()),
            "weights": self.artifact.weights, "measured": self.measured,
        }  # fmt: skip


def catalog(
    workloads: Sequence[Workload], classifier: Workload | None = None, shapes: Sequence[str] = ()
) -> list[Served]:
    """Make the catalog: the workloads in order, then a classifier for images that is not measured, if one is given.

    Args:
        workloads, classifier: their files.
        shapes: shapes of the workloads' inputs with dynamic sides, as for :class:`scarlet_zoo.latency.Settings`.

    Raises:
        ArtifactError: a file is not an ONNX network with one image input, or does not run on this machine.
    """
    found = [_served(str(number), workload, shapes) for number, workload in enumerate(workloads)]
    return found if classifier is None else [*found, replace(_served(str(len(found)), classifier), measured=False)]


def _served(number: str, workload: Workload, shapes: Sequence[str] = ()) -> Served:
    path = workload.path
    if path.suffix != ".onnx":
        raise ArtifactError(f"{path}: is not an ONNX file, wanted one: a browser runs only those")
    artifact = read_artifact(path)
    network = OnnxNetwork(path)
    try:
        runner = Runner(path, Settings(shapes=tuple(shapes)))
        runner.time_ms()  # it runs, and ends
    except MeasurementError as error:
        raise ArtifactError(str(error)) from error
    ((name, fed),) = runner.feeds.items()
    session: ort.InferenceSession = runner.session
    answers = session.run(None, {name: fed})
    outputs = {name: np.asarray(value) for name, value in zip(network.outputs, answers, strict=True)}
    return Served(number, workload.label, workload.network, artifact, path.stat().st_size, name, fed, outputs)
