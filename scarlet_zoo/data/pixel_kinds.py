"""Every kind of pixels as 8-bit RGB, and whether an image shows any colour."""

from __future__ import annotations

import numpy as np
from PIL import Image

from scarlet_zoo.data.image_errors import ImageError

_LARGEST_16_BIT = 65535
_LOOKED_AT = 64  # pixels of the longer side that are looked at for colour
_COLOUR = 8  # of 255, by which the channels of a pixel differ at least where it has a colour
# Kinds of pixels that preprocessing converts by itself as it would after the conversion here.
_PLAIN = ("RGB", "L")


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Convert an image to 8-bit RGB: transparent parts on white, 16-bit grey divided by 257, the rest by Pillow.

    Args:
        image: the image.
        name: its name, for the error message.

    Raises:
        ImageError: its samples have neither 8 nor 16 bits.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_deep_grey(image, name)
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        # Pillow converts premultiplied modes only to their plain counterparts.
        plain = image.convert({"RGBa": "RGBA", "La": "LA"}.get(image.mode, image.mode)).convert("RGBA")
        white = Image.new("RGBA", plain.size, "white")
        return Image.alpha_composite(white, plain).convert("RGB")
    return image.convert("RGB")


def is_plain(image: Image.Image) -> bool:
    """Whether an image is 8-bit RGB or grey already, without transparency."""
    return image.mode in _PLAIN and "transparency" not in image.info


def plain(image: Image.Image, name: str) -> Image.Image:
    """Return a plain image as it is, and any other one as RGB.

    Raises:
        ImageError: as for :func:`to_rgb`.
    """
    return image if is_plain(image) else to_rgb(image, name)


def shows_colour(image: Image.Image) -> bool:
    """Whether an image shows colour, whatever kind of pixels it is stored in; shades of 8 in 255 are none."""
    if image.mode not in ("RGB", "RGBA", "P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa", "PA"):
        return False
    small = image.convert("RGB")
    small.thumbnail((_LOOKED_AT, _LOOKED_AT), Image.Resampling.BOX)
    pixels = np.asarray(small, np.int16)
    return bool((pixels.max(2) - pixels.min(2)).max() >= _COLOUR)


def turned_grey_line(images: str, network: str) -> str:
    """The line that says that a network does not see the colours of images.

    Args:
        images: the images that show colour, as ``data FOLDER: the images``.
        network: what takes them.
    """
    return f"{images} show colour, but {network} takes grey images (one channel), so they are turned grey"


def _from_deep_grey(image: Image.Image, name: str) -> Image.Image:
    """Convert 16-bit grey to 8 bits; Pillow's own conversion would clip at 255."""
    values = np.asarray(image)
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > _LARGEST_16_BIT:
        kind = "fractions" if values.dtype.kind == "f" else f"values from {values.min()} to {values.max()}"
        raise ImageError(f"{name}: got samples that are {kind}, wanted 8 or 16 bits", "not 8 or 16 bits")
    grey = np.rint(values / 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")
