"""Open image files as 8-bit RGB, in the same way for every runtime.

The steps, in this order: take the first frame of an animation; apply the rotation in the camera's EXIF
data; place transparent parts on white; divide 16-bit grey by 257; convert CMYK, palette and grey to RGB
with Pillow (colour profiles are not applied). HEIC files, as phones write them, need the package pillow-heif.
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
from scarlet_zoo.utils.installing import install_command

# Not every format of Pillow: for PostScript it would start another program.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
# Bytes 4 to 12 of a HEIC file: the box "ftyp" and the kind of file.
_HEIC_KINDS = tuple(b"ftyp" + kind for kind in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_LARGEST_16_BIT = 65535
_BROKEN = "broken image"


class ImageError(ScarletError):
    """A file that is not an image, or an image that cannot be read completely.

    Attributes:
        kind: what is wrong in a few words, the same for all files with that fault.
    """

    def __init__(self, message: str, kind: str = _BROKEN) -> None:
        super().__init__(message)
        self.kind = kind


def check_image_path(path: Path) -> None:
    """Check that a path is a regular file, without opening it.

    Raises:
        ImageError: the path is missing, a folder, or not a regular file.
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
    """Return a path as text for JSON and terminals; bytes that are not UTF-8 are written as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def open_image(path: Path, *, upright: bool = True) -> Image.Image:
    """Open an image file, read it completely, and return its first frame as 8-bit RGB.

    Args:
        path: path of the file.
        upright: whether to apply the camera's rotation (EXIF). Torchvision's ``ImageFolder``, with which
            published accuracies were measured, does not apply it.

    Raises:
        ImageError: the file is missing, a folder, not an image, truncated or broken, has too many pixels,
            or has samples whose range is unknown.
    """
    check_image_path(path)
    try:
        if _is_heic(path):
            _open_heic_with_pillow(path)
        with Image.open(path, formats=_readable()) as image:
            image.load()
            if upright:
                # In place, so that the rotation stays if the EXIF data cannot be written back. The EXIF parser raises
                # many kinds of exceptions; the pixels are valid in every case.
                with suppress(Exception):
                    ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image, path)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        kind = "empty file" if path.stat().st_size == 0 else "not an image"
        what = kind if kind == "empty file" else "not an image of a supported format"
        raise ImageError(f"{path}: {what}, wanted one of {', '.join(_FORMATS)}", kind) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{path}: has too many pixels (decompression bomb): {_first_line(error)}", "too many pixels"
        ) from error
    except PermissionError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:
        # On a broken file Pillow's decoders raise many kinds: OSError, SyntaxError, struct.error, EOFError.
        raise ImageError(f"{path}: broken image file: {_first_line(error)}") from error


def prepare_image_file(path: Path, preprocessing: Preprocessing, *, upright: bool = True) -> NDArray[np.float32]:
    """Read an image file as a network's input, float32 of shape (C, H, W).

    Raises:
        ImageError: the file cannot be opened, or the image is so narrow that resizing it would fill the memory.
    """
    return prepare_image(open_image(path, upright=upright), preprocessing, str(path))


def prepare_image(image: Image.Image, preprocessing: Preprocessing, name: str = "image") -> NDArray[np.float32]:
    """Convert an image to a network's input, float32 of shape (C, H, W).

    Args:
        image: the image.
        preprocessing: the network's preprocessing.
        name: name of the image, for the error message.

    Raises:
        ImageError: the image is so narrow that resizing it would fill the memory.
    """
    if preprocessing.size[0] == preprocessing.size[1] and Image.MAX_IMAGE_PIXELS is not None:
        # The shorter side is resized to a fixed length; the longer one has no limit.
        short = preprocessing.size[0] / preprocessing.crop
        resized = short * short * max(image.size) / min(image.size)
        if resized > 2 * Image.MAX_IMAGE_PIXELS:
            raise ImageError(f"{name}: {image.width} x {image.height} pixels, too narrow to be resized", "too narrow")
    return preprocessing(image)


@contextmanager
def strict_decoders() -> Iterator[None]:
    """Make Pillow raise errors for truncated files and print nothing, while the ``with`` block runs.

    The settings belong to the whole process, so enter the block in the thread that starts the others.
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


def _is_heic(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(64)
    return head[4:12] in _HEIC_KINDS and b"avif" not in head


def _open_heic_with_pillow(path: Path) -> None:
    """Make Pillow open HEIC files, which it cannot by itself."""
    try:
        import pillow_heif
    except ModuleNotFoundError as error:
        need = f"a HEIC image, for which pillow-heif is not installed, install it with: {install_command('heif')}"
        raise ImageError(f"{path}: is {need}", need) from error
    pillow_heif.register_heif_opener()


def _readable() -> list[str]:
    """Return the supported formats that this build of Pillow can read."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_deep_grey(image, path)
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        # Pillow converts premultiplied modes only to their plain counterparts.
        plain = image.convert({"RGBa": "RGBA", "La": "LA"}.get(image.mode, image.mode)).convert("RGBA")
        white = Image.new("RGBA", plain.size, "white")
        return Image.alpha_composite(white, plain).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image, path: Path) -> Image.Image:
    """Convert 16-bit grey to 8 bits; Pillow's own conversion would clip at 255."""
    values = np.asarray(image)
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > _LARGEST_16_BIT:
        kind = "fractions" if values.dtype.kind == "f" else f"values from {values.min()} to {values.max()}"
        raise ImageError(f"{path}: got samples that are {kind}, wanted 8 or 16 bits", "not 8 or 16 bits")
    grey = np.rint(values / 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
