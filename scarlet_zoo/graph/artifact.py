"""An exported network on disk, and the metadata in its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.stated import stated_labels
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.load import read_onnx
from scarlet_zoo.utils.files import file_sha256
from scarlet_zoo.utils.schema_versions import METADATA_KEY, refuse_newer

_ONNX_DOMAINS = ("", "ai.onnx")


PREPROCESSING_GIVEN = "preprocessing_given"  # in the metadata of a file


@dataclass(frozen=True)
class Artifact:
    """An ONNX file and its metadata.

    Attributes:
        path: path of the file.
        sha256: digest of the file's bytes.
        opset: opset version of the standard operators.
        ir_version: version of the ONNX format.
        form: graph variant, the operators in which the network is written (:mod:`scarlet_zoo.graph.passes.lower`).
        precision: ``float32``, ``int8``, ...
        weights: origin of the weights.
        metadata: all entries of ``metadata_props``.
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
        """The architecture, decoded with the search space in the file; None if the file has none."""
        if "arch" not in self.metadata:
            return None
        if "space" not in self.metadata:
            raise ArtifactError(f"{self.path}: its metadata state an architecture without its space, wanted both")
        return Arch.parse(self.metadata["arch"], SearchSpace.from_json(self.metadata["space"], self.path))

    @property
    def description(self) -> dict[str, str]:
        """The file's metadata, with ``unknown`` for a missing ``form``, ``precision`` or ``weights``."""
        return {**self.metadata, "form": self.form, "precision": self.precision, "weights": self.weights}

    @property
    def given_preprocessing(self) -> Preprocessing | None:
        """The preprocessing, where someone gave it at the export; None where it is the network's own, or not stated."""
        return self.preprocessing if PREPROCESSING_GIVEN in self.metadata else None

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How images are prepared for the network; None if the file does not say."""
        text = self.metadata.get("preprocessing")
        return Preprocessing.from_json(text) if text else None

    @property
    def labels(self) -> list[str] | None:
        """Class names in the order of the logits; None if the file has none."""
        labels = stated_labels(self.metadata, self.path)
        return None if labels is None else list(labels)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values, ``path`` as text."""
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
    """Read the metadata of an ONNX file from any exporter; missing entries are ``unknown``.

    Raises:
        ArtifactError: the file is missing or is not an ONNX file, or a newer version of this package wrote it.
    """
    model = read_onnx(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    refuse_newer("exported file", metadata, path, ArtifactError, METADATA_KEY)
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
