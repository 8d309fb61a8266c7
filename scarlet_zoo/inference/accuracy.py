"""How often a network is right: on a folder of labelled images, on a part of a data set, and while it trains.

A folder holds one folder a class, in the order of their names, as torchvision's ``ImageFolder`` has it. Images are
opened as it opens them, too: a camera's rotation is not carried out, since published accuracies were measured
without.
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
    """How often a network names the class of a picture.

    Attributes:
        name: the network's name or file.
        weights: where the weights come from.
        trained: whether the percentages say anything about the network.
        preprocessing: how the pictures were prepared.
        folder: where they are; of a data set that has a name, that name.
        part: ``validation`` or ``test``; none for a folder that has no parts.
        classes: how many classes there are.
        images: how many pictures were counted.
        top1: percentage whose class comes first.
        top5: percentage whose class is among the first five, or all of them where there are fewer.
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
    """Count how often a network names the right class first, and among the first five.

    Args:
        network: from :func:`scarlet_zoo.load`, or what that takes: a file, or a name; random weights are allowed.
        data: a folder that holds a folder of images for each class, or what :func:`read_dataset` returns of one; or
            the name of a data set, as for :func:`scarlet_zoo.data.datasets.open_data`.
        split: ``validation``, those held out of the training images, or ``test``, which is for the end; left out, it is
            ``validation``, and of a folder without parts all its images.
        data_dir: where a data set with a name is, or is to be kept.
        validation: how many training images are held out for validation.
        limit: so many images, spread evenly; all when left out.
        batch: images at a time; a file with a fixed batch keeps its own.
        progress: called with (done, expected).

    Raises:
        DatasetError: no such data or split, or another number of classes than of logits.
        ImageError: an image that is broken.
    """
    opened = network if isinstance(network, Classifier) else load(network)
    named = isinstance(data, str) and is_named_data(data)
    where = data.folder if isinstance(data, Dataset) else data
    if data_dir is not None and not named:
        raise DatasetError(f"data-dir {data_dir}: would be ignored, it is for a data set with a name, got {where}")
    if validation is not None and split not in (None, "validation"):
        raise DatasetError(f"validation {validation}: would be ignored, it is for split validation, got {split}")
    whole = split is None and validation is None
    if isinstance(data, Dataset) and not whole:
        raise DatasetError(f"{where}: these images are measured whole, wanted their folder for a part of them")
    if named or not (whole and (isinstance(data, Dataset) or not has_parts(Path(data)))):
        from scarlet_zoo.data.datasets import open_data

        parts = open_data(str(data), opened.preprocessing, data_dir, validation)
        return validate_part(opened, parts, split or "validation", batch=batch, limit=limit, progress=progress)
    dataset = data if isinstance(data, Dataset) else read_dataset(Path(data), limit)
    return _validate_folder(opened, dataset, batch, progress)


def is_named_data(data: str) -> bool:
    """Whether this names a data set rather than a folder."""
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
    """The same on a part of a data set that has a name.

    Args:
        classifier: from :func:`scarlet_zoo.load`.
        data: from :func:`scarlet_zoo.data.datasets.open_data`, for the classifier's preprocessing.
        part: ``validation``, or ``test``, which is for the end.
        batch: pictures at a time.
        limit: so many, spread evenly; all when left out.
        progress: told (done, expected).

    Raises:
        DatasetError: no such part, or another number of classes than of logits.
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
            f"{folder}: {classes} {what}, but {classifier.source} gives {classifier.classes} logits, "
            "wanted as many of one as of the other"
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
    """Top-1 of a network on a split, in percent; the network is left in eval mode."""
    import torch

    from scarlet_zoo.data.splits import in_order

    model.eval()
    right = count = 0
    with torch.inference_mode():
        for images, targets in in_order(split, batch, limit):
            right += int((model(images.to(device)).argmax(1).cpu() == targets).sum())
            count += len(targets)
    if not count:
        raise ScarletError("accuracy: no pictures")
    return 100 * right / count
