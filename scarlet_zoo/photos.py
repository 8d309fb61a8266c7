"""Real photographs to calibrate and verify with, from scikit-image's wheel (nothing is downloaded)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from PIL import Image

from scarlet_zoo.errors import ScarletError

_FILES = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png", "retina.jpg", "ihc.png",
          "hubble_deep_field.jpg")  # fmt: skip


def photos(count: int) -> list[Image.Image]:
    """Real pictures, always the same: whole photos first, then quarters of them.

    Args:
        count: how many, at most 40.

    Raises:
        ScarletError: scikit-image is not installed.
    """
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise ScarletError("photos: scikit-image is not installed, wanted it: pip install 'scarlet-zoo[all]'")
    folder = Path(found.origin).parent / "data"
    whole = [Image.open(folder / name).convert("RGB") for name in _FILES]
    quarters = [photo.crop(box) for corner in range(4) for photo in whole for box in [_quarter(photo, corner)]]
    pictures = [*whole, *quarters]
    assert 0 < count <= len(pictures), f"{len(pictures)} photos, not {count}"
    return pictures[:count]


def _quarter(photo: Image.Image, corner: int) -> tuple[int, int, int, int]:
    width, height = photo.width // 2, photo.height // 2
    left, top = (corner % 2) * width, (corner // 2) * height
    return left, top, left + width, top + height
