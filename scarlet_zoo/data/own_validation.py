"""A person's own validation images beside a data set, all of whose training images are then trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.batches import Batch
from scarlet_zoo.data.datasets import ImageData, open_data
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.splits import Split
from scarlet_zoo.errors import DatasetError

_PARTS = ("train", "validation")


@dataclass(frozen=True)
class Joined:
    """Several splits one after the other.

    Attributes:
        splits: the splits.
        index: the class index that each of theirs becomes; None where they stay.
    """

    splits: Sequence[Split]
    index: tuple[int, ...] | None = None

    @property
    def targets(self) -> Tensor:
        """The class index of each image, int64 (N,)."""
        return self._numbered(torch.cat([split.targets for split in self.splits]))

    @property
    def crops_from(self) -> str | None:
        """As of the splits, which are parts of one data set."""
        return self.splits[0].crops_from

    def __len__(self) -> int:
        return sum(map(len, self.splits))

    def prepare(self, indices: Sequence[int] | None = None) -> None:
        """Prepare the images of these indices, or all, in their splits."""
        start = 0
        for split in self.splits:
            own = None if indices is None else [index - start for index in indices if 0 <= index - start < len(split)]
            split.prepare(own)
            start += len(split)

    def __getitems__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the images and targets of a batch, in its order, as the splits give them."""
        parts, places, start = [], [], 0
        for split in self.splits:
            own = [place for place, index in enumerate(batch.indices) if 0 <= index - start < len(split)]
            if own:
                # Each split has its own random numbers, so that their images are not altered alike.
                inside = tuple(batch.indices[place] - start for place in own)
                parts.append(split.__getitems__(Batch(inside, batch.seed + start)))
                places += own
            start += len(split)
        order = torch.argsort(torch.tensor(places))
        images, targets = (torch.cat(kind)[order] for kind in zip(*parts, strict=True))
        return images.contiguous(memory_format=torch.channels_last), self._numbered(targets)

    def _numbered(self, targets: Tensor) -> Tensor:
        return targets if self.index is None else torch.tensor(self.index)[targets]


def open_with_validation(
    name: str,
    preprocessing: Preprocessing,
    folder: Path | None,
    held: int | None,
    own: str | Path | None,
    cache_gb: float = 0.0,
) -> ImageData:
    """Open a data set, with the images of a folder as its validation part where one is given.

    Args:
        name, preprocessing, folder: as for :func:`scarlet_zoo.data.datasets.open_data`.
        held: number of training images that are set aside for validation; None for the usual number.
        cache_gb: as for :func:`scarlet_zoo.data.datasets.open_data`.
        own: a folder, or another name of a data set, whose training images are the validation images. Its classes are
            found by their names; it need not have all of them. No training image is then set aside.

    Raises:
        DatasetError: no such data, a class that the training images lack, or both kinds of validation images.
    """
    if own is None:
        return open_data(name, preprocessing, folder, held, cache_gb)
    if held is not None:
        raise DatasetError(f"validation {held}: would be ignored, because the validation images are those of {own}")
    whole = open_data(name, preprocessing, folder, None, cache_gb)
    other = open_data(str(own), preprocessing, None, 1, cache_gb)
    places = {label: place for place, label in enumerate(whole.classes)}
    unknown = [label for label in other.classes if label not in places]
    if unknown:
        raise DatasetError(
            f"validation data {own}: got class {unknown[0]!r}, wanted classes of {name}: {' '.join(whole.classes[:8])}"
        )
    index = tuple(places[label] for label in other.classes)

    def open_part(part: str, augment: Augment | None) -> Split:
        if part == "validation":
            return Joined([other.part(piece) for piece in _PARTS], index)
        if part == "train":
            return Joined([whole.part(piece, augment) for piece in _PARTS])
        return whole.part(part, augment)

    return replace(whole, open_part=open_part)
