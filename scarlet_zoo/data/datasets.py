"""Data sets by name, each with a training, a validation and a test part.

The validation images are taken out of the training part, always the same ones for a data set, and
every choice is made on them. The test images are read only at the end.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.cached_split import source_split
from scarlet_zoo.data.class_folders import Logits, match_folders
from scarlet_zoo.data.divided import PARTS, check_part, no_test_part, read_divided
from scarlet_zoo.data.fashion_mnist import FASHION_MNIST_CLASSES, fashion_mnist
from scarlet_zoo.data.folders import evenly
from scarlet_zoo.data.layout import is_on_disk
from scarlet_zoo.data.partition import Division, divided_indices, split_indices
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


@dataclass(frozen=True)
class ImageData:
    """A data set, ready for one network's preprocessing.

    Attributes:
        name: the name that the data set was opened with.
        classes: class names in the order of the logits.
        open_part: opens a part (``train``, ``validation``, ``test``) with or without augmentation.
        division: which training images are set aside for validation; None if that is not known.
        remarks: what may be dangerous when a network is trained on it, one line each.
        preprocessing: the network's preprocessing.
        contents: of image files, the digest of each image's bytes, for each part.
    """

    name: str
    classes: tuple[str, ...]
    open_part: Callable[[str, Augment | None], Split]
    division: Division | None = None
    remarks: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    contents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def part(self, name: str, augment: Augment | None = None) -> Split:
        """Open one part of the data set.

        Args:
            name: ``train``, ``validation`` or ``test``.
            augment: augmentation of the images; none when left out.

        Raises:
            DatasetError: there is no such part.
        """
        check_part(name, self.name)
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
    *,
    skip_broken: bool = True,
    logits: Logits | None = None,
    set_aside: bool = True,
    by_class: bool = True,
) -> ImageData:
    """Open a data set by name, by its folder or by its list of images.

    All image files of a folder or a list are read once, and what is known of them is remembered
    (:mod:`scarlet_zoo.data.check`).

    Args:
        name: ``fashion-mnist``; ``torchvision:CIFAR10`` or another data set of torchvision; ``hf:NAME`` or
            ``hf:FOLDER`` (Hugging Face ``datasets``); or a folder or a manifest, as
            :func:`scarlet_zoo.data.layout.read_parts` reads it.
        preprocessing: the network's preprocessing.
        folder: where the data is, or where it is downloaded to.
        validation: number of validation images, taken from the training part. When left out, it is a twelfth of it, at
            most 5,000, and for other data than Fashion-MNIST at least one for each class.
        cache_gb: largest size in GB of the files that hold decoded images (:mod:`scarlet_zoo.data.pixel_cache`), for
            work that needs them many times; with 0 an image is opened whenever it is needed.
        skip_broken: whether image files that cannot be read are left out with a warning, or refused.
        logits: a network's logits, in whose order the classes are wanted; they are matched by their names.
        set_aside: whether validation images are set aside; otherwise all training images are of the part ``train``.
        by_class: whether they are taken from every class in proportion, or without regard to classes, as it was done
            before files stated which images these are.

    Raises:
        DatasetError: the data set is missing or damaged, has too few images or some that cannot be read, or has classes
            that the network does not know.
    """
    how = Opening(preprocessing, validation, logits, cache_gb, skip_broken=skip_broken, set_aside=set_aside,
                  by_class=by_class)  # fmt: skip
    kind, _, rest = name.partition(":")
    if is_on_disk(Path(name)):
        if folder is not None:
            raise DatasetError(
                f"data {name}: is a folder itself, got also the data folder {folder}, wanted no data folder"
            )
        return _on_disk(Path(name), how)
    if name == "fashion-mnist":
        data = _fashion_mnist(preprocessing, folder, validation, set_aside=set_aside)
        return data if logits is None else _in_order_of(data, logits)
    upright = preprocessing.upright
    if kind == "torchvision" and rest:
        sets = torchvision_sets(rest, folder or cache_folder() / "data")
        both = [torchvision_source(part, upright=upright) for part in sets]
        return _named(name, _class_names(sets[0], name), both[0], both[1], how)
    if kind == "hf" and rest:
        first, last = hugging_face_sets(rest, folder)
        names = getattr(first.features["label"], "names", None)
        labels = list(range(len(names))) if names else sorted(set(first["label"]))
        train = hugging_face_source(first, labels, upright=upright)
        test = None if last is None else hugging_face_source(last, labels, upright=upright)
        return _named(name, tuple(map(str, names or labels)), train, test, how)
    wanted = "fashion-mnist, torchvision:NAME, hf:NAME, a folder with one folder for each class, or a list of images"
    raise DatasetError(f"data {name!r}: no such data set or folder, wanted {wanted}")


def _in_order_of(data: ImageData, logits: Logits) -> ImageData:
    """Fashion-MNIST, whose arrays have an order of their own, for a network that has the same one.

    Raises:
        DatasetError: the network has other classes, or the same in another order.
    """
    matched = match_folders(data.name, data.classes, data.classes, logits, offer_sorted=False)
    if [matched.index[name] for name in data.classes] != list(range(logits.classes)):
        raise DatasetError(
            f"{data.name}: {logits.source} has its classes in another order, wanted that of the data set"
        )
    return data


def plain_preprocessing(name: str, side: int) -> Preprocessing:
    """Return a preprocessing whose result is the pixels themselves, from 0 to 1: mean 0 and deviation 1.

    Args:
        name: name of the data set; Fashion-MNIST's images stay as they are, 28 pixels in grey.
        side: side in pixels that the images of other data sets are resized and cropped to, in colour.
    """
    channels, side = (1, 28) if name == "fashion-mnist" else (3, side)
    return Preprocessing((side, side), (0.0,) * channels, (1.0,) * channels, "bilinear", 1.0)


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
    plain = plain_preprocessing(name, 224)
    data = open_data(name, plain, folder)
    images, targets = next(in_order(data.part(part), count, count))
    make_folder(out)
    files = []
    for position, (pixels, target) in enumerate(zip(plain.restore(images.numpy()), targets.tolist(), strict=True)):
        label = "".join(mark if mark.isalnum() else "_" for mark in data.classes[target])
        files.append(out / f"{position:04}_{label}.png")
        with replacing(files[-1]) as temporary:
            Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(temporary, format="PNG")
    return files


def _fashion_mnist(
    preprocessing: Preprocessing, folder: Path | None, validation: int | None, *, set_aside: bool
) -> ImageData:
    _, targets = fashion_mnist("train", folder)
    everything = {"train": np.arange(len(targets)), "validation": np.arange(0)}
    places = split_indices(len(targets), validation, "fashion-mnist") if set_aside else everything

    def open_part(name: str, augment: Augment | None) -> Split:
        pixels, targets = fashion_mnist("test" if name == "test" else "train", folder)
        if name != "test":
            pixels, targets = pixels[places[name]], targets[places[name]]
        return ArraySplit(pixels, targets, preprocessing, augment)

    lines = [f"{place}:{target}" for place, target in enumerate(targets.tolist())]
    division = Division.of(*([lines[place] for place in places[part]] for part in PARTS[:2]))
    return ImageData("fashion-mnist", FASHION_MNIST_CLASSES, open_part, division, preprocessing=preprocessing)


@dataclass(frozen=True)
class Opening:
    """How a data set is opened; the fields are the arguments of :func:`open_data`."""

    preprocessing: Preprocessing
    validation: int | None
    logits: Logits | None
    cache_gb: float
    skip_broken: bool
    set_aside: bool
    by_class: bool


@dataclass(frozen=True)
class _Part:
    """The images of a part: some of those of a source."""

    source: Source
    places: NDArray[np.int64]


def _on_disk(path: Path, how: Opening) -> ImageData:
    divided = read_divided(path, how.validation, skip_broken=how.skip_broken, preprocessing=how.preprocessing,
                           set_aside=how.set_aside, by_class=how.by_class)  # fmt: skip
    datasets = divided.parts.datasets
    for line in (*divided.parts.remarks, *divided.skipped_lines):
        warnings.warn(line, ScarletWarning, stacklevel=4)
    # What is divided is one source, so that what is decoded of it serves every division.
    training = [pair for part in PARTS[:2] if part in datasets
                for pair in zip(datasets[part].files, datasets[part].targets, strict=True)]  # fmt: skip
    files, targets = zip(*sorted(training, key=lambda pair: pair[0].parts), strict=True)
    place = {file: number for number, file in enumerate(files)}
    upright = how.preprocessing.upright
    whole = folder_source(files, targets, upright=upright)
    parts = {name: _Part(whole, np.asarray([place[file] for file in datasets[name].files], np.int64))
             for name in PARTS[:2] if name in datasets}  # fmt: skip
    if "test" in datasets:
        test = folder_source(datasets["test"].files, datasets["test"].targets, upright=upright)
        parts["test"] = _Part(test, np.arange(len(test)))
    data = _image_data(str(path), divided.parts.train.classes, parts, divided.division, how, divided.parts.train.names)
    contents = {name: tuple(divided.checked.facts[file].sha256 for file in part.files)
                for name, part in datasets.items()}  # fmt: skip
    return replace(data, remarks=divided.dangers, contents=contents)


def _named(name: str, classes: Sequence[str], train: Source, test: Source | None, how: Opening) -> ImageData:
    """A data set by name, whose training images are divided by class."""
    places = {"train": np.arange(len(train)), "validation": np.arange(0)}
    if how.set_aside:
        places = divided_indices(train.targets, how.validation, name, by_class=how.by_class)
    # The images of a named data set are always the same, so that position and class tell which one it is.
    lines = [f"{place}:{target}" for place, target in enumerate(train.targets.tolist())]
    division = Division.of(*([lines[place] for place in places[part]] for part in PARTS[:2]))
    parts = {part: _Part(train, places[part]) for part in PARTS[:2]}
    if test is not None:
        parts["test"] = _Part(test, np.arange(len(test)))
    return _image_data(name, classes, parts, division, how, classes)


def _image_data(name: str, classes: Sequence[str], parts: Mapping[str, _Part], division: Division, how: Opening,
                names: Sequence[str]) -> ImageData:  # fmt: skip
    """The data set of the images of each part.

    Args:
        name: name of the data set.
        classes: its classes, in the order of the sources' indices.
        parts: the images of each part.
        division: how the training images were divided.
        how: how the data set is opened; its logits give the classes their indices.
        names: names of all class folders, those without an image too.
    """
    logits = how.logits
    if logits is not None:
        matched = match_folders(name, names, classes, logits, offer_sorted=False)
        index = [matched.index[own] for own in classes]
        parts = {key: _Part(part.source.numbered(index), part.places) for key, part in parts.items()}
        classes = logits.labels if logits.labels is not None else classes

    def open_part(part: str, augment: Augment | None) -> Split:
        if part not in parts:
            raise no_test_part(name)
        own = None if part == "test" else augment
        return source_split(parts[part].places, parts[part].source, how.preprocessing, own, how.cache_gb)

    return ImageData(name, tuple(classes), open_part, division, preprocessing=how.preprocessing)


def _class_names(part: Any, name: str) -> tuple[str, ...]:
    names = getattr(part, "classes", None)
    if not names:
        raise DatasetError(f"data {name}: got no class names, wanted a classification data set such as CIFAR10")
    return tuple(str(entry) for entry in names)
