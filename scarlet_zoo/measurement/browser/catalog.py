"""What is handed out: the networks that were named, each with an input and the answer it must give to it."""

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

# Largest difference from this host's answers that passes, over their range: kernels sum in another order, and
# integer ones round once more where a processor has no instruction for a product of bytes.
_TOLERANCE = {"float32": 1e-3, "int8": 0.1}


@dataclass(frozen=True)
class Served:
    """A network that is handed out.

    Attributes:
        id: by which it is asked for.
        label: how its record calls it.
        network: its name.
        artifact: its file.
        size: of the file in bytes.
        input: what it is fed with, float32 (N, C, H, W) or uint8 (N, H, W, C).
        outputs: by name, what it answered on this host.
        measured: whether it is timed; one that is not only answers pictures.
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
        """Largest difference of an answer that passes, over the range of the answers."""
        return _TOLERANCE.get(self.artifact.precision, _TOLERANCE["float32"])

    def to_dict(self) -> dict[str, Any]:
        """What the page must know, as JSON values; the input itself is handed out on its own."""
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


def catalog(workloads: Sequence[Workload], classifier: Workload | None = None) -> list[Served]:
    """The networks, in their order, then one for pictures that is not measured.

    Raises:
        ArtifactError: a file that is no ONNX network with one image input, or does not run here.
    """
    found = [_served(str(number), subject) for number, subject in enumerate(workloads)]
    return found if classifier is None else [*found, replace(_served(str(len(found)), classifier), measured=False)]


def _served(number: str, subject: Workload) -> Served:
    path = subject.path
    if path.suffix != ".onnx":
        raise ArtifactError(f"{path}: wanted an ONNX file, which is what runs in a browser")
    artifact = read_artifact(path)
    network = OnnxNetwork(path)
    try:
        runner = Runner(path, Settings())
    except MeasurementError as error:
        raise ArtifactError(str(error)) from error
    ((name, fed),) = runner.feeds.items()
    session: ort.InferenceSession = runner.session
    answers = session.run(None, {name: fed})
    outputs = {name: np.asarray(value) for name, value in zip(network.outputs, answers, strict=True)}
    return Served(number, subject.label, subject.network, artifact, path.stat().st_size, name, fed, outputs)
