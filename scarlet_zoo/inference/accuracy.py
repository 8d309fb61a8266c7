"""Measure a network's accuracy on a folder of labelled images, on a split of a data set, and during training.

A folder holds one subfolder for each class, in the order of their names, like torchvision's ``ImageFolder``. Images
are also opened like there: EXIF rotation is not applied, since published accuracies were measured without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scarlet_zoo.data.folders import Dataset, has_parts, read_dataset
from scarlet_zoo.data.image_io import printable, strict_decoders
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import DatasetError, ScarletError
from scarlet_zoo.inference.answers import Logits, Progress, answers, likeliest
from scarlet_zoo.inference.classifier import Classifier
from scarlet_zoo.inference.load import load

if TYPE_CHECKING:
    from torch import nn

    from scarlet_zoo.data.datasets import ImageData
    from scarlet_zoo.data.splits import Split


_TOP = 5


@dataclass(frozen=True)
class Validation:
    """The accuracy of a network on labelled images.

    Attributes:
        name: the network's name or file.
        weights: where the weights come from.
        trained: whether the weights are trained; if not, the percentages mean nothing.
        preprocessing: how the images were prepared.
        folder: the folder of the images, or the name of the data set.
        part: the split, ``validation`` or ``test``; None for a folder without splits.
        classes: number of classes.
        images: number of images.
        top1: percentage of the images whose class has the largest logit.
        top5: percentage of the images whose class is among the five largest logits, or among all if there are fewer.
    """

    name: str
    weights: str
    trained: bool
    preprocessing: Preprocessing
    folder: Path
    part: str | None
    classes: int
    images: int
    top1: float
    top5: float

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {**asdict(self), "folder": printable(self.folder)}


def validate(
    network: Classifier | str | Path,
    data: Dataset | str | Path,
    *,
    split: str | None = None,
    data_dir: Path | None = None,
    validation: int | None = None,
    limit: int | None = None,
    batch: int = 64,
    progress: Progress | None = None,
) -> Validation:
    """Measure a network's top-1 and top-5 accuracy on labelled images.

    Args:
        network: a classifier from :func:`scarlet_zoo.load`, a file, or a name; random weights are allowed.
        data: a folder with a subfolder of images for each class, or what :func:`read_dataset` returns of one; or
            the name of a data set, as for :func:`scarlet_zoo.data.datasets.open_data`.
        split: ``validation``, taken from the training images, or ``test``, for the final figure only. When left out,
            ``validation``, or all images of a folder without splits.
        data_dir: folder of a named data set, or folder to download it to.
        validation: how many of the training images are validation images.
        limit: number of images to use, spread evenly; all when left out.
        batch: images in a batch; a file with a fixed batch size uses its own.
        progress: called with (done, expected), in images.

    Raises:
        DatasetError: no such data or split, or the numbers of classes and of logits differ.
        ImageError: an image file is broken.
    """
    opened = network if isinstance(network, Classifier) else load(network)
    named = isinstance(data, str) and is_named_data(data)
    where = data.folder if isinstance(data, Dataset) else data
    if data_dir is not None and not named:
        raise DatasetError(f"data-dir {data_dir}: would be ignored, it is for a named data set, got {where}")
    if validation is not None and split not in (None, "validation"):
        raise DatasetError(f"validation {validation}: would be ignored, it is for split validation, got {split}")
    whole = split is None and validation is None
    if isinstance(data, Dataset) and not whole:
        raise DatasetError(f"{where}: got a Dataset with split or validation, wanted the path of its folder")
    if named or not (whole and (isinstance(data, Dataset) or not has_parts(Path(data)))):
        from scarlet_zoo.data.datasets import open_data

        parts = open_data(str(data), opened.preprocessing, data_dir, validation)
        return validate_part(opened, parts, split or "validation", batch=batch, limit=limit, progress=progress)
    dataset = data if isinstance(data, Dataset) else read_dataset(Path(data), limit)
    return _validate_folder(opened, dataset, batch, progress)


def is_named_data(data: str) -> bool:
    """Whether a text is the name of a data set and not the path of a folder."""
    return not Path(data).exists() and (data == "fashion-mnist" or ":" in data)


def _validate_folder(classifier: Classifier, dataset: Dataset, batch: int, progress: Progress | None) -> Validation:
    _check_classes(classifier, dataset.folder, len(dataset.classes), "class folders")
    with strict_decoders():
        rows = answers(classifier, dataset.files, batch=batch, upright=False)
        pairs = ((logits, target) for (_, logits), target in zip(rows, dataset.targets, strict=True))
        return _count(classifier, dataset.folder, None, pairs, len(dataset.files), progress)


def validate_part(
    classifier: Classifier, data: ImageData, part: str, *, batch: int = 64, limit: int | None = None,
    progress: Progress | None = None,
) -> Validation:  # fmt: skip
    """Measure a classifier's top-1 and top-5 accuracy on a split of a data set.

    Args:
        classifier: a classifier from :func:`scarlet_zoo.load`.
        data: from :func:`scarlet_zoo.data.datasets.open_data`, for the classifier's preprocessing.
        part: the split, ``validation`` or ``test``; the latter for the final figure only.
        batch: images in a batch.
        limit: number of images to use, spread evenly; all when left out.
        progress: called with (done, expected), in images.

    Raises:
        DatasetError: no such split, or the numbers of classes and of logits differ.
    """
    from scarlet_zoo.data.splits import in_order

    _check_classes(classifier, Path(data.name), len(data.classes), "classes")
    split = data.part(part)
    count = len(split) if limit is None else min(limit, len(split))
    pairs = (
        pair
        for images, targets in in_order(split, batch, count)
        for pair in zip(classifier.logits(images.contiguous().numpy()), targets.tolist(), strict=True)
    )
    return _count(classifier, Path(data.name), part, pairs, count, progress)


def _check_classes(classifier: Classifier, folder: Path, classes: int, what: str) -> None:
    if classes != classifier.classes:
        raise DatasetError(
            f"{folder}: got {classes} {what}, but {classifier.source} gives {classifier.classes} logits, "
            "wanted the same number of both"
        )


def _count(classifier: Classifier, folder: Path, part: str | None, pairs: Iterable[tuple[Logits, int]], expected: int,
           progress: Progress | None) -> Validation:  # fmt: skip
    first = among = done = 0
    for logits, target in pairs:
        named = likeliest(logits, _TOP)
        first += int(named[0] == target)
        among += int(target in named)
        done += 1
        if progress is not None:
            progress(done, expected)
    return Validation(
        name=classifier.source,
        weights=classifier.weights,
        trained=classifier.trained,
        preprocessing=classifier.preprocessing,
        folder=folder,
        part=part,
        classes=classifier.classes,
        images=done,
        top1=100 * first / done,
        top5=100 * among / done,
    )


def accuracy(model: nn.Module, split: Split, device: Any = "cpu", batch: int = 500, limit: int | None = None) -> float:
    """The top-1 accuracy of a network on a split, in percent.

    Args:
        model: the network; it is set to eval mode and stays in it.
        split: the labelled images.
        device: device of the network.
        batch: images in a batch.
        limit: number of images to use, spread evenly; all when left out.

    Raises:
        ScarletError: the split holds no images.
    """
    import torch

    from scarlet_zoo.data.splits import in_order

    model.eval()
    right = count = 0
    with torch.inference_mode():
        for images, targets in in_order(split, batch, limit):
            right += int((model(images.to(device)).argmax(1).cpu() == targets).sum())
            count += len(targets)
    if not count:
        raise ScarletError("accuracy: got no images, wanted at least one")
    return 100 * right / count
