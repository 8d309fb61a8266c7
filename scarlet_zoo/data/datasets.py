"""Data sets by name, each with a training, a validation and a test part.

The validation images are taken out of the training part, always the same ones for a data set, and
every choice is made on them. The test images are read only at the end.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.cached_split import source_split
from scarlet_zoo.data.class_folders import Logits, match_folders
from scarlet_zoo.data.divided import PARTS, check_part, no_test_part, read_divided
from scarlet_zoo.data.fashion_mnist import FASHION_MNIST_CLASSES, fashion_mnist
from scarlet_zoo.data.folders import Skipped, evenly
from scarlet_zoo.data.layout import is_on_disk
from scarlet_zoo.data.named_sets import is_named, read_named
from scarlet_zoo.data.partition import Division, divided_indices, split_indices
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sources import Source, folder_source
from scarlet_zoo.data.splits import ArraySplit, Some, Split
from scarlet_zoo.errors import DatasetError, ScarletWarning


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
        broken: the images that cannot be read, which are left out.
        turned: number of images with a rotation in their EXIF data.
        altered: number of training and validation images that the rule of preprocessing before
            :data:`scarlet_zoo.data.preprocessing.RULE` prepared otherwise.
        colour: whether the training images, or those of them that were looked at, show colour.
    """

    name: str
    classes: tuple[str, ...]
    open_part: Callable[[str, Augment | None], Split]
    division: Division | None = None
    remarks: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    contents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    broken: tuple[Skipped, ...] = ()
    turned: int = 0
    altered: int = 0
    colour: bool = False

    @property
    def turned_grey(self) -> bool:
        """Whether images that show colour are prepared for a network that takes grey ones."""
        return self.colour and self.preprocessing is not None and self.preprocessing.channels == 1

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
    if is_on_disk(Path(name)):
        if folder is not None:
            raise DatasetError(
                f"data {name}: is a folder itself, got also the data folder {folder}, wanted no data folder"
            )
        return _on_disk(Path(name), how)
    if name == "fashion-mnist":
        data = _fashion_mnist(preprocessing, folder, validation, set_aside=set_aside)
        return data if logits is None else _in_order_of(data, logits)
    if is_named(name):
        return _named(name, folder, how)
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
    facts = [divided.checked.facts[file] for file in files]
    turned = sum(fact.turned for fact in facts)
    return replace(data, remarks=divided.dangers, contents=contents, broken=divided.checked.broken, turned=turned,
                   altered=turned, colour=any(fact.shows_colour for fact in facts))  # fmt: skip


def _named(name: str, folder: Path | None, how: Opening) -> ImageData:
    """A data set by name, whose training images are divided by class."""
    found = read_named(name, folder, how.preprocessing)
    found.tell_broken(skip=how.skip_broken)
    train, readable = found.train, found.readable
    places = {"train": readable[0], "validation": readable[0][:0]}
    if how.set_aside:
        chosen = divided_indices(train.targets[readable[0]], how.validation, name, by_class=how.by_class)
        places = {part: readable[0][chosen[part]] for part in places}
    # The images of a named data set are always the same, so that position and class tell which one it is.
    lines = [f"{place}:{target}" for place, target in enumerate(train.targets.tolist())]
    division = Division.of(*([lines[place] for place in places[part]] for part in PARTS[:2]))
    parts = {part: _Part(train, places[part]) for part in PARTS[:2]}
    if found.test is not None:
        parts["test"] = _Part(found.test, readable[1])
    data = _image_data(name, found.classes, parts, division, how, found.classes)
    looked = found.checked[0]
    return replace(data, broken=found.broken, turned=sum(one.turned for one in found.checked),
                   altered=looked.turned + looked.unlike, colour=looked.colour)  # fmt: skip


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
