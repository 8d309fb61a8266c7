"""Which labelled images count when a network is validated, and for which of its logits each class is."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scarlet_zoo.data.class_folders import AUTO, Logits, Matched, match_folders
from scarlet_zoo.data.divided import check_part, no_test_part, read_divided
from scarlet_zoo.data.folders import Dataset
from scarlet_zoo.data.held_out import TrainingImages
from scarlet_zoo.data.layout import read_parts
from scarlet_zoo.errors import DatasetError, ScarletWarning
from scarlet_zoo.inference.classifier import Classifier

if TYPE_CHECKING:
    from scarlet_zoo.data.datasets import ImageData


def training_images(classifier: Classifier) -> TrainingImages:
    """What a classifier's file states about the images that it was trained on."""
    return TrainingImages(classifier.source, classifier.training)


@dataclass(frozen=True)
class Counted:
    """The images of a folder or a manifest that count.

    Attributes:
        images: the images.
        part: name of their part; None for all images of a source without parts.
        matched: the logit of each of their classes.
    """

    images: Dataset
    part: str | None
    matched: Matched


def counted_images(
    classifier: Classifier, data: Dataset | str | Path, split: str | None, validation: int | None, rule: str = AUTO
) -> Counted:
    """List the images of a folder or a manifest that count.

    Args:
        classifier: the network.
        data: the path, or what :func:`scarlet_zoo.data.folders.read_dataset` returns of a folder.
        split: ``validation`` or ``test``; None for ``validation``, or for all images of a source without parts.
        validation: number of validation images; their usual number when None.
        rule: how the names of class folders are read, as for :func:`scarlet_zoo.data.class_folders.match_folders`.

    Raises:
        DatasetError: no such part, a class that the network does not know, or images that are divided otherwise than
            for the network's training.
    """
    whole = split is None and validation is None
    if isinstance(data, Dataset):
        if not whole:
            raise DatasetError(f"{data.folder}: got a Dataset with split or validation, wanted the path of its folder")
        return Counted(data, None, _matched(classifier, data, rule))
    path, trained = Path(data), training_images(classifier)
    parts = read_parts(path)
    for line in parts.remarks:
        warnings.warn(line, ScarletWarning, stacklevel=3)
    if whole and not parts.divided:
        images = replace(parts.train, folder=path)
        matched = _matched(classifier, images, rule)
        if trained.are_of(str(data)):
            warnings.warn(f"{data}: counts all images, those that {classifier.source} was trained on too; --split "
                          "validation counts the others", ScarletWarning, stacklevel=3)  # fmt: skip
        return Counted(images, None, matched)
    part = split or "validation"
    check_part(part, str(data))
    if part == "test":
        if parts.test is None:
            raise no_test_part(str(data))
        images = replace(parts.test, folder=path)
        return Counted(images, part, _matched(classifier, images, rule))
    divided = read_divided(path, validation, by_class=trained.by_class or not trained.are_of(str(data)))
    images = replace(divided.parts.datasets[part], folder=path)
    # A renamed class makes other images of them too, but its name says more.
    matched = _matched(classifier, images, rule)
    if part == "validation":
        trained.require(divided.division, str(data), validation, others=True)
    return Counted(images, part, matched)


def _matched(classifier: Classifier, images: Dataset, rule: str) -> Matched:
    used = [images.classes[target] for target in sorted(set(images.targets))]
    logits = Logits(classifier.source, classifier.classes, classifier.given_labels)
    return match_folders(images.folder, images.names, used, logits, rule)


def logits_of_classes(classifier: Classifier, data: ImageData) -> list[int]:
    """The logit of each class of a data set: by the labels that the network states, else in the data set's order.

    Raises:
        DatasetError: a class that the network does not know, or without labels another number of classes.
    """
    logits = Logits(classifier.source, classifier.classes, classifier.given_labels)
    if logits.states_labels:
        matched = match_folders(data.name, data.classes, data.classes, logits, offer_sorted=False)
        return [matched.index[name] for name in data.classes]
    if len(data.classes) != classifier.classes:
        raise DatasetError(
            f"{data.name}: got {len(data.classes)} classes, but {classifier.source} gives {classifier.classes} logits, "
            "wanted the same number of both"
        )
    return list(range(classifier.classes))
