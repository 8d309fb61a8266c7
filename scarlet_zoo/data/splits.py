"""Parts of a data set, read in batches from arrays in memory, from a pixel cache, or from files that are opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.batches import Batch
from scarlet_zoo.data.folders import evenly
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sources import Source

Pixels = NDArray[np.uint8]
Targets = NDArray[np.int64]


class ArraySplit(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """A split whose images are in memory and are augmented and normalised batch by batch.

    Random crops are taken from the images in memory, at the network's input size.

    Args:
        pixels: uint8 (N, H, W, C), of any size; resized once to the network's input size.
        targets: class indices (N,).
        preprocessing: the network's preprocessing.
        augment: augmentation of the images; none when left out.
    """

    def __init__(
        self, pixels: Pixels, targets: Targets, preprocessing: Preprocessing, augment: Augment | None = None
    ) -> None:
        if pixels.shape[1:] != (*preprocessing.size, preprocessing.channels):
            modes = [Image.fromarray(p[..., 0] if p.shape[-1] == 1 else p) for p in pixels]
            pixels = np.stack([preprocessing.pixels(image) for image in modes])
        self.pixels = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
        self.targets, self.preprocessing, self.augment = torch.from_numpy(targets.copy()), preprocessing, augment
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (preprocessing.mean, preprocessing.std))
        self._scale, self._offset = 1 / (255 * std), mean / std

    crops_from: str | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def prepare(self, indices: Sequence[int] | None = None) -> None:
        """Do nothing: all images are in memory."""

    def __getitems__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return normalised images float32 (N, C, H, W), in channels-last memory, and targets (N,)."""
        index = torch.as_tensor(batch.indices)
        pixels = self.pixels[index]
        if self.augment is not None:
            pixels = self.augment.arrays(pixels, batch.seed)
        images = pixels.float().mul_(self._scale).sub_(self._offset)
        return images.contiguous(memory_format=torch.channels_last), self.targets[index]


class Split(Protocol):
    """A part of a data set: labelled images that are read in batches.

    Attributes:
        targets: class index of each image, int64 (N,).
    """

    @property
    def targets(self) -> Tensor: ...  # noqa: D102

    @property
    def crops_from(self) -> str | None:
        """Size of the images that random crops are taken from; None for the original images, or without crops."""
        ...

    def __len__(self) -> int: ...

    def prepare(self, indices: Sequence[int] | None = None) -> None:
        """Decode the images of these indices, or all, if the split keeps decoded images; else do nothing."""
        ...

    def __getitems__(self, batch: Batch) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class Some:
    """A subset of a split's images.

    Attributes:
        split: the split.
        indices: positions of the images in the split.
    """

    split: Split
    indices: tuple[int, ...]

    @property
    def targets(self) -> Tensor:
        """The class index of each image, int64 (N,)."""
        return self.split.targets[torch.as_tensor(self.indices)]

    @property
    def crops_from(self) -> str | None:
        """As of the split."""
        return self.split.crops_from

    def __len__(self) -> int:
        return len(self.indices)

    def prepare(self, indices: Sequence[int] | None = None) -> None:
        """Prepare those images of the split that are in the subset."""
        self.split.prepare(self.indices if indices is None else [self.indices[index] for index in indices])

    def __getitems__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the images and targets of a batch, as the split gives them."""
        return self.split.__getitems__(Batch(tuple(self.indices[index] for index in batch.indices), batch.seed))


def in_order(split: Split, size: int, limit: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a split's images in order, in batches of ``size``; ``limit`` picks so many, spread evenly over all."""
    picked = evenly(len(split), len(split) if limit is None else limit)
    for start in range(0, len(picked), size):
        yield split.__getitems__(Batch(picked[start : start + size], 0))


class ImageSplit(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """A split whose images are opened when they are needed.

    Args:
        positions: positions of the images that belong to this split.
        source: the images.
        preprocessing: the network's preprocessing.
        augment: augmentation of the images, as for images in memory, except that crops are taken from the
            original image; none when left out.
    """

    def __init__(
        self,
        positions: Sequence[int] | Targets,
        source: Source,
        preprocessing: Preprocessing,
        augment: Augment | None = None,
    ) -> None:
        self._positions, self._source, self.preprocessing, self.augment = positions, source, preprocessing, augment
        self.targets = torch.from_numpy(source.targets[np.asarray(positions)])

    crops_from: str | None = None

    def __len__(self) -> int:
        return len(self._positions)

    def prepare(self, indices: Sequence[int] | None = None) -> None:
        """Do nothing: images are opened when they are needed."""

    def __getitems__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return normalised images float32 (N, C, H, W), in channels-last memory, and targets (N,)."""
        opened = [self._source.open(int(self._positions[index])) for index in batch.indices]
        images = normalised(self._pixels(opened, batch.seed), self.preprocessing)
        return images, self.targets[torch.as_tensor(batch.indices)]

    def _pixels(self, opened: Sequence[Image.Image], seed: int) -> Tensor:
        """Return pixels at the network's size (N, C, H, W), augmented if this split has an augmentation."""
        feed, augment = self.preprocessing, self.augment
        if augment is None or augment.crop == 1:
            return augmented(np.stack([feed.pixels(image) for image in opened]), augment, seed)
        return augmented_parts([partial(feed.part, image) for image in opened], augment, seed)


def augmented(pixels: Pixels, augment: Augment | None, seed: int) -> Tensor:
    """Augment pixels at the network's size (N, H, W, C) without a crop; returns (N, C, H, W), unchanged for None."""
    if augment is None:
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return _after_crop(pixels, augment, torch.Generator().manual_seed(seed))


def augmented_parts(stretched: Sequence[Callable[[Sequence[float]], Pixels]], augment: Augment, seed: int) -> Tensor:
    """Augment images with a random crop; returns pixels at the network's size (N, C, H, W).

    Args:
        stretched: for each image, what makes pixels (H, W, C) of a part, as :meth:`Preprocessing.part`.
        augment: the augmentation.
        seed: seed of what is drawn.
    """
    random = torch.Generator().manual_seed(seed)
    boxes = augment.boxes(len(stretched), random)
    return _after_crop(np.stack([part(box) for part, box in zip(stretched, boxes, strict=True)]), augment, random)


def _after_crop(pixels: Pixels, augment: Augment, random: torch.Generator) -> Tensor:
    return augment.after_crop(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), random)


def normalised(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return pixels (N, C, H, W) as the network's input, bit for bit as :meth:`Preprocessing.normalize` does."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return pixels.float().div_(255).sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)
