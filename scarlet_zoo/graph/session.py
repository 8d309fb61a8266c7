"""An ONNX network on images, ready to answer on ONNX Runtime's CPU provider."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ArtifactError


def run_in_batches(
    once: Callable[[NDArray[Any]], Sequence[NDArray[Any]]], images: NDArray[Any], batch: int
) -> list[NDArray[np.float64]]:
    """All outputs of a function for N images, each (N, ...), in batches; a last short batch is filled up."""
    parts = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        filled = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
        parts.append([output[: len(part)] for output in once(filled)])
    return [np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True)]


class OnnxNetwork:
    """A network with one image input: normalised float32 (N, C, H, W), or pixels uint8 (N, H, W, C).

    Attributes:
        takes_pixels: whether it is the latter.
        outputs: names of its outputs.
        channels, size: of the input; size is (H, W), None where it is dynamic.
        dynamic_batch, batch: whether any batch goes, and the one to use if not.

    Raises:
        ArtifactError: the runtime does not load it, or its input is none of the two.
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
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in ("tensor(float)", "tensor(uint8)"):
            raise ArtifactError(f"{path}: wanted one input, float32 (N, C, H, W) or uint8 (N, H, W, C)")
        self.path, self._name = path, inputs[0].name
        self.takes_pixels = inputs[0].type == "tensor(uint8)"
        self.outputs = [output.name for output in self._session.get_outputs()]
        batch, *sides = inputs[0].shape
        height, width, self.channels = sides if self.takes_pixels else (*sides[1:], sides[0])
        self.dynamic_batch = not isinstance(batch, int)
        self.batch = 1 if self.dynamic_batch else int(batch)
        self.size = (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def feed(self, preprocessing: Preprocessing, pictures: Sequence[Image.Image]) -> NDArray[Any]:
        """Pictures as this network's input."""
        if self.takes_pixels:
            return np.stack([preprocessing.pixels(picture) for picture in pictures])
        return preprocessing.batch(pictures)

    def run(self, images: NDArray[Any], batch: int) -> list[NDArray[np.float64]]:
        """All outputs for N images, each (N, ...), run in batches; a last short batch is filled up."""
        return run_in_batches(lambda part: self._session.run(None, {self._name: part}), images, batch)


class OnnxClassifier(OnnxNetwork):
    """A network with one output, the logits (N, classes).

    Raises:
        ArtifactError: it is something else.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        outputs = self._session.get_outputs()
        if len(outputs) != 1 or len(outputs[0].shape) != 2:
            raise ArtifactError(f"{path}: wanted a classifier, one output (N, classes), got {' '.join(self.outputs)}")

    def logits(self, images: NDArray[Any], batch: int) -> NDArray[np.float64]:
        """Logits (N, classes) of N images, run in batches."""
        return self.run(images, batch)[0]
