"""Data sets by name, each with a training, a validation and a test part.

The validation images are taken out of the training part, always the same ones for a data set, and
every choice is made on them. The test images are read only at the end.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.cached_split import source_split
from scarlet_zoo.data.fashion_mnist import FASHION_MNIST_CLASSES, fashion_mnist
from scarlet_zoo.data.folders import TEST_PARTS, Dataset, evenly, read_dataset, skipped_line
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sources import (
    Source,
    folder_source,
    hugging_face_sets,
    hugging_face_source,
    torchvision_sets,
    torchvision_source,
)
from scarlet_zoo.data.splits import ArraySplit, Some, Split, in_order
from scarlet_zoo.errors import DatasetError, ScarletWarning
from scarlet_zoo.utils.files import cache_folder, make_folder, replacing

VALIDATION_IMAGES = 5_000
_SPLIT_SEED = 0
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class ImageData:
    """A data set, ready for one network's preprocessing.

    Attributes:
        name: the name that the data set was opened with.
        classes: class names in the order of the logits.
        open_part: opens a part (``train``, ``validation``, ``test``) with or without augmentation.
        preprocessing: the network's preprocessing.
    """

    name: str
    classes: tuple[str, ...]
    open_part: Callable[[str, Augment | None], Split]
    preprocessing: Preprocessing | None = None

    def part(self, name: str, augment: Augment | None = None) -> Split:
        """Open one part of the data set.

        Args:
            name: ``train``, ``validation`` or ``test``.
            augment: augmentation of the images; none when left out.

        Raises:
            DatasetError: there is no such part.
        """
        _check_part(name, self.name)
        return self.open_part(name, augment)


def trained_on(data: ImageData, images: int) -> ImageData:
    """Return the same data with fewer training images, spread evenly over all of them.

    Args:
        data: the data set.
        images: number of training images to use.

    Raises:
        DatasetError: the training part has fewer images; raised when the part is opened.
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
    name: str,
    preprocessing: Preprocessing,
    folder: Path | None = None,
    validation: int | None = None,
    cache_gb: float = 0.0,
) -> ImageData:
    """Open a data set by name.

    Args:
        name: ``fashion-mnist``; ``torchvision:CIFAR10`` or another data set of torchvision; ``hf:NAME`` or
            ``hf:FOLDER`` (Hugging Face ``datasets``); or a folder that holds one folder for each class, or
            ``train`` and ``val`` or ``test`` with one folder for each class.
        preprocessing: the network's preprocessing.
        folder: where the data is, or where it is downloaded to.
        validation: number of validation images, taken from the training part; when left out, a twelfth of it, at
            most 5,000.
        cache_gb: largest size in GB of the files that hold decoded images (:mod:`scarlet_zoo.data.pixel_cache`), for
            work that needs them many times; with 0 an image is opened whenever it is needed.

    Raises:
        DatasetError: the data set is missing or damaged, or has too few images.
    """
    kind, _, rest = name.partition(":")
    if name == "fashion-mnist":
        return _fashion_mnist(preprocessing, folder, validation)
    if kind == "torchvision" and rest:
        sets = torchvision_sets(rest, folder or cache_folder() / "data")
        sources = [torchvision_source(part) for part in sets]
        return _of_sources(name, _class_names(sets[0], name), sources, preprocessing, validation, cache_gb)
    if kind == "hf" and rest:
        train, test = hugging_face_sets(rest, folder)
        names = getattr(train.features["label"], "names", None)
        labels = list(range(len(names))) if names else sorted(set(train["label"]))
        sources = [hugging_face_source(part, labels) for part in (train, test) if part is not None]
        return _of_sources(name, tuple(map(str, names or labels)), sources, preprocessing, validation, cache_gb)
    if not Path(name).is_dir():
        wanted = "fashion-mnist, torchvision:NAME, hf:NAME or a folder with one folder for each class"
        raise DatasetError(f"data {name!r}: no such data set or folder, wanted {wanted}")
    if folder is not None:
        raise DatasetError(f"data {name}: is a folder itself, got also the data folder {folder}, wanted no data folder")
    return _folder(Path(name), preprocessing, validation, cache_gb)


