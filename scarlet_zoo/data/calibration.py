"""Images that a network's integers are calibrated on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.data.folders import EXTENSIONS
from scarlet_zoo.data.image_io import prepare_image_file, strict_decoders
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import DatasetError

RANDOM = "random"
_RANDOM_IMAGES = 16


def calibration_images(source: str, feed: Preprocessing, limit: int) -> NDArray[np.float32]:
    """Images of a folder and of those in it, as a network takes them, (N, C, H, W).

    Args:
        source: a folder; or ``random`` for standard normal noise, which says nothing about real ranges.
        feed: of the network.
        limit: at most so many, spread evenly.

    Raises:
        DatasetError: no such folder, or no images in it.
        ImageError: a file with an image's name that is none.
    """
    if source == RANDOM:
        random = np.random.default_rng(0)
        return random.standard_normal((min(limit, _RANDOM_IMAGES), feed.channels, *feed.size)).astype(np.float32)
    folder = Path(source)
    if not folder.is_dir():
        raise DatasetError(
            f"{folder}: {'is a file' if folder.exists() else 'no such folder'}, wanted a folder of images"
        )
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file())
    if not found:
        raise DatasetError(f"{folder}: no images in it, wanted {' '.join(EXTENSIONS)}")
    count = min(limit, len(found))
    with strict_decoders():
        return np.stack([prepare_image_file(found[i * len(found) // count], feed) for i in range(count)])
