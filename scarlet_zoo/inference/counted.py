"""Which labelled images count when a network is validated, and for which of its logits each class is."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scarlet_zoo.data.class_folders import Logits, match_folders
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


def counted_images(
    classifier: Classifier, data: Dataset | str | Path, split: str | None, validation: int | None
) -> tuple[Dataset, str | None]:
    """List the images of a folder or a manifest that count, and the name of their part.

    Args:
        classifier: the network.
        data: the path, or what :func:`scarlet_zoo.data.folders.read_dataset` returns of a folder.
        split: ``validation`` or ``test``; None for ``validation``, or for all images of a source without parts.
        validation: number of validation images; their usual number when None.

    Returns:
        The images, and the name of the part; None for all images of a source without parts.

    Raises:
        DatasetError: no such part, or images that are divided otherwise than for the network's training.
    """
    whole = split is None and validation is None
    if isinstance(data, Dataset):
        if not whole:
            raise DatasetError(f"{data.folder}: got a Dataset with split or validation, wanted the path of its folder")
        return data, None
    path, trained = Path(data), training_images(classifier)
    parts = read_parts(path)
    if whole and not parts.divided:
        for line in parts.remarks:
            warnings.warn(line, ScarletWarning, stacklevel=3)
        if trained.are_of(str(data)):
            warnings.warn(f"{data}: counts all images, those that {classifier.source} was trained on too; --split "
                          "validation counts the others", ScarletWarning, stacklevel=3)  # fmt: skip
        return replace(parts.train, folder=path), None
    part = split or "validation"
    check_part(part, str(data))
    for line in parts.remarks:
        warnings.warn(line, ScarletWarning, stacklevel=3)
    if part == "test":
        if parts.test is None:
            raise no_test_part(str(data))
        return replace(parts.test, folder=path), part
    divided = read_divided(path, validation, by_class=trained.by_class or not trained.are_of(str(data)))
    if part == "validation":
        trained.require(divided.division, str(data), validation, others=True)
    return replace(divided.parts.datasets[part], folder=path), part


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
