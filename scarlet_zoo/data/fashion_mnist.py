"""Fashion-MNIST: its four files where Debian's package puts them, or downloaded once."""

from __future__ import annotations

import gzip
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
_PARTS = {"train": ("train", 60_000), "test": ("t10k", 10_000)}
# What the IDX format calls unsigned bytes.
_UINT8 = 0x08


def fashion_mnist(part: str, folder: Path | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Fashion-MNIST's ``train`` or ``test`` part: images uint8 (N, 28, 28, 1) and class indices (N,).

    Args:
        part: which.
        folder: of the four .gz files; left out, the first of where Debian's package puts them and the
            user's cache, into which torchvision downloads them once.

    Raises:
        DatasetError: files that are missing, truncated or something else.
    """
    name, count = _PARTS[part]
    folder = folder or _fashion_mnist_folder(name)
    images = _read_idx(folder / f"{name}-images-idx3-ubyte.gz", dimensions=3)
    labels = _read_idx(folder / f"{name}-labels-idx1-ubyte.gz", dimensions=1)
    if len(images) != len(labels):
        raise DatasetError(f"{folder}: {len(images)} images and {len(labels)} labels, wanted {count} of each")
    return images[..., None], labels.astype(np.int64)


def _fashion_mnist_folder(name: str) -> Path:
    if (DEBIAN_FOLDER / f"{name}-images-idx3-ubyte.gz").is_file():
        return DEBIAN_FOLDER
    downloaded = cache_folder() / "data" / "FashionMNIST" / "raw"
    # It downloads what is missing, or was cut off before it was whole, and nothing else.
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(str(downloaded.parent.parent), download=True)
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise DatasetError(
            f"fashion-mnist: not in {DEBIAN_FOLDER} (apt install dataset-fashion-mnist) and not to be downloaded: "
            f"{reason}"
        ) from error
    return downloaded


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """An array of the IDX format; unpacked once in a process as long as the file stays what it is."""
    try:
        told = path.stat()
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file, wanted one of Fashion-MNIST's") from error
    return _unpacked(path, dimensions, (told.st_mtime_ns, told.st_size))


@lru_cache(maxsize=4)
def _unpacked(path: Path, dimensions: int, _version: tuple[int, int]) -> NDArray[np.uint8]:
    """A magic number of type and rank, the sides, the bytes; all big-endian. The array cannot be written to."""
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: truncated or no gzip file: {error}") from error
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes((0, 0, _UINT8, dimensions)):
        raise DatasetError(f"{path}: starts with {content[:4].hex()}, wanted an IDX file of {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != int(np.prod(shape, dtype=np.int64)):
        raise DatasetError(f"{path}: {len(content) - header} bytes, wanted {'x'.join(map(str, shape))}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
