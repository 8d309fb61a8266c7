"""Open image files as 8-bit RGB, in the same way for every runtime.

The steps, in this order: take the first frame of an animation; apply the rotation in the camera's EXIF data, where the
network's preprocessing says so; place transparent parts on white; divide 16-bit grey by 257; convert CMYK, palette and
grey to RGB with Pillow (colour profiles are not applied). HEIC files, as phones write them, need pillow-heif.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from scarlet_zoo.data.image_errors import FORMATS, ImageError, errors_of_image
from scarlet_zoo.data.pixel_kinds import to_rgb
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.utils.installing import install_command
from scarlet_zoo.utils.reading import bounded_bytes

# Bytes 4 to 12 of a HEIC file: the box "ftyp" and the kind of file.
_HEIC_KINDS = tuple(b"ftyp" + kind for kind in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_ORIENTATION = 0x0112  # EXIF's tag
_LOOKED_AT = 128  # pixels of the longer side of which means are taken
_FILES = 64  # that are looked at for colour
_COLOUR = 1 / 255  # by which the means of the channels differ at least where there is colour


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
    raise ImageError(f"{path}: {found}, wanted an image file{name_them}", found)


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
    with errors_of_image(str(path)):
        if _is_heic(path):
            _open_heic_with_pillow(path)
        with Image.open(path, formats=_readable()) as image:
            image.load()
            return to_rgb(as_the_camera_was_held(image) if upright else image, str(path))


def as_the_camera_was_held(image: Image.Image) -> Image.Image:
    """Apply the rotation that an image's EXIF data state, in place; an image without it stays as it is."""
    # In place, so that the rotation stays if the EXIF data cannot be written back. The EXIF parser raises many kinds of
    # exceptions; the pixels are valid in every case.
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    return image


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image file that was read completely.

    Attributes:
        width, height: its sides in pixels, as they lie in the file.
        mode: Pillow's name of its kind of pixels, such as ``RGB``, ``L``, ``CMYK`` or ``I;16``.
        format: Pillow's name of its format.
        turned: whether its EXIF data state a rotation or a reflection.
        sha256: the first 32 digits of the digest of its bytes.
        mean: mean of the red, green and blue pixels, of values in [0, 1].
        square: mean of their squares.
    """

    width: int
    height: int
    mode: str
    format: str
    turned: bool
    sha256: str
    mean: tuple[float, ...]
    square: tuple[float, ...]

    @property
    def shows_colour(self) -> bool:
        """Whether it shows colour, whatever kind of pixels it is stored in, as far as its means tell."""
        return any(max(values) - min(values) > _COLOUR for values in (self.mean, self.square))


def look_at_image(path: Path) -> ImageFacts:
    """Read an image file completely and return what is known of it; means are of the image at 128 pixels or less.

    Raises:
        ImageError: as for :func:`open_image`.
    """
    check_image_path(path)
    with errors_of_image(str(path)):
        if _is_heic(path):
            _open_heic_with_pillow(path)
        content = bounded_bytes(path)
        with Image.open(io.BytesIO(content), formats=_readable()) as image:
            (width, height), mode, kind, turned = image.size, image.mode, str(image.format), is_turned(image)
            # A JPEG is decoded at a smaller size, which is faster and reads it to its end too.
            image.draft(None, (2 * _LOOKED_AT, 2 * _LOOKED_AT))
            image.load()
            small = to_rgb(image, str(path))
        small.thumbnail((_LOOKED_AT, _LOOKED_AT), Image.Resampling.BOX)
        pixels = np.asarray(small, np.float32).reshape(-1, 3) / np.float32(255)
        mean, square = ([round(float(value), 5) for value in part.mean(0)] for part in (pixels, pixels * pixels))
    digest = hashlib.sha256(content).hexdigest()[:32]
    return ImageFacts(width, height, mode, kind, turned, digest, tuple(mean), tuple(square))


def any_shows_colour(files: Sequence[Path]) -> bool:
    """Whether one of some image files, spread evenly over all of them, shows colour; broken ones do not count."""
    step = max(len(files) // _FILES, 1)
    for file in files[::step]:
        with suppress(ImageError):
            if look_at_image(file).shows_colour:
                return True
    return False


def is_turned(image: Image.Image) -> bool:
    """Whether the EXIF data of an image state a rotation or a reflection."""
    with suppress(Exception):
        return image.getexif().get(_ORIENTATION, 1) in range(2, 9)
    return False


def prepare_image_file(path: Path, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Read an image file as a network's input, float32 of shape (C, H, W).

    Raises:
        ImageError: the file cannot be opened, or the image is so narrow that resizing it would fill the memory.
    """
    return prepare_image(open_image(path, upright=preprocessing.upright), preprocessing, str(path))


def prepare_image(image: Image.Image, preprocessing: Preprocessing, name: str = "image") -> NDArray[np.float32]:
    """Convert an image to a network's input, float32 of shape (C, H, W).

    Args:
        image: the image.
        preprocessing: the network's preprocessing.
        name: name of the image, for the error message.

    Raises:
        ImageError: the image is so narrow that resizing it would fill the memory.
    """
    check_narrowness(*image.size, preprocessing, name)
    return preprocessing(image)


def check_narrowness(width: int, height: int, preprocessing: Preprocessing, name: str) -> None:
    """Check that an image's sides can be resized for a network.

    Raises:
        ImageError: the image is so narrow that resizing it would fill the memory.
    """
    if preprocessing.size[0] == preprocessing.size[1] and Image.MAX_IMAGE_PIXELS is not None:
        # The shorter side is resized to a fixed length; the longer one has no limit.
        short = preprocessing.size[0] / preprocessing.crop
        resized = short * short * max(width, height) / min(width, height)
        if resized > 2 * Image.MAX_IMAGE_PIXELS:
            raise ImageError(f"{name}: {width} x {height} pixels, too narrow to be resized", "too narrow")


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
    return [name for name in FORMATS if name in Image.OPEN]
