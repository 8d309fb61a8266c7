"""Fashion-MNIST, read from the files of Debian's package, or downloaded once."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.errors import DatasetError
from scarlet_zoo.utils.files import cache_folder

# Where Debian's package dataset-fashion-mnist puts its files.
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_MNIST_CLASSES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
                         "ankle boot")  # fmt: skip
_SIDES = (28, 28)
_PARTS = {"train": ("train", 60_000), "test": ("t10k", 10_000)}
_MOST_BYTES = 256 * 2**20  # of an unpacked file; the largest has 47 million
# The IDX format's code for unsigned bytes.
_UINT8 = 0x08


def fashion_mnist(part: str, folder: Path | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one part of Fashion-MNIST: images uint8 (N, 28, 28, 1) and class indices int64 (N,).

    Args:
        part: ``train`` or ``test``.
        folder: folder of the four .gz files; when left out, the folder of Debian's package, else the user's
            cache, into which torchvision downloads them once.

    Raises:
        DatasetError: the files are missing, truncated or of another format.
    """
    name, count = _PARTS[part]
    folder = folder or _fashion_mnist_folder(name)
    images = _read_idx(folder / f"{name}-images-idx3-ubyte.gz", dimensions=3)
    labels = _read_idx(folder / f"{name}-labels-idx1-ubyte.gz", dimensions=1)
    if len(images) != len(labels):
        raise DatasetError(f"{folder}: got {len(images)} images and {len(labels)} labels, wanted {count} of each")
    _check_parts(images, labels, folder)
    return images[..., None], labels.astype(np.int64)


def _check_parts(images: NDArray[np.uint8], labels: NDArray[np.uint8], folder: Path) -> None:
    sides, last, most = images.shape[1:], labels.max(), len(FASHION_MNIST_CLASSES) - 1
    if sides != _SIDES:
        raise DatasetError(f"{folder}: got images of {sides[0]} x {sides[1]} pixels, wanted {_SIDES[0]} x {_SIDES[1]}")
    if last > most:
        raise DatasetError(f"{folder}: got the class {last}, wanted 0 to {most}")


def _fashion_mnist_folder(name: str) -> Path:
    if (DEBIAN_FOLDER / f"{name}-images-idx3-ubyte.gz").is_file():
        return DEBIAN_FOLDER
    downloaded = cache_folder() / "data" / "FashionMNIST" / "raw"
    # torchvision downloads only files that are missing or incomplete.
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(str(downloaded.parent.parent), download=True)
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise DatasetError(
            f"fashion-mnist: not found in {DEBIAN_FOLDER} (apt install dataset-fashion-mnist) "
            f"and cannot be downloaded: {reason}"
        ) from error
    return downloaded


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an array in IDX format; an unchanged file is unpacked once per process."""
    try:
        status = path.stat()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise DatasetError(f"{path}: {reason}, wanted a file of Fashion-MNIST") from error
    if not path.is_file():
        raise DatasetError(f"{path}: is a folder, a pipe or a device, wanted a file of Fashion-MNIST")
    return _unpacked(path, dimensions, (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=4)
def _unpacked(path: Path, dimensions: int, _version: tuple[int, int]) -> NDArray[np.uint8]:
    """Unpack an IDX file: a magic number with type and rank, the sides, the bytes, all big-endian; read-only."""
    try:
        with gzip.open(path) as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: truncated or not a gzip file: {error}") from error
    if len(content) > _MOST_BYTES:
        raise DatasetError(f"{path}: unpacks to more than {_MOST_BYTES:,} bytes, wanted a file of Fashion-MNIST")
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes((0, 0, _UINT8, dimensions)):
        raise DatasetError(
            f"{path}: got first bytes {content[:4].hex()}, wanted an IDX file of {dimensions} dimensions"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if not math.prod(shape) or len(content) - header != math.prod(shape):
        raise DatasetError(f"{path}: got {len(content) - header} bytes of data, wanted {'x'.join(map(str, shape))}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
