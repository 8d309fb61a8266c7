"""Images for a calibration from any data that the verbs read: data sets by name besides folders and manifests.

It stands apart, because data sets by name need torch, and a calibration on files does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.data.calibration import CalibrationImages, read_calibration
from scarlet_zoo.data.layout import is_named_data
from scarlet_zoo.data.preprocessing import Preprocessing


def read_any_calibration(source: str, feed: Preprocessing, limit: int) -> CalibrationImages:
    """Read images without regard to their labels as network input.

    Args:
        source: the name of a data set, as for :func:`scarlet_zoo.data.datasets.open_data`, of which training images
            are taken; or what :func:`scarlet_zoo.data.calibration.read_calibration` takes.
        feed: the network's preprocessing.
        limit: largest number of images; they are spread evenly over all.

    Raises:
        DatasetError: there is no such data, or no image in it that can be used.
    """
    if not is_named_data(source):
        return read_calibration(source, feed, limit)
    from scarlet_zoo.data.datasets import open_data
    from scarlet_zoo.data.splits import in_order

    images, _ = next(in_order(open_data(source, feed).part("train"), limit, limit))
    return CalibrationImages(source, np.ascontiguousarray(images.numpy()))


def any_calibration_images(source: str, feed: Preprocessing, limit: int) -> NDArray[np.float32]:
    """Read images like :func:`read_any_calibration` as network input, float32 (N, C, H, W)."""
    return read_any_calibration(source, feed, limit).images
