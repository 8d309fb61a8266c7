"""Images for calibration and verification: photographs from scikit-image's wheel, and extreme images."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.installing import install_command

_FILES = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png", "retina.jpg", "ihc.png",
          "hubble_deep_field.jpg")  # fmt: skip


def photos(count: int) -> list[Image.Image]:
    """Return photographs, always the same ones: whole photographs first, then quarters of them.

    Args:
        count: number of images, at most 40.

    Raises:
        ScarletError: scikit-image is not installed.
    """
    images = _all_photos()
    assert 0 < count <= len(images), f"{len(images)} photos, not {count}"
    return [image.copy() for image in images[:count]]


@cache
def _all_photos() -> list[Image.Image]:
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise ScarletError(
            f"photos: scikit-image is not installed, install it with: {install_command('all', ['scikit-image'])}"
        )
    folder = Path(found.origin).parent / "data"
    whole = [Image.open(folder / name).convert("RGB") for name in _FILES]
    quarters = [photo.crop(box) for corner in range(4) for photo in whole for box in [_quarter(photo, corner)]]
    return [*whole, *quarters]


def _quarter(photo: Image.Image, corner: int) -> tuple[int, int, int, int]:
    width, height = photo.width // 2, photo.height // 2
    left, top = (corner % 2) * width, (corner // 2) * height
    return left, top, left + width, top + height


def extremes(channels: int, height: int, width: int) -> NDArray[np.float32]:
    """Return four extreme images, with values slightly beyond those of normalised pixels.

    They are black, white, black and white quarters, and one bright channel.

    Returns:
        float32 of shape (4, C, H, W).
    """
    shape = (channels, height, width)
    black, white, one_channel = np.full(shape, -3.0), np.full(shape, 3.0), np.zeros(shape)
    quarters = 3.0 * np.outer(*(np.where(np.arange(side) < side // 2, 1.0, -1.0) for side in (height, width)))
    one_channel[0] = 3.0
    return np.stack([black, white, np.broadcast_to(quarters, shape), one_channel]).astype(np.float32)
