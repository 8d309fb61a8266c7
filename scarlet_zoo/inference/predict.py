"""Label images with a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scarlet_zoo.inference.answers import AnyImage, Prediction, Progress
from scarlet_zoo.inference.classifier import Classifier
from scarlet_zoo.inference.load import load


def predict(
    network: Classifier | str | Path,
    images: AnyImage | Sequence[AnyImage],
    top: int = 5,
    progress: Progress | None = None,
) -> list[Prediction]:
    """Predict the likeliest classes of images with a trained network.

    Args:
        network: a classifier from :func:`scarlet_zoo.load`, a file, or a name.
        images: one image or several: paths, Pillow images, or uint8 arrays (H, W, 3), or (H, W) for grey.
        top: number of classes for each image.
        progress: called with (done, expected), in images.

    Returns:
        One prediction for each image, in order.

    Raises:
        UntrainedError: the weights of the name or file are random.
        ImageError: a file is not a readable image, or an array has another dtype or shape.
    """
    opened = network if isinstance(network, Classifier) else load(network, trained_only=True)
    return opened.predict(images, top, progress)
