"""The data sets of torchvision and Hugging Face by name: their classes, and their images, which are checked."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.data.check import refuse_broken
from scarlet_zoo.data.check_source import CheckedSource, check_source
from scarlet_zoo.data.folders import Skipped, skipped_line
from scarlet_zoo.data.layout import listed
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sources import (
    Source,
    hugging_face_sets,
    hugging_face_source,
    torchvision_sets,
    torchvision_source,
)
from scarlet_zoo.errors import DatasetError, ScarletWarning
from scarlet_zoo.utils.files import cache_folder

KINDS = ("torchvision", "hf")


@dataclass(frozen=True)
class NamedSet:
    """A data set by name.

    Attributes:
        name: its name.
        classes: its classes.
        train: the training images.
        test: the test images, if it has some.
        checked: what is known of the images, of those to train on first.
    """

    name: str
    classes: tuple[str, ...]
    train: Source
    test: Source | None
    checked: tuple[CheckedSource, ...]

    @property
    def broken(self) -> tuple[Skipped, ...]:
        """The images that cannot be read."""
        return tuple(entry for one in self.checked for entry in one.broken)

    @property
    def readable(self) -> tuple[NDArray[np.int64], ...]:
        """Positions of the images that can be read, for the training and the test images."""
        return tuple(one.places for one in self.checked)

    def tell_broken(self, *, skip: bool) -> None:
        """Say which images are left out because they cannot be read, or refuse them.

        Raises:
            DatasetError: there are some, and they are not to be skipped; or no training image of a class is left.
        """
        images = sum(one.images for one in self.checked)
        if not skip:
            refuse_broken(Path(self.name), self.broken, images)
        if not self.broken:
            return
        line = skipped_line(Path(self.name), self.broken, images).replace("files", "images")
        left = set(self.train.targets[self.checked[0].places].tolist())
        lost = [self.classes[target] for target in set(self.train.targets.tolist()) - left - {-1}]
        if lost:
            raise DatasetError(f"data {self.name}: no training image of {listed(lost)} can be read, wanted one at "
                               f"least: {line}")  # fmt: skip
        warnings.warn(line, ScarletWarning, stacklevel=5)


def is_named(name: str) -> bool:
    """Whether a name is that of a data set of torchvision or Hugging Face."""
    kind, _, rest = name.partition(":")
    return kind in KINDS and bool(rest)


def read_named(name: str, folder: Path | None, preprocessing: Preprocessing) -> NamedSet:
    """Open a data set by name and look at its images.

    Args:
        name: ``torchvision:NAME``, ``hf:NAME`` or ``hf:FOLDER``.
        folder: where the data is, or where it is downloaded to.
        preprocessing: a network's preprocessing.

    Raises:
        DatasetError: there is no such data set, or it has no images with labels.
    """
    classes, train, test = training_and_test(name, folder, upright=preprocessing.upright)
    sources = [("train", train), *([("test", test)] if test is not None else [])]
    checked = tuple(check_source(source, Path(name), part, preprocessing) for part, source in sources)
    return NamedSet(name, classes, train, test, checked)


def training_and_test(
    name: str, folder: Path | None, *, upright: bool = True
) -> tuple[tuple[str, ...], Source, Source | None]:
    """Return the classes of a data set by name, its training images, and its test images if it has some.

    Raises:
        DatasetError: there is no such data set, or it has no images with labels.
    """
    kind, _, rest = name.partition(":")
    if kind == "torchvision":
        sets = torchvision_sets(rest, folder or cache_folder() / "data")
        first_part, last_part = (torchvision_source(part, upright=upright, name=f"{name}: {what} image")
                       for part, what in zip(sets, ("train", "test"), strict=True))  # fmt: skip
        return _class_names(sets[0], name), first_part, last_part
    first, last = hugging_face_sets(rest, folder)
    names = getattr(first.features["label"], "names", None)
    labels = list(range(len(names))) if names else _sorted(name, set(first["label"]))
    source = hugging_face_source(first, labels, upright=upright, name=f"{name}: train image")
    if last is not None and set(last["label"]).isdisjoint(labels):
        # Those of a competition: what the images are is kept secret.
        warnings.warn(f"data {name}: its test images have no labels, so they are not used", ScarletWarning,
                      stacklevel=5)  # fmt: skip
        last = None
    test = None if last is None else hugging_face_source(last, labels, upright=upright, name=f"{name}: test image")
    return tuple(map(str, names or labels)), source, test


def _sorted(name: str, labels: set[Any]) -> Sequence[Any]:
    try:
        return sorted(labels)
    except TypeError as error:
        kinds = " and ".join(sorted({type(label).__name__ for label in labels}))
        raise DatasetError(f"data {name}: got labels that are {kinds}, wanted all of one kind, none missing") from error


def _class_names(part: Any, name: str) -> tuple[str, ...]:
    names = getattr(part, "classes", None)
    if not names:
        raise DatasetError(f"data {name}: got no class names, wanted a classification data set such as CIFAR10")
    return tuple(str(entry) for entry in names)
