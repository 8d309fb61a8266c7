"""Images of a data set at a network's size, each decoded once into a memory-mapped file of uint8 pixels.

Opening a small JPEG file takes longer than a small network takes to learn from it, so a training reads its images from
this cache from the second epoch on, and so does every later run on the same files with the same preprocessing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.data.image_io import strict_decoders
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sources import Source
from scarlet_zoo.errors import DatasetError, ScarletWarning
from scarlet_zoo.utils.files import cache_folder, make_folder, replacing
from scarlet_zoo.utils.watching import tell_watcher

Pixels = NDArray[np.uint8]
Positions = Sequence[int] | NDArray[np.int64]

CACHE_GB = 8.0
_FORMAT = 1
_GB = 10**9
_CHUNK = 64  # images that a thread decodes at once
_CHUNKS_KEPT = 16  # chunks after which images are marked as complete
_FREE_SHARE = 0.9  # of the free disk that a cache may fill
_PIXELS, _DONE, _LOCK = ".pixels", ".done", ".lock"


@dataclass(frozen=True)
class PixelCache:
    """The images of a source at one size, in a file that is filled with those that are asked for.

    Two files lie in the cache folder: ``KEY.pixels`` has room for all images (N, H, W, C), and ``KEY.done`` one byte
    for each image, which is 1 once its pixels are on the disk. Both are created beside their place and renamed; pixels
    are written before their mark. So a process that is killed leaves whole images, which are not decoded again, and a
    second process waits for the first and then finds its images. The key is a digest of the source (paths, sizes and
    times of its files), of the preprocessing and of the version of Pillow. The file may be deleted at any time.

    Attributes:
        source: the images.
        preprocessing: gives the part of an image that a network sees, and the interpolation.
        size: (H, W) of the pixels; the preprocessing's own, or a larger one to take random crops from.
        folder: folder of the two files.
    """

    source: Source
    preprocessing: Preprocessing
    size: tuple[int, int]
    folder: Path

    @cached_property
    def key(self) -> str:
        """The name of the two files without their endings."""
        # All of the preprocessing but the colours, which are normalised after the cache.
        seen = {key: value for key, value in asdict(self.preprocessing).items() if key not in ("mean", "std")}
        facts = [_FORMAT, PIL.__version__, self.source.digest, self.shape, seen]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of all pixels, (N, H, W, C)."""
        return (len(self.source), *self.size, self.preprocessing.channels)

    @property
    def bytes(self) -> int:
        """The size of the file once it holds every image."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def held(self) -> int:
        """The bytes that the file takes on the disk already."""
        return _on_disk(self._file(_PIXELS))

    def _file(self, ending: str) -> Path:
        return self.folder / f"{self.key}{ending}"

    def rows(self, positions: Positions) -> Pixels:
        """Return the pixels (n, H, W, C) of the images at positions of the source; those not yet held are decoded.

        Raises:
            ImageError: an image cannot be opened.
            DatasetError: the cache cannot be written.
        """
        picked = np.asarray(positions, np.int64)
        while not self._opened or not self._opened[1][picked].all():
            self.fill(picked)
            with suppress(FileNotFoundError):  # another process may have made room for its own cache just now
                self._opened[:] = self._mapped(_PIXELS, self.shape), self._mapped(_DONE, self.shape[:1])
        return self._opened[0][picked]

    @cached_property
    def _opened(self) -> list[Pixels]:
        """The memory maps of pixels and marks once they were needed; deleted files stay readable through them."""
        return []

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the memory maps, which a process opens for itself."""
        return {key: value for key, value in self.__dict__.items() if key != "_opened"}

    def _mapped(self, ending: str, shape: tuple[int, ...]) -> Pixels:
        return np.asarray(np.memmap(self._file(ending), np.uint8, "r", shape=shape))

    def fill(self, positions: Positions) -> None:
        """Decode those of the images at positions of the source that the cache does not hold; they are shared.

        Raises:
            ImageError: an image cannot be opened.
            DatasetError: the cache cannot be written.
        """
        picked = np.asarray(positions, np.int64)
        if not self._missing(picked).size:
            return
        try:
            make_folder(self.folder)
            with FileLock(self._file(_LOCK)):
                self._create()
                self._decode(self._missing(picked))
        except OSError as error:
            wanted = "wanted more free disk, or no cache: --cache-limit 0"
            raise DatasetError(f"{self._file(_PIXELS)}: cannot be written: {error.strerror}, {wanted}") from error

    def _missing(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the positions whose images are not held, sorted."""
        if not self._whole():
            return np.unique(positions)
        return np.unique(positions[self._mapped(_DONE, self.shape[:1])[positions] == 0])

    def _whole(self) -> bool:
        """Whether both files are there, at their full length."""
        wanted = ((_PIXELS, self.bytes), (_DONE, self.shape[0]))
        files = [(self._file(ending), size) for ending, size in wanted]
        return all(file.is_file() and file.stat().st_size == size for file, size in files)

    def _create(self) -> None:
        if self._whole():
            return
        self._file(_DONE).unlink(missing_ok=True)
        for ending, size in ((_PIXELS, self.bytes), (_DONE, self.shape[0])):
            with replacing(self._file(ending)) as temporary:
                os.truncate(temporary, size)  # a sparse file of zeros

    def _decode(self, positions: NDArray[np.int64]) -> None:
        row = self.bytes // self.shape[0]
        with (
            self._file(_PIXELS).open("r+b", buffering=0) as pixels,
            self._file(_DONE).open("r+b", buffering=0) as done,
        ):
            kept = 0

            def keep(until: int) -> None:
                # A mark may reach the disk only after its pixels.
                os.fsync(pixels.fileno())
                for position in positions[kept:until]:
                    os.pwrite(done.fileno(), b"\1", position)

            for number, chunk in enumerate(self._chunks(positions), start=1):
                start = (number - 1) * _CHUNK
                for position, image in zip(positions[start : start + _CHUNK], chunk, strict=True):
                    # Not by the memory map: on a full disk that would kill the process.
                    _write(pixels.fileno(), image.tobytes(), position * row)
                end = min(start + _CHUNK, len(positions))
                if number % _CHUNKS_KEPT == 0 or end == len(positions):
                    keep(end)
                    kept = end
                tell_watcher("decode images", end, len(positions))

    def _chunks(self, positions: NDArray[np.int64]) -> Iterator[list[Pixels]]:
        """Decode images in threads (Pillow decodes and resizes outside Python's lock) and yield them in order."""

        def decoded(chunk: NDArray[np.int64]) -> list[Pixels]:
            return [self._prepared(self.source.open(int(position))) for position in chunk]

        parts = [positions[start : start + _CHUNK] for start in range(0, len(positions), _CHUNK)]
        with strict_decoders(), ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(decoded, parts)

    def _prepared(self, image: Image.Image) -> Pixels:
        if self.size == self.preprocessing.size:
            return self.preprocessing.pixels(image)
        return self.preprocessing.part(image, (0, 0, 1, 1), self.size)


def _write(file: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        count = os.pwrite(file, view, offset)
        view, offset = view[count:], offset + count


def _on_disk(file: Path) -> int:
    return file.stat().st_blocks * 512 if file.is_file() else 0


def pixel_cache(
    source: Source, preprocessing: Preprocessing, size: tuple[int, int], limit_gb: float = CACHE_GB
) -> PixelCache | None:
    """Return the cache of a source's images, or None if they must be opened each time.

    All caches together stay within the limit: to make room, those that were not used for the longest time are deleted.

    Args:
        source: the images; one without a digest is never cached, since nothing tells whether it has changed.
        preprocessing: gives the part of an image that a network sees, and the interpolation.
        size: (H, W) of the pixels.
        limit_gb: largest size of all caches in GB (10**9 bytes); 0 turns them off.
    """
    if source.digest is None or not limit_gb:
        return None
    cache = PixelCache(source, preprocessing, size, cache_folder() / "pixels")
    limit = round(limit_gb * _GB)
    if cache.bytes <= limit:
        make_folder(cache.folder)
        _make_room(cache, limit)
        if cache.bytes - cache.held <= _FREE_SHARE * shutil.disk_usage(cache.folder).free:
            return cache
        reason = f"the {shutil.disk_usage(cache.folder).free / _GB:.1f} GB that are free in {cache.folder}"
    else:
        reason = f"the limit of {limit_gb:g} GB (--cache-limit)"
    height, width = size
    warnings.warn(
        f"{len(source)} images of {height} x {width} pixels take {cache.bytes / _GB:.1f} GB, more than {reason}: they "
        "are opened again whenever they are needed; --loaders gives the number of processes that do it",
        ScarletWarning,
        stacklevel=2,
    )
    return None


def _make_room(cache: PixelCache, limit: int) -> None:
    """Delete the caches that were not used for the longest time until this one fits beside the others."""
    done = cache._file(_DONE)
    if done.is_file():
        os.utime(done)
    others = [file for file in cache.folder.glob(f"*{_DONE}") if file != done]
    others.sort(key=lambda file: file.stat().st_mtime)
    held = sum(_on_disk(file.with_suffix(_PIXELS)) for file in others)
    for file in others:
        if held + cache.bytes <= limit:
            return
        # Not one that a process is filling. The lock's own file stays: a process may be waiting for it.
        with suppress(Timeout), FileLock(file.with_suffix(_LOCK), timeout=0):
            held -= _on_disk(file.with_suffix(_PIXELS))
            file.unlink(missing_ok=True)
            file.with_suffix(_PIXELS).unlink(missing_ok=True)
