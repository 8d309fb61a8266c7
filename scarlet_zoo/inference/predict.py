"""Images to named classes, by any network."""

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
    """What a trained network sees in images.

    Args:
        network: from :func:`scarlet_zoo.load`, or what that takes: a file, or a name.
        images: one or several; paths, images of Pillow's, or uint8 arrays (H, W, 3), or (H, W) in grey.
        top: how many classes to name.
        progress: called with (done, expected).

    Returns:
        One prediction an image, in order.

    Raises:
        UntrainedError: a name or file whose weights are random.
        ImageError: a file that is no sound image, or an array of another kind.
    """
    opened = network if isinstance(network, Classifier) else load(network, trained_only=True)
    return opened.predict(images, top, progress)
