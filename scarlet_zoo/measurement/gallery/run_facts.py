"""What a browser needs to run a file on an image, with answers of this machine to check its own by."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.graph.artifact import Artifact
from scarlet_zoo.graph.load import read_onnx
from scarlet_zoo.graph.session import OnnxNetwork
from scarlet_zoo.inference.classifier import Classifier
from scarlet_zoo.measurement.browser.catalog import tolerance_of
from scarlet_zoo.utils.names import in_utf8, visible

_FILTERS = ("bilinear", "bicubic", "lanczos")  # of the page's own resize
_DIGITS = 6


class CannotRunError(ScarletError):
    """A file that the page cannot run on an image; the message says why."""


def run_facts(artifact: Artifact, classifier: Classifier) -> dict[str, Any]:
    """Return the JSON values with which the page runs a file.

    They hold the file's answers to :func:`check_image`, which the page computes again before it runs the network.

    Args:
        artifact: the file's description.
        classifier: the file, opened by :func:`scarlet_zoo.inference.load.load`.

    Raises:
        CannotRunError: the page has no such resize, or the runtime's input is none of the page's.
    """
    feed = classifier.preprocessing
    if feed.interpolation not in _FILTERS:
        known = ", ".join(_FILTERS)
        raise CannotRunError(f"its images are resized by {feed.interpolation}, and the page knows {known}")
    network = OnnxNetwork(artifact.path)
    if classifier.batch not in (None, 1):
        raise CannotRunError(f"it takes batches of {classifier.batch} images, and the page gives it one")
    graph = read_onnx(artifact.path).graph
    stored = {tensor.name for tensor in graph.initializer}
    (name,) = (value.name for value in graph.input if value.name not in stored)
    sides = (*feed.size, feed.channels) if network.takes_pixels else (feed.channels, *feed.size)
    image = check_image((1, *sides), pixels=network.takes_pixels)
    (answers, *_) = network.run(image, 1)
    return {
        "bytes": artifact.path.stat().st_size, "sha256": artifact.sha256, "tolerance": tolerance_of(artifact.precision),
        "input": {"name": name, "type": "uint8" if network.takes_pixels else "float32",
                  "channels_last": network.channels_last},
        "preprocessing": json.loads(feed.to_json()),
        "labels": [visible(in_utf8(label)) for label in classifier.labels or ()],
        "probabilities": classifier.gives_probabilities,
        "check": [float(f"{value:.{_DIGITS}g}") for value in answers.reshape(-1).tolist()],
    }  # fmt: skip


def check_image(shape: tuple[int, ...], *, pixels: bool) -> NDArray[Any]:
    """An input of a given shape, of levels that repeat after 256 values; the page's script computes the same bits."""
    levels = (np.arange(int(np.prod(shape))) * 97) % 256
    return (levels.astype(np.uint8) if pixels else (levels / 128 - 1).astype(np.float32)).reshape(shape)
