"""An exported network on disk, and what its file says about itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.graph.load import read_onnx
from scarlet_zoo.utils.files import file_sha256

_ONNX_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Artifact:
    """An ONNX file and its own description.

    Attributes:
        path: where it is.
        sha256: digest of its bytes.
        opset: version of the standard operators.
        ir_version: version of the ONNX format.
        form: how its operators are spelled (see :mod:`scarlet_zoo.graph.passes.lower`).
        precision: ``float32``, ``int8``, ...
        weights: where the weights come from.
        metadata: all that ``metadata_props`` holds.
    """

    path: Path
    sha256: str
    opset: int
    ir_version: int
    form: str
    precision: str
    weights: str
    metadata: dict[str, str]

    @property
    def arch(self) -> Arch | None:
        """The architecture, decoded with the search space that the file carries."""
        if "arch" not in self.metadata:
            return None
        return Arch.parse(self.metadata["arch"], SearchSpace.from_json(self.metadata["space"]))

    @property
    def description(self) -> dict[str, str]:
        """All that the file says of itself; form, precision and weights are ``unknown`` where it does not say them."""
        return {**self.metadata, "form": self.form, "precision": self.precision, "weights": self.weights}

    @property
    def preprocessing(self) -> Preprocessing | None:
        """What the network wants to be fed, if the file says so."""
        text = self.metadata.get("preprocessing")
        return Preprocessing.from_json(text) if text else None

    @property
    def labels(self) -> list[str] | None:
        """Class names in the order of the logits, if the file carries them."""
        text = self.metadata.get("labels")
        return list(json.loads(text)) if text else None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values, ``path`` as text."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "opset": self.opset,
            "ir_version": self.ir_version,
            "form": self.form,
            "precision": self.precision,
            "weights": self.weights,
            "metadata": self.metadata,
        }


def read_artifact(path: Path) -> Artifact:
    """Open an ONNX file of any origin; what it does not say of itself is ``unknown``.

    Raises:
        ArtifactError: it is no ONNX file.
    """
    model = read_onnx(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    opset = next((entry.version for entry in model.opset_import if entry.domain in _ONNX_DOMAINS), 0)
    return Artifact(
        path=path,
        sha256=file_sha256(path),
        opset=opset,
        ir_version=model.ir_version,
        form=metadata.get("form", "unknown"),
        precision=metadata.get("precision", "unknown"),
        weights=metadata.get("weights", "unknown"),
        metadata=metadata,
    )
