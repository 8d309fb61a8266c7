"""Data sets by name: what there is to train on, what choices are made on, and what is looked at last.

The validation images are taken out of the training ones, always the same ones for a data set, and
every choice is made on them. The test images are for the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.fashion_mnist import FASHION_MNIST_CLASSES, fashion_mnist
from scarlet_zoo.data.folders import TEST_PARTS, read_dataset
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sources import (
    folder_item,
    hugging_face_item,
    hugging_face_sets,
    torchvision_item,
    torchvision_sets,
)
from scarlet_zoo.data.splits import ArraySplit, ImageSplit, Item, Some, Split, evenly, in_order
from scarlet_zoo.errors import DatasetError
from scarlet_zoo.utils.files import cache_folder, make_folder, replacing

VALIDATION_IMAGES = 5_000
_SPLIT_SEED = 0
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class ImageData:
    """A data set, ready for one network's preprocessing.

    Attributes:
        name: as it was asked for.
        classes: names in the order of the logits.
        open_part: gives a part (``train``, ``validation``, ``test``) with or without augmentation.
    """

    name: str
    classes: tuple[str, ...]
    open_part: Callable[[str, Augment | None], Split]

    def part(self, name: str, augment: Augment | None = None) -> Split:
        """One part of the data.

        Raises:
            DatasetError: there is no such part.
        """
        if name not in PARTS:
            raise DatasetError(f"data {self.name}: no part {name!r}, wanted one of {' '.join(PARTS)}")
        return self.open_part(name, augment)


def usual_augment(name: str, **settings: Any) -> Augment:
    """What training does to the images of a data set by name, where nothing else is asked for.

    Fashion-MNIST's small ones are shifted and mirrored. Others are photographs mostly: they are mirrored, and a part
    of at least 8 % of the area is stretched to the whole (the random resized crop of Inception, arXiv 1409.4842).

    Args:
        name: as for :func:`open_data`.
        settings: that are asked for, in place of the usual ones.
    """
    usual = Augment() if name == "fashion-mnist" else Augment(shift_px=0, crop=0.08)
    return replace(usual, **settings)


def trained_on(data: ImageData, images: int) -> ImageData:
    """The same data with so many training images, spread evenly over those that there are.

    Raises:
        DatasetError: there are fewer.
    """

    def open_part(name: str, augment: Augment | None) -> Split:
        split = data.open_part(name, augment)
        if name != "train":
            return split
        if not 0 < images <= len(split):
            raise DatasetError(f"data {data.name}: got {images} training images to use, wanted 1 to {len(split)}")
        return Some(split, evenly(len(split), images))

    return replace(data, open_part=open_part)


def open_data(
    name: str, preprocessing: Preprocessing, folder: Path | None = None, validation: int | None = None
) -> ImageData:
    """Open a data set.

    Args:
        name: ``fashion-mnist``; ``torchvision:CIFAR10`` or another of torchvision's; ``hf:NAME`` or
            ``hf:FOLDER`` (Hugging Face ``datasets``); or a folder, with ``train`` and ``val`` or ``test``
            in it, each a folder a class, or itself a folder a class.
        preprocessing: how the network is fed.
        folder: where the data is, or is to be kept.
        validation: images of the training part to hold out; a twelfth of them, at most 5,000, when left out.

    Raises:
        DatasetError: not there, not sound, or fewer images than asked for.
    """
    kind, _, rest = name.partition(":")
    if name == "fashion-mnist":
        return _fashion_mnist(preprocessing, folder, validation)
    if kind == "torchvision" and rest:
        sets = torchvision_sets(rest, folder or cache_folder() / "data")
        items = [(len(part), partial(torchvision_item, part)) for part in sets]
        return _opened_one_by_one(name, _class_names(sets[0], name), items, preprocessing, validation)
    if kind == "hf" and rest:
        train, test = hugging_face_sets(rest, folder)
        names = getattr(train.features["label"], "names", None)
        labels = list(range(len(names))) if names else sorted(set(train["label"]))
        parts = [(len(part), partial(hugging_face_item, part, labels)) for part in (train, test) if part is not None]
        return _opened_one_by_one(name, tuple(map(str, names or labels)), parts, preprocessing, validation)
    if not Path(name).is_dir():
        wanted = "fashion-mnist, torchvision:NAME, hf:NAME or a folder a class"
        raise DatasetError(f"data {name!r}: no such data set or folder, wanted {wanted}")
    if folder is not None:
        raise DatasetError(f"data {name}: a folder, got the data folder {folder} besides, wanted none")
    return _folder(Path(name), preprocessing, validation)


def save_images(name: str, part: str, count: int, out: Path, folder: Path | None = None) -> list[Path]:
    """Write the first images of a part as PNG files, ``<position>_<class>.png``.

    Fashion-MNIST's are written as they are, others cropped to 224 pixels.

    Raises:
        DatasetError: no such data or part.
    """
    channels, side = (1, 28) if name == "fashion-mnist" else (3, 224)
    # With mean 0 and deviation 1 what comes out is the pixels.
    plain = Preprocessing((side, side), (0.0,) * channels, (1.0,) * channels, "bilinear", 1.0)
    data = open_data(name, plain, folder)
    images, targets = next(in_order(data.part(part), count, count))
    make_folder(out)
    files = []
    for position, (pixels, target) in enumerate(zip(plain.restore(images.numpy()), targets.tolist(), strict=True)):
        label = "".join(mark if mark.isalnum() else "_" for mark in data.classes[target])
        files.append(out / f"{position:04}_{label}.png")
        with replacing(files[-1]) as temporary:
            Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels).save(temporary, format="PNG")
    return files


def _fashion_mnist(preprocessing: Preprocessing, folder: Path | None, validation: int | None) -> ImageData:
    def open_part(name: str, augment: Augment | None) -> Split:
        pixels, targets = fashion_mnist("test" if name == "test" else "train", folder)
        if name != "test":
            kept = split_indices(len(targets), validation, "fashion-mnist")[name]
            pixels, targets = pixels[kept], targets[kept]
        return ArraySplit(pixels, targets, preprocessing, augment)

    return ImageData("fashion-mnist", FASHION_MNIST_CLASSES, open_part)


def _folder(folder: Path, preprocessing: Preprocessing, validation: int | None) -> ImageData:
    train = folder / "train" if (folder / "train").is_dir() else folder
    test = next((folder / name for name in TEST_PARTS if (folder / name).is_dir()), None)
    sets = [read_dataset(part) for part in ((train, test) if train != folder and test else (train,))]
    if len({part.classes for part in sets}) > 1:
        raise DatasetError(
            f"{folder}: {train.name} and {sets[1].folder.name} have other class folders, wanted the same"
        )
    items = [(len(part.files), partial(folder_item, part.files, part.targets)) for part in sets]
    return _opened_one_by_one(str(folder), sets[0].classes, items, preprocessing, validation)


def _opened_one_by_one(
    name: str,
    classes: Sequence[str],
    parts: Sequence[tuple[int, Item]],
    preprocessing: Preprocessing,
    validation: int | None,
) -> ImageData:
    """A data set of images that are opened one at a time: training part, and test part if there is one."""

    def open_part(part: str, augment: Augment | None) -> Split:
        if part == "test":
            if len(parts) < 2:
                raise DatasetError(f"data {name}: has no test part, wanted a folder test or val beside train")
            count, item = parts[1]
            return ImageSplit(range(count), item, preprocessing)
        count, item = parts[0]
        kept = split_indices(count, validation, name)[part]
        return ImageSplit(kept, item, preprocessing, augment)

    return ImageData(name, tuple(classes), open_part)


def split_indices(count: int, validation: int | None, name: str) -> dict[str, Any]:
    """Which images of the training part are for training and which for validation; always the same.

    Raises:
        DatasetError: more are to be held out than there are.
    """
    held = min(count // 12, VALIDATION_IMAGES) if validation is None else validation
    if not 0 < held < count:
        raise DatasetError(f"data {name}: got {held} validation images, wanted 1 to {count - 1}")
    order = np.random.default_rng(_SPLIT_SEED).permutation(count)
    return {"validation": np.sort(order[:held]), "train": np.sort(order[held:])}


def _class_names(part: Any, name: str) -> tuple[str, ...]:
    names = getattr(part, "classes", None)
    if not names:
        raise DatasetError(f"data {name}: does not name its classes, wanted a classification set such as CIFAR10")
    return tuple(str(entry) for entry in names)
