"""Image files as people have them, opened the one way that every backend then gets.

What is done, in this order: the first frame of an animation; the rotation that a camera noted is
carried out; what is transparent is laid on white; 16-bit grey is divided by 257; CMYK, palette and
grey become RGB as Pillow converts them (colour profiles are not applied).
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ScarletError

# Not all that Pillow reads: a page of PostScript would start another program.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
_LARGEST_16_BIT = 65535


class ImageError(ScarletError):
    """A file that is no image, or one that cannot be read to its end."""


def check_image_path(path: Path) -> None:
    """Refuse what cannot be an image file, without opening it.

    Raises:
        ImageError: missing, a folder, or no regular file.
    """
    try:
        if path.is_file():
            return
        found = "is a folder" if path.is_dir() else "not a regular file" if path.exists() else "no such file"
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read: {error}, wanted an image file") from error
    name_them = ", name the files in it" if path.is_dir() else ""
    raise ImageError(f"{path}: {found}, wanted an image file{name_them}")


def printable(path: Path) -> str:
    """A path as text for JSON and terminals: bytes of a file's name that are none are written out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def open_image(path: Path, *, upright: bool = True) -> Image.Image:
    """Open an image file, read it to its end, and return its first frame as 8-bit RGB.

    Args:
        path: of the file.
        upright: carry out the rotation that the camera noted (EXIF). Torchvision's ``ImageFolder``,
            with which published accuracies were measured, does not.

    Raises:
        ImageError: missing, a folder, no image, truncated or broken, too many pixels, or
            samples of a depth that says nothing of their range.
    """
    check_image_path(path)
    try:
        with Image.open(path, formats=_readable()) as image:
            image.load()
            if upright:
                # In place, so that a note that cannot be written back does not cost the rotation. The parser of notes
                # raises as many kinds as the decoders do, and the pixels are sound.
                with suppress(Exception):
                    ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image, path)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        what = "empty" if path.stat().st_size == 0 else "not an image that is read here"
        raise ImageError(f"{path}: {what}, wanted one of {', '.join(_FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: refused as a decompression bomb: {_first_line(error)}") from error
    except PermissionError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:
        # On a broken file Pillow's decoders raise whatever it trips: OSError, SyntaxError, struct.error, EOFError.
        raise ImageError(f"{path}: a broken image: {_first_line(error)}") from error


def prepare_image_file(path: Path, preprocessing: Preprocessing, *, upright: bool = True) -> NDArray[np.float32]:
    """An image file as a network's input, float32 of shape (C, H, W).

    Raises:
        ImageError: it cannot be opened, or is so narrow that resizing it would fill the memory.
    """
    return prepare_image(open_image(path, upright=upright), preprocessing, str(path))


def prepare_image(image: Image.Image, preprocessing: Preprocessing, name: str = "image") -> NDArray[np.float32]:
    """An image as a network's input, float32 of shape (C, H, W).

    Raises:
        ImageError: it is so narrow that resizing it would fill the memory.
    """
    if preprocessing.size[0] == preprocessing.size[1] and Image.MAX_IMAGE_PIXELS is not None:
        # The shorter side is resized to a fixed length and the longer one follows, however long.
        short = preprocessing.size[0] / preprocessing.crop
        resized = short * short * max(image.size) / min(image.size)
        if resized > 2 * Image.MAX_IMAGE_PIXELS:
            raise ImageError(f"{name}: {image.width} x {image.height} pixels, too narrow to be resized")
    return preprocessing(image)


@contextmanager
def strict_decoders() -> Iterator[None]:
    """Within it Pillow says nothing on its own and refuses truncated files, whatever others have set.

    The settings are the whole process's, so it is for the thread that starts the others.
    """
    lenient, logger = ImageFile.LOAD_TRUNCATED_IMAGES, logging.getLogger("PIL")
    level = logger.level
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient
        logger.setLevel(level)


def _readable() -> list[str]:
    """Our formats that this build of Pillow knows."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_deep_grey(image, path)
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        # Premultiplied modes convert to their plain ones only.
        plain = image.convert({"RGBa": "RGBA", "La": "LA"}.get(image.mode, image.mode)).convert("RGBA")
        white = Image.new("RGBA", plain.size, "white")
        return Image.alpha_composite(white, plain).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image, path: Path) -> Image.Image:
    """16-bit grey to 8 bits: Pillow's own conversion cuts off at 255."""
    values = np.asarray(image)
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > _LARGEST_16_BIT:
        kind = "fractions" if values.dtype.kind == "f" else f"values from {values.min()} to {values.max()}"
        raise ImageError(f"{path}: samples are {kind}, wanted 8 or 16 bits")
    grey = np.rint(values / 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
