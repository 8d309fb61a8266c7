"""The error of an image that cannot be read, and how the many errors of Pillow become this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from scarlet_zoo.errors import ScarletError

# Not every format of Pillow: for PostScript it would start another program.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
_BROKEN = "broken image"


class ImageError(ScarletError):
    """A file that is not an image, or an image that cannot be read completely.

    Attributes:
        kind: what is wrong in a few words, the same for all files with that fault.
    """

    def __init__(self, message: str, kind: str = _BROKEN) -> None:
        super().__init__(message)
        self.kind = kind


@contextmanager
def errors_of_image(name: str) -> Iterator[None]:
    """Raise what Pillow raises on a broken image as ImageError.

    Args:
        name: the image's file, or where it stands in a data set.
    """
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        path = Path(name)
        kind = "empty file" if path.is_file() and path.stat().st_size == 0 else "not an image"
        what = kind if kind == "empty file" else "not an image of a supported format"
        raise ImageError(f"{name}: {what}, wanted one of {', '.join(FORMATS)}", kind) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name}: has too many pixels (decompression bomb): {_first_line(error)}", "too many pixels"
        ) from error
    except PermissionError as error:
        raise ImageError(f"{name}: cannot be read: {error.strerror}") from error
    except Exception as error:
        # On a broken file Pillow's decoders raise many kinds: OSError, SyntaxError, struct.error, EOFError.
        raise ImageError(f"{name}: broken image file: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
