"""A file that was exported for a target, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.deployment.judged_integers import Judged
from scarlet_zoo.deployment.parity import Parity
from scarlet_zoo.graph.quantization.quantize import Quantized


@dataclass(frozen=True)
class Exported:
    """A file that was exported for a target.

    Attributes:
        path: path of the file.
        target: name of the target.
        described: the file's metadata, or those of the description beside it, as JSON values.
        parity: how well the file agrees with the network; None where that was not verified here.
        quantized: how well an int8 file agrees with the float32 file; None for other precisions.
        judged: the same for an int8 file of a runtime other than ONNX Runtime.
    """

    path: Path
    target: str
    described: dict[str, Any]
    parity: Parity | None = None
    quantized: Quantized | None = None
    judged: Judged | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values; those of ``described``, ``quantized`` and ``judged`` are at the top level."""
        fields = {**self.described, "path": str(self.path), "target": self.target}
        if self.parity is not None:
            fields["parity"] = self.parity.to_dict()
        if self.quantized is not None:
            fields |= {key: value for key, value in self.quantized.to_dict().items() if key not in fields}
        return fields | (self.judged.to_dict() if self.judged is not None else {})
