"""Run ONNX networks on images with ONNX Runtime, on its CPU provider or another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.load import loadable
from scarlet_zoo.graph.provider import ON_CPU, ProviderError, ProviderSession
from scarlet_zoo.latency import Provider, reason_of


def run_in_batches(
    once: Callable[[NDArray[Any]], Sequence[NDArray[Any]]], images: NDArray[Any], batch: int
) -> list[NDArray[np.float64]]:
    """Apply a function to N images in batches, the last one filled up; returns all outputs, each (N, ...)."""
    parts = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        filled = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
        parts.append([output[: len(part)] for output in once(filled)])
    return [np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True)]


def _are_last(sides: Sequence[Any]) -> bool:
    """Whether the last of three sides is that of the channels: 1 or 3, and the others are larger or dynamic."""
    larger = all(not isinstance(side, int) or side > sides[2] for side in sides[:2] if sides[2] in (1, 3))
    return sides[2] in (1, 3) and sides[0] not in (1, 3) and larger


_TAKEN = ("tensor(float)", "tensor(float16)", "tensor(uint8)")


class OnnxNetwork:
    """A network with one image input: normalised float32 or float16 (N, C, H, W), or pixels uint8 (N, H, W, C).

    A file whose float32 input is (N, H, W, C), as files from TensorFlow have it, is given (N, C, H, W) all the same.

    Attributes:
        takes_pixels: whether the input is uint8 pixels.
        takes_half: whether the input is float16; float32 images are rounded to it.
        channels_last: whether the file's own input is float32 (N, H, W, C).
        outputs, ranks: names of the outputs, and how many axes each has.
        channels, size: channels and (H, W) of the input; size is None if it is dynamic.
        dynamic_batch, batch: whether any batch size works, and the fixed one if not (else 1).

    Raises:
        ArtifactError: the runtime cannot load the file, or it has other inputs; ProviderError is one.
    """

    def __init__(self, path: Path, content: bytes | None = None, provider: Provider = ON_CPU) -> None:
        """Load a network.

        Args:
            path: its file.
            content: the model to run instead of the file's own, serialised.
            provider: the execution provider that it runs on.
        """
        options = ort.SessionOptions()
        options.log_severity_level = 4  # what it would say is in its exceptions
        # Threads that spin between runs would take cores from torch in the same process.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            with loadable(path) if content is None else nullcontext(content) as found:
                model = found if isinstance(found, bytes) else str(found)
                self._opened = ProviderSession(model, options, provider, path)
        except ArtifactError:
            raise
        except Exception as error:
            # The runtime's exceptions have no common base but Exception.
            reason = reason_of(error)
            raise ArtifactError(f"{path}: ONNX Runtime {ort.__version__} does not load it: {reason}") from error
        self._session = self._opened.session
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _TAKEN:
            got = ", ".join(f"{value.type} {value.shape}" for value in inputs)
            raise ArtifactError(
                f"{path}: got {got}, wanted one input, float32 or float16 (N, C, H, W) or uint8 (N, H, W, C)"
            )
        if 0 in inputs[0].shape:
            raise ArtifactError(f"{path}: its input has the shape {inputs[0].shape}, wanted sides of 1 or more")
        self.path, self._name = path, inputs[0].name
        self.takes_pixels = inputs[0].type == "tensor(uint8)"
        self.takes_half = inputs[0].type == "tensor(float16)"
        self.outputs = [output.name for output in self._session.get_outputs()]
        self.ranks = [len(output.shape) for output in self._session.get_outputs()]
        batch, *sides = inputs[0].shape
        self.channels_last = not self.takes_pixels and _are_last(sides)
        last = self.takes_pixels or self.channels_last
        height, width, self.channels = sides if last else (*sides[1:], sides[0])
        self.dynamic_batch = not isinstance(batch, int)
        self.batch = 1 if self.dynamic_batch else int(batch)
        self.size = (height, width) if isinstance(height, int) and isinstance(width, int) else None

    @property
    def provider(self) -> Provider:
        """The execution provider that it runs on."""
        return self._opened.provider

    @property
    def provider_nodes(self) -> dict[str, int]:
        """Number of nodes by provider; empty before the first run, and on the CPU, which runs all."""
        return self._opened.nodes

    def feed(self, preprocessing: Preprocessing, images: Sequence[Image.Image]) -> NDArray[Any]:
        """Prepare images for :meth:`run`: (N, C, H, W), or (N, H, W, C) for pixels."""
        if self.takes_pixels:
            return np.stack([preprocessing.pixels(image) for image in images])
        return preprocessing.batch(images)

    def run(self, images: NDArray[Any], batch: int) -> list[NDArray[np.float64]]:
        """Run N images in batches, and return all outputs, each (N, ...).

        Raises:
            ArtifactError: the runtime does not run the file on them, or an output has no axis of images.
        """
        taken = self.as_taken(images)
        try:
            return run_in_batches(lambda part: self._opened.run({self._name: part}), taken, batch)
        except ProviderError:
            raise
        except Exception as error:
            # As above; and an output that is a scalar or no tensor cannot be cut into images.
            raise ArtifactError(
                f"{self.path}: does not run on images {images.shape[1:]} in batches of {batch}: {reason_of(error)}"
            ) from error

    def as_taken(self, images: NDArray[Any]) -> NDArray[Any]:
        """Images of :meth:`feed` with their axes in the order of the file's own input, and of its type."""
        taken = np.ascontiguousarray(images.transpose(0, 2, 3, 1)) if self.channels_last else images
        return taken.astype(np.float16) if self.takes_half else taken


class OnnxClassifier(OnnxNetwork):
    """A network with one output, the logits (N, classes).

    Raises:
        ArtifactError: the network has other outputs.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        outputs = self._session.get_outputs()
        if len(outputs) != 1 or len(outputs[0].shape) != 2:
            raise ArtifactError(
                f"{path}: got outputs {' '.join(self.outputs)}, wanted a classifier with one output (N, classes)"
            )

    def logits(self, images: NDArray[Any], batch: int) -> NDArray[np.float64]:
        """Run N images in batches, and return their logits (N, classes)."""
        return self.run(images, batch)[0]