def save_images(name: str, part: str, count: int, out: Path, folder: Path | None = None) -> list[Path]:
    """Write the images of a part, up to ``count`` spread evenly over it, as PNG files ``<position>_<class>.png``.

    Images of Fashion-MNIST are written unchanged, others are resized and cropped to 224 x 224 pixels.

    Args:
        name: name of the data set, as for :func:`open_data`.
        part: ``train``, ``validation`` or ``test``.
        count: largest number of images.
        out: folder that the files are written to.
        folder: where the data is, or where it is downloaded to.

    Returns:
        The paths of the files.

    Raises:
        DatasetError: there is no such data set or part.
    """
    channels, side = (1, 28) if name == "fashion-mnist" else (3, 224)
    # With mean 0 and deviation 1 the network input can be converted back to the pixels.
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
            indices = split_indices(len(targets), validation, "fashion-mnist")[name]
            pixels, targets = pixels[indices], targets[indices]
        return ArraySplit(pixels, targets, preprocessing, augment)

    return ImageData("fashion-mnist", FASHION_MNIST_CLASSES, open_part, preprocessing)


def folder_part(folder: Path, part: str, validation: int | None = None) -> Dataset:
    """List the image files of one part of a folder, as :func:`open_data` divides it.

    Args:
        folder: holds one folder for each class, or ``train`` and ``val`` or ``test`` with one folder for each class.
        part: ``train``, ``validation`` or ``test``.
        validation: number of validation images, as for :func:`open_data`.

    Raises:
        DatasetError: there is no such part, or the folder has too few images.
    """
    _check_part(part, str(folder))
    sets = _folder_sets(folder)
    if part == "test":
        return sets[_test_position(len(sets), str(folder))]
    return sets[0].picked(split_indices(len(sets[0].files), validation, str(folder))[part].tolist())


def _folder_sets(folder: Path) -> list[Dataset]:
    """The training part of a folder, and its test part if it has one."""
    train = folder / "train" if (folder / "train").is_dir() else folder
    test = next((folder / name for name in TEST_PARTS if (folder / name).is_dir()), None)
    sets = [read_dataset(part) for part in ((train, test) if train != folder and test else (train,))]
    if len({part.classes for part in sets}) > 1:
        raise DatasetError(
            f"{folder}: got different class folders in {train.name} and {sets[1].folder.name}, wanted the same"
        )
    return sets


def _folder(folder: Path, preprocessing: Preprocessing, validation: int | None, cache_gb: float) -> ImageData:
    sets = _folder_sets(folder)
    for part in sets:
        if any(entry.is_lost for entry in part.skipped):
            line = skipped_line(part.folder, part.skipped, len(part.files) + len(part.skipped))
            warnings.warn(line, ScarletWarning, stacklevel=3)
    sources = [folder_source(part.files, part.targets) for part in sets]
    return _of_sources(str(folder), sets[0].classes, sources, preprocessing, validation, cache_gb)


def _test_position(parts: int, name: str) -> int:
    if parts < 2:
        raise DatasetError(f"data {name}: got no test part, wanted a folder test or val beside train")
    return 1


def _check_part(part: str, name: str) -> None:
    if part not in PARTS:
        raise DatasetError(f"data {name}: got part {part!r}, wanted one of {' '.join(PARTS)}")


def _of_sources(
    name: str,
    classes: Sequence[str],
    parts: Sequence[Source],
    preprocessing: Preprocessing,
    validation: int | None,
    cache_gb: float,
) -> ImageData:
    """Return a data set of a source of training images and an optional one of test images."""

    def open_part(part: str, augment: Augment | None) -> Split:
        if part == "test":
            source = parts[_test_position(len(parts), name)]
            return source_split(np.arange(len(source)), source, preprocessing, None, cache_gb)
        positions = split_indices(len(parts[0]), validation, name)[part]
        return source_split(positions, parts[0], preprocessing, augment, cache_gb)

    return ImageData(name, tuple(classes), open_part, preprocessing)


def split_indices(count: int, validation: int | None, name: str) -> dict[str, Any]:
    """Divide the training part into ``train`` and ``validation`` indices; the result is always the same.

    Args:
        count: number of images in the training part.
        validation: number of validation images; when left out, a twelfth of the images, at most 5,000.
        name: name of the data set, for the error message.

    Raises:
        DatasetError: more validation images than the training part has, or none.
    """
    held = min(count // 12, VALIDATION_IMAGES) if validation is None else validation
    if not 0 < held < count:
        raise DatasetError(f"data {name}: got {held} validation images, wanted 1 to {count - 1}")
    order = np.random.default_rng(_SPLIT_SEED).permutation(count)
    return {"validation": np.sort(order[:held]), "train": np.sort(order[held:])}


def _class_names(part: Any, name: str) -> tuple[str, ...]:
    names = getattr(part, "classes", None)
    if not names:
        raise DatasetError(f"data {name}: got no class names, wanted a classification data set such as CIFAR10")
    return tuple(str(entry) for entry in names)
