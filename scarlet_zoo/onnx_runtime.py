"""An ONNX classifier, ready to answer on ONNX Runtime's CPU provider."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from scarlet_zoo.errors import ArtifactError


class OnnxClassifier:
    """An ONNX classifier on ONNX Runtime's CPU provider.

    Raises:
        ArtifactError: the runtime does not load it, or it has other than one image input.
    """

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # Beside torch in one process, threads that spin between runs only take its cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # The runtime's exceptions have no common base but Exception.
            reason = str(error).strip().split("\n")[0]
            raise ArtifactError(f"{path}: ONNX Runtime {ort.__version__} does not load it: {reason}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or len(outputs) != 1 or len(outputs[0].shape) != 2:
            raise ArtifactError(f"{path}: wanted a classifier, one input (N, C, H, W) and one output (N, classes)")
        self._name = inputs[0].name
        batch, self.channels, height, width = inputs[0].shape
        self.path = path
        self.dynamic_batch = not isinstance(batch, int)
        self.batch = 1 if self.dynamic_batch else int(batch)
        self.size = (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def logits(self, images: NDArray[np.float32], batch: int) -> NDArray[np.float64]:
        """Logits (N, classes) of images (N, C, H, W), run in batches; a last short batch is filled up."""
        parts = []
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            filled = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
            parts.append(self._session.run(None, {self._name: filled})[0][: len(part)])
        return np.concatenate(parts).astype(np.float64)
