"""A person's own validation images beside a data set, all of whose training images are then trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.batches import Batch
from scarlet_zoo.data.class_folders import Logits
from scarlet_zoo.data.datasets import ImageData, open_data
from scarlet_zoo.data.layout import listed
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.splits import Split
from scarlet_zoo.errors import DatasetError


@dataclass(frozen=True)
class Numbered:
    """A split with other class indices.

    Attributes:
        split: the split.
        index: the class index that each of its own becomes.
    """

    split: Split
    index: tuple[int, ...]

    @property
    def targets(self) -> Tensor:
        """The class index of each image, int64 (N,)."""
        return torch.tensor(self.index)[self.split.targets]

    @property
    def crops_from(self) -> str | None:
        """As of the split."""
        return self.split.crops_from

    def __len__(self) -> int:
        return len(self.split)

    def prepare(self, indices: Sequence[int] | None = None) -> None:
        """Prepare the images of these indices, or all."""
        self.split.prepare(indices)

    def __getitems__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the images and targets of a batch."""
        images, targets = self.split.__getitems__(batch)
        return images, torch.tensor(self.index)[targets]


def open_with_validation(
    name: str,
    preprocessing: Preprocessing,
    folder: Path | None,
    held: int | None,
    own: str | Path | None,
    cache_gb: float = 0.0,
    *,
    skip_broken: bool = True,
    logits: Logits | None = None,
    by_class: bool = True,
) -> ImageData:
    """Open a data set, with the images of a folder as its validation part where one is given.

    Args:
        name, preprocessing, folder: as for :func:`scarlet_zoo.data.datasets.open_data`.
        held: number of training images that are set aside for validation; None for the usual number.
        cache_gb, skip_broken, logits, by_class: as for :func:`scarlet_zoo.data.datasets.open_data`.
        own: a folder, or another name of a data set, whose training images are the validation images. Its classes are
            found by their names; it need not have all of them. No training image is then set aside.

    Raises:
        DatasetError: no such data, a class that the training images lack, or both kinds of validation images.
    """
    if own is None:
        return open_data(name, preprocessing, folder, held, cache_gb, skip_broken=skip_broken, logits=logits,
                         by_class=by_class)  # fmt: skip
    if held is not None:
        raise DatasetError(f"validation {held}: would be ignored, because the validation images are those of {own}")
    whole = open_data(name, preprocessing, folder, None, cache_gb, skip_broken=skip_broken, logits=logits,
                      set_aside=False)  # fmt: skip
    other = open_data(str(own), preprocessing, None, None, cache_gb, skip_broken=skip_broken, set_aside=False)
    places = {label: place for place, label in enumerate(whole.classes)}
    unknown = [label for label in other.classes if label not in places]
    if unknown:
        raise DatasetError(
            f"validation data {own}: got class {unknown[0]!r}, wanted classes of {name}: {' '.join(whole.classes[:8])}"
        )
    index = tuple(places[label] for label in other.classes)

    def open_part(part: str, augment: Augment | None) -> Split:
        if part == "validation":
            return Numbered(other.part("train"), index)
        return whole.part(part, augment)

    assert whole.division is not None
    assert other.division is not None
    return replace(whole, open_part=open_part, division=whole.division.with_validation(other.division),
                   remarks=(*whole.remarks, *_dangers(whole, other)), broken=(*whole.broken, *other.broken),
                   turned=whole.turned + other.turned, altered=whole.altered + other.altered,
                   colour=whole.colour or other.colour)  # fmt: skip


def _dangers(whole: ImageData, other: ImageData) -> list[str]:
    """What may spoil a choice by these validation images, one line each."""
    lost = [label for label in whole.classes if label not in other.classes]
    known = set(whole.contents.get("train", ()))
    both = sum(content in known for content in other.contents.get("train", ()))
    said = [f"{other.name}: no validation image of {listed(lost)}, so nothing is measured of it"] if lost else []
    if both:
        said.append(f"{other.name}: {both:,} of the validation images are training images too, so accuracy on them "
                    "says too much")  # fmt: skip
    return said
