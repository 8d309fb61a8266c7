"""Measure a network's accuracy on a folder of labelled images, on a split of a data set, and during training.

A folder holds one subfolder for each class, which is matched to its logit by its name
(:mod:`scarlet_zoo.data.class_folders`). Images are prepared as the network's preprocessing says, in the same way as for
a prediction.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scarlet_zoo.data.class_folders import AUTO
from scarlet_zoo.data.folders import Dataset, Skipped, skipped_line
from scarlet_zoo.data.image_errors import ImageError
from scarlet_zoo.data.image_io import any_shows_colour, printable, strict_decoders
from scarlet_zoo.data.layout import is_named_data
from scarlet_zoo.data.pixel_kinds import turned_grey_line
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import DatasetError, ScarletWarning
from scarlet_zoo.inference.answers import Logits, Progress, answers, likeliest
from scarlet_zoo.inference.classifier import Classifier
from scarlet_zoo.inference.counted import Counted, counted_images, logits_of_classes, training_images
from scarlet_zoo.inference.load import load
from scarlet_zoo.inference.right_answers import Accuracy
from scarlet_zoo.utils.memory import kept_memory

if TYPE_CHECKING:
    from torch import nn

    from scarlet_zoo.data.datasets import ImageData
    from scarlet_zoo.data.splits import Split


_TOP = 5
Each = Callable[[bool], None]


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
        classes: number of classes of the network; top-1 and top-5 are over all of them.
        classes_seen: number of classes that the images are of.
        matched_by: how class folders were matched to logits, a rule of :mod:`scarlet_zoo.data.class_folders`; None for
            a data set by name, which has its own order.
        images: number of images.
        skipped: the files of the folder that were not counted, because they are no images or broken.
        top1: percentage of the images whose class has the largest logit.
        right: number of these images.
        top1_interval: 95 % confidence interval (Wilson's) of ``top1``, if the images are a random sample.
        top5: percentage of the images whose class is among the five largest logits, or among all if there are fewer.
        turned_grey: whether images that show colour were turned grey, because the network takes one channel.
        provider: execution provider of ONNX Runtime that computed, with its options; None on another runtime.
        provider_nodes: number of its nodes that ran on each provider; empty on the CPU, which runs all.
    """

    name: str
    weights: str
    trained: bool
    preprocessing: Preprocessing
    folder: Path
    part: str | None
    classes: int
    classes_seen: int
    matched_by: str | None
    images: int
    skipped: tuple[Skipped, ...]
    top1: float
    right: int
    top1_interval: tuple[float, float]
    top5: float
    turned_grey: bool = False
    provider: str | None = None
    provider_nodes: Mapping[str, int] = field(default_factory=dict)

    @property
    def accuracy(self) -> Accuracy:
        """The top-1 accuracy with its number of images."""
        return Accuracy(self.right, self.images)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values; ``skipped`` is a number, and ``skipped_files`` has each file with the reason."""
        files = [entry.to_dict() for entry in self.skipped]
        own = {"folder": printable(self.folder), "skipped": len(files), "skipped_files": files}
        return {**asdict(replace(self, skipped=())), **own}


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
    class_folders: str = AUTO,
    each: Each | None = None,
) -> Validation:
    """Measure a network's top-1 and top-5 accuracy on labelled images.

    Files of a folder that are no images, or broken ones, are skipped, and the result lists them.

    Args:
        network: a classifier from :func:`scarlet_zoo.load`, a file, or a name; random weights are allowed.
        data: a folder with a subfolder of images for each class or for some, or what :func:`read_dataset` returns of
            one; or a manifest or the name of a data set, as for :func:`scarlet_zoo.data.datasets.open_data`.
        split: ``validation``, taken from the training images, or ``test``, for the final figure only. When left out,
            ``validation``, or all images of a folder without splits.
        data_dir: folder of a named data set, or folder to download it to.
        validation: how many of the training images are validation images.
        limit: number of images to use, spread evenly; all when left out.
        batch: images in a batch; a file with a fixed batch size uses its own.
        progress: called with (done, expected), in images.
        class_folders: how the names of class folders are read, as for
            :func:`scarlet_zoo.data.class_folders.match_folders`.
        each: called for each image, in their order, with whether it was classified right.

    Raises:
        DatasetError: no such data or split, no readable image in it, a class that fits none of the network's, or images
            that are divided otherwise than they were for the network's training.
    """
    opened = network if isinstance(network, Classifier) else load(network)
    where = data.folder if isinstance(data, Dataset) else data
    named = isinstance(data, str) and is_named_data(data)
    if data_dir is not None and not named:
        raise DatasetError(f"data-dir {data_dir}: would be ignored, it is for a named data set, got {where}")
    if validation is not None and split not in (None, "validation"):
        raise DatasetError(f"validation {validation}: would be ignored, it is for split validation, got {split}")
    if named:
        if class_folders != AUTO:
            raise DatasetError(f"class-folders {class_folders}: would be ignored, it is for a folder, got {where}")
        from scarlet_zoo.data.datasets import open_data

        trained, part = training_images(opened), split or "validation"
        by_class = trained.by_class or not trained.are_of(str(data))
        parts = open_data(str(data), opened.preprocessing, data_dir, validation, by_class=by_class)
        logits_of_classes(opened, parts)  # which names a class that the network does not know
        if part == "validation":
            trained.require(parts.division, str(data), validation, others=True)
        return validate_part(opened, parts, part, batch=batch, limit=limit, progress=progress, each=each)
    counted = counted_images(opened, data, split, validation, class_folders)
    return _validate_folder(opened, counted, limit, batch, progress, each)


def _validate_folder(classifier: Classifier, found: Counted, limit: int | None, batch: int,
                     progress: Progress | None, each: Each | None) -> Validation:  # fmt: skip
    dataset, folder = found.images, found.images.folder
    counted = dataset.numbered(found.matched.index).limited(limit)
    grey = classifier.preprocessing.channels == 1 and any_shows_colour(counted.files)
    if grey:
        _tell_grey(folder, classifier)
    target_of, skipped = dict(zip(counted.files, counted.targets, strict=True)), list(dataset.skipped)

    def skip(file: Path, error: ImageError) -> None:
        skipped.append(Skipped.because(file, error))

    with strict_decoders():
        rows = answers(classifier, counted.files, batch=batch, skip=skip)
        pairs = ((logits, target_of[file]) for file, logits in rows)
        result = _count(classifier, folder, found.part, pairs, len(counted.files), progress, each)
    files = len(counted.files) + len(dataset.skipped)
    line = skipped_line(folder, skipped, files) if skipped else ""
    if result is None:
        raise DatasetError(f"{folder}: no image can be read; {line.removeprefix(f'{printable(folder)}: ')}")
    if any(entry.is_lost for entry in skipped):
        warnings.warn(line, ScarletWarning, stacklevel=3)
    listed = tuple(sorted(skipped, key=lambda entry: entry.file))
    return replace(result, matched_by=found.matched.rule, skipped=listed, turned_grey=grey)


def validate_part(
    classifier: Classifier, data: ImageData, part: str, *, batch: int = 64, limit: int | None = None,
    progress: Progress | None = None, each: Each | None = None,
) -> Validation:  # fmt: skip
    """Measure a classifier's top-1 and top-5 accuracy on a split of a data set.

    Args:
        classifier: a classifier from :func:`scarlet_zoo.load`.
        data: from :func:`scarlet_zoo.data.datasets.open_data`, for the classifier's preprocessing.
        part: the split, ``validation`` or ``test``; the latter for the final figure only.
        batch: images in a batch.
        limit: number of images to use, spread evenly; all when left out.
        progress, each: as for :func:`validate`.

    Raises:
        DatasetError: no such split, or the numbers of classes and of logits differ.
    """
    from scarlet_zoo.data.splits import in_order

    index = logits_of_classes(classifier, data)
    split = data.part(part)
    count = len(split) if limit is None else min(limit, len(split))
    pairs = (
        (logits, index[target])
        for images, targets in in_order(split, batch, count)
        for logits, target in zip(classifier.logits(images.contiguous().numpy()), targets.tolist(), strict=True)
    )
    result = _count(classifier, Path(data.name), part, pairs, count, progress, each)
    if result is None:
        raise DatasetError(f"{data.name}: got no images in part {part}, wanted at least one")
    if data.turned_grey:
        _tell_grey(data.name, classifier)
    return replace(result, turned_grey=data.turned_grey)


def _tell_grey(name: Path | str, classifier: Classifier) -> None:
    line = turned_grey_line(f"{name}: the images", classifier.source)
    warnings.warn(line, ScarletWarning, stacklevel=4)


def _count(classifier: Classifier, folder: Path, part: str | None, pairs: Iterable[tuple[Logits, int]], expected: int,
           progress: Progress | None, each: Each | None) -> Validation | None:  # fmt: skip
    """Count right answers; None if there are no images."""
    first = among = done = 0
    seen = set()
    with kept_memory():
        for logits, target in pairs:
            named = likeliest(logits, _TOP)
            first += int(named[0] == target)
            among += int(target in named)
            done += 1
            seen.add(target)
            if each is not None:
                each(bool(named[0] == target))
            if progress is not None:
                progress(done, expected)
    if not done:
        return None
    counted = Accuracy(first, done)
    return Validation(
        name=classifier.source,
        weights=classifier.weights,
        trained=classifier.trained,
        preprocessing=classifier.preprocessing,
        folder=folder,
        part=part,
        classes=classifier.classes,
        classes_seen=len(seen),
        matched_by=None,
        images=done,
        skipped=(),
        top1=counted.percent,
        right=counted.right,
        top1_interval=counted.interval,
        top5=100 * among / done,
        provider=classifier.provider,
        provider_nodes=dict(classifier.provider_nodes),
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """What a network makes of labelled images.

    Attributes:
        accuracy: how many it classifies right.
        loss: mean cross-entropy of its answers with the labels, in nats. It tells networks apart that are right equally
            often, so it needs fewer images than the accuracy does.
    """

    accuracy: Accuracy
    loss: float


def judge(model: nn.Module, split: Split, device: Any = "cpu", batch: int = 500, limit: int | None = None) -> Judged:
    """Judge a network by the images of a split.

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
    loss = 0.0
    with kept_memory(), torch.inference_mode():
        for images, targets in in_order(split, batch, limit):
            logits = model(images.to(device)).float().cpu()
            right += int((logits.argmax(1) == targets).sum())
            loss += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
            count += len(targets)
    return Judged(Accuracy(right, count), loss / count)


def count_right(
    model: nn.Module, split: Split, device: Any = "cpu", batch: int = 500, limit: int | None = None
) -> Accuracy:
    """Count the images of a split that a network classifies right; the arguments are those of :func:`judge`."""
    return judge(model, split, device, batch, limit).accuracy


def accuracy(model: nn.Module, split: Split, device: Any = "cpu", batch: int = 500, limit: int | None = None) -> float:
    """The top-1 accuracy of a network on a split, in percent; the arguments are those of :func:`count_right`.

    Raises:
        ScarletError: the split holds no images.
    """
    return count_right(model, split, device, batch, limit).percent
