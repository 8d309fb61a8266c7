"""Images for the calibration of quantised networks."""

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
    """Read the images of a folder and its subfolders as network input, float32 (N, C, H, W).

    Args:
        source: a folder; or ``random`` for standard normal noise, which does not represent real value ranges.
        feed: the network's preprocessing.
        limit: largest number of images; they are spread evenly over the folder.

    Raises:
        DatasetError: there is no such folder, or no image in it.
        ImageError: a file with an image's extension that is not an image.
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
        raise DatasetError(f"{folder}: got no images in the folder, wanted {' '.join(EXTENSIONS)}")
    count = min(limit, len(found))
    with strict_decoders():
        return np.stack([prepare_image_file(found[i * len(found) // count], feed) for i in range(count)])
