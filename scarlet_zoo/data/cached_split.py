"""Splits whose images are read from the pixel cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.batches import Batch
from scarlet_zoo.data.folders import evenly
from scarlet_zoo.data.pixel_cache import PixelCache, Pixels, pixel_cache
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sources import Source
from scarlet_zoo.data.splits import ImageSplit, Split, augmented, augmented_parts, normalised

_LARGEST_MARGIN = 1.5
_SAMPLE = 16  # images that are opened to see how large the originals are


class CachedSplit(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """A split whose images are decoded once, at the network's size or somewhat larger where crops are taken from them.

    Without a crop, batches are bit for bit those of :class:`ImageSplit`.

    Args:
        positions: positions of the images that belong to this split.
        cache: the images.
        preprocessing: the network's preprocessing.
        augment: augmentation of the images; none when left out.
    """

    def __init__(
        self, positions: NDArray[np.int64], cache: PixelCache, preprocessing: Preprocessing, augment: Augment | None
    ) -> None:
        self._positions, self._cache, self.preprocessing, self.augment = positions, cache, preprocessing, augment
        self.targets = torch.from_numpy(cache.source.targets[positions])

    @property
    def crops_from(self) -> str | None:
        """Height and width of the images that crops are taken from; None without crops."""
        if self.augment is None or self.augment.crop == 1:
            return None
        return "x".join(map(str, self._cache.size))

    def __len__(self) -> int:
        return len(self._positions)

    def prepare(self, indices: Sequence[int] | None = None) -> None:
        """Decode the images of these indices, or all."""
        self._cache.fill(self._positions if indices is None else self._positions[np.asarray(indices)])

    def __getitems__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return normalised images float32 (N, C, H, W), in channels-last memory, and targets (N,)."""
        index = np.asarray(batch.indices, np.int64)
        pixels = self._pixels(self._cache.rows(self._positions[index]), batch.seed)
        return normalised(pixels, self.preprocessing), self.targets[torch.from_numpy(index)]

    def _pixels(self, rows: Pixels, seed: int) -> Tensor:
        augment = self.augment
        if augment is None or augment.crop == 1:
            return augmented(rows, augment, seed)
        # What is cached is the whole crop already.
        whole = replace(self.preprocessing, crop=1.0)
        images = (Image.fromarray(row[..., 0] if row.shape[-1] == 1 else row) for row in rows)
        return augmented_parts([partial(whole.part, image) for image in images], augment, seed)


def source_split(
    positions: NDArray[np.int64],
    source: Source,
    preprocessing: Preprocessing,
    augment: Augment | None,
    cache_gb: float,
) -> Split:
    """Open a part of a source: from the pixel cache, or image by image where the cache has no room.

    Args:
        positions: positions of the images that belong to the part.
        source: the images.
        preprocessing: the network's preprocessing.
        augment: augmentation of the images; None for none.
        cache_gb: largest size of all caches in GB; 0 for none.
    """
    if cache_gb:
        cache = pixel_cache(source, preprocessing, cached_size(source, preprocessing, augment), cache_gb)
        if cache is not None:
            return CachedSplit(positions, cache, preprocessing, augment)
    return ImageSplit(positions, source, preprocessing, augment)


def cached_size(source: Source, preprocessing: Preprocessing, augment: Augment | None) -> tuple[int, int]:
    """Return the height and width that images are cached with: the network's, or larger ones if crops are taken.

    A crop of a quarter of the area is stretched to the whole input. From an image of the input's size it would be
    stretched twofold and show none of the original's detail. So images are cached larger, up to where the smallest crop
    still has a pixel for each of the input's, but at most 1.5 times: then all crops of 44 % of the area and more are
    sharp, and the file is 2.25 times as large, where 8 % would need 12 times. They are never larger than the originals,
    of which a few are opened: that would only fill the disk.
    """
    if augment is None or augment.crop == 1:
        return preprocessing.size
    wanted = min(1 / math.sqrt(augment.crop), _LARGEST_MARGIN)
    original = max(_scale(source.open(position).size, preprocessing) for position in evenly(len(source), _SAMPLE))
    margin = max(min(wanted, original), 1.0)
    height, width = (round(side * margin) for side in preprocessing.size)
    return height, width


def _scale(size: tuple[int, int], preprocessing: Preprocessing) -> float:
    """Pixels of the original for each of the network's input, along a side."""
    height, width = preprocessing.size
    sides = size if height != width else (min(size),) * 2
    return min(sides[0] / width, sides[1] / height) * preprocessing.crop
