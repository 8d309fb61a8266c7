"""What a data set holds, and what a training would do with it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.data.check import broken_line
from scarlet_zoo.data.divided import Divided, check_parts, divide, duplicates
from scarlet_zoo.data.folders import Skipped
from scarlet_zoo.data.image_io import ImageFacts, printable
from scarlet_zoo.data.layout import Parts, is_named_data, read_parts
from scarlet_zoo.data.partition import Division
from scarlet_zoo.errors import DatasetError

_LOOKED_AT, _SAMPLE = 64, 1000  # pixels and images of a data set by name that mean and deviation are of


@dataclass(frozen=True)
class Summary:
    """What a data set of labelled images holds; of a data set by name sizes, kinds and formats are not known.

    Attributes:
        source: its path.
        read_as: how it was read.
        parts: number of readable images of each part: ``train``, ``validation``, and ``test`` where there is one.
        classes: for each class by name the number of its images in each part.
        sides: smallest, median and largest shorter side of the images, in pixels.
        sizes: number of images of each of the most common sizes, as ``WIDTHxHEIGHT``.
        modes, formats: number of images of each kind of pixels and each format, by Pillow's names.
        turned: number of images with a rotation in their EXIF data.
        mean, std: mean and deviation of the red, green and blue pixels in [0, 1]; every image counts alike, at 128
            pixels or less, of a data set by name 1,000 training images at 64 pixels.
        broken: the images that cannot be read.
        skipped: the files that are no images.
        duplicates: for the parts beside ``train`` the number of images that are training images too, byte by byte.
        colour: whether training images, or those of them that were looked at, show colour; grey ones that are stored
            in colour do not.
        split: which training images are set aside, as trained files state it; None if they cannot be divided.
        remarks: how the images were read and what may spoil a training, one line each.
        refusal: why a training would refuse the images; None if it would not.
    """

    source: Path
    read_as: str
    parts: Mapping[str, int]
    classes: Mapping[str, Mapping[str, int]]
    sides: tuple[int, int, int] | None
    sizes: Mapping[str, int]
    modes: Mapping[str, int]
    formats: Mapping[str, int]
    turned: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    broken: tuple[Skipped, ...]
    skipped: tuple[Skipped, ...]
    duplicates: Mapping[str, int]
    colour: bool
    split: Division | None
    remarks: tuple[str, ...]
    refusal: str | None

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values; ``broken`` and ``skipped`` list each file with the reason."""
        lists = {name: [entry.to_dict() for entry in getattr(self, name)] for name in ("broken", "skipped")}
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        split = None if self.split is None else asdict(self.split)
        return {**fields, "source": printable(self.source), **lists, "split": split}


def check_data(
    data: str | Path, *, data_dir: Path | None = None, validation: int | None = None, skip_broken: bool = False
) -> Summary:
    """Read all images of a data set and say what it holds, and what a training would do with it.

    Args:
        data: a folder or a list of images, as for :func:`scarlet_zoo.data.layout.read_parts`; or the name of a data
            set, as for :func:`scarlet_zoo.data.datasets.open_data`, of which classes, numbers, mean and deviation are
            told.
        data_dir: folder of a named data set, or folder to download it to.
        validation: number of validation images that a training would be asked for; the usual number when left out.
        skip_broken: whether that training would leave out images that cannot be read.

    Raises:
        DatasetError: there is no such data, or there are no labelled images at the path.
    """
    if is_named_data(str(data)):
        return _of_named(str(data), data_dir, validation, skip_broken=skip_broken)
    if data_dir is not None:
        raise DatasetError(f"data-dir {data_dir}: would be ignored, it is for a named data set, got {data}")
    return _on_disk(Path(data), validation, skip_broken=skip_broken)


def _of_named(name: str, folder: Path | None, validation: int | None, *, skip_broken: bool) -> Summary:
    from scarlet_zoo.data.datasets import open_data
    from scarlet_zoo.data.divided import PARTS
    from scarlet_zoo.data.plain_images import plain_preprocessing
    from scarlet_zoo.data.splits import Split, in_order

    opened = open_data(name, plain_preprocessing(name, _LOOKED_AT), folder, validation)
    found: dict[str, Split] = {}
    for part in PARTS:
        with suppress(DatasetError):  # not every data set has test images
            found[part] = opened.part(part)
    counts = {part: Counter(split.targets.tolist()) for part, split in found.items()}
    classes = {label: {part: count[index] for part, count in counts.items()}
               for index, label in enumerate(opened.classes)}  # fmt: skip
    images = next(in_order(found["train"], _SAMPLE, _SAMPLE))[0].expand(-1, 3, -1, -1).numpy()
    mean, square = images.mean((0, 2, 3), dtype=float), (images.astype(float) ** 2).mean((0, 2, 3))
    std = (max(s - m * m, 0.0) ** 0.5 for m, s in zip(mean, square, strict=True))
    return Summary(
        source=Path(name), read_as="a data set by name", parts={part: len(split) for part, split in found.items()},
        classes=classes, sides=None, sizes={}, modes={}, formats={}, turned=opened.turned,
        mean=tuple(round(float(value), 4) for value in mean), std=tuple(round(value, 4) for value in std),
        broken=opened.broken, skipped=(), duplicates={}, split=opened.division,
        remarks=(*opened.remarks, *_greys(name, colour=opened.colour)), colour=opened.colour,
        refusal=_refusal(Path(name), () if skip_broken else opened.broken,
                         sum(map(len, found.values())) + len(opened.broken), len(opened.classes)),
    )  # fmt: skip


def _on_disk(path: Path, validation: int | None, *, skip_broken: bool) -> Summary:
    parts = read_parts(path)
    checked = check_parts(parts)
    count = sum(len(part.files) for part in parts.datasets.values())
    refusal, divided = _refusal(path, () if skip_broken else checked.broken, count, len(parts.train.classes)), None
    try:
        divided = divide(parts, checked, validation)
    except DatasetError as error:
        refusal = str(error) if refusal is None else f"{refusal}; {error}"
    known = parts.mapped(lambda part: part.without(checked.broken)) if divided is None else divided.parts
    facts = [checked.facts[file] for part in known.datasets.values() for file in part.files]
    training = [checked.facts[file] for part in ("train", "validation") if part in known.datasets
                for file in known.datasets[part].files]  # fmt: skip
    mean, std = _mean_and_deviation(training)
    colour = any(fact.shows_colour for fact in training)
    skipped = {entry.file: entry for part in parts.datasets.values() for entry in part.skipped}
    return Summary(
        source=path, read_as=parts.read_as, parts={name: len(part.files) for name, part in known.datasets.items()},
        classes=_counts(known), sides=_sides(facts), sizes=_most([f"{fact.width}x{fact.height}" for fact in facts]),
        modes=_most([fact.mode for fact in facts]), formats=_most([fact.format for fact in facts]),
        turned=sum(fact.turned for fact in facts), mean=mean, std=std, broken=checked.broken,
        skipped=tuple(sorted(skipped.values(), key=lambda entry: entry.file.parts)),
        duplicates={name: len(duplicates(known.train, part, checked.facts))
                    for name, part in known.datasets.items() if name != "train"},
        split=None if divided is None else divided.division,
        remarks=_remarks(parts, divided, colour=colour), colour=colour, refusal=refusal,
    )  # fmt: skip


def _refusal(source: Path, broken: Sequence[Skipped], images: int, classes: int) -> str | None:
    """Why a training would refuse images that cannot be read, or one class; None if it would not."""
    found = []
    if broken:
        found.append(f"{broken_line(source, broken, images)}; wanted readable images, or --skip-broken")
    if classes < 2:
        found.append(f"{printable(source)}: got images of one class only, wanted two or more")
    return "; ".join(found) or None


def _remarks(parts: Parts, divided: Divided | None, *, colour: bool) -> tuple[str, ...]:
    grey = _greys(printable(parts.source), colour=colour)
    return (*parts.remarks, *(() if divided is None else divided.dangers), *grey)


def _greys(name: str, *, colour: bool) -> tuple[str, ...]:
    """That grey images suit every network, which a training need not say."""
    line = f"{name}: all training images that were looked at are grey, and a network that takes colour takes them too"
    return () if colour else (line,)


def _counts(parts: Parts) -> dict[str, dict[str, int]]:
    found = {name: Counter(part.targets) for name, part in parts.datasets.items()}
    return {name: {part: counts[index] for part, counts in found.items()}
            for index, name in enumerate(parts.train.classes)}  # fmt: skip


def _most(names: Sequence[str]) -> dict[str, int]:
    """How often each of the most common names is there."""
    return dict(Counter(names).most_common(8))


def _sides(facts: Sequence[ImageFacts]) -> tuple[int, int, int] | None:
    shorter = sorted(min(fact.width, fact.height) for fact in facts)
    return (shorter[0], shorter[len(shorter) // 2], shorter[-1]) if shorter else None


def _mean_and_deviation(facts: Sequence[ImageFacts]) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    if not facts:
        return None, None
    mean, square = ([sum(values) / len(facts) for values in zip(*rows, strict=True)]
                    for rows in ([fact.mean for fact in facts], [fact.square for fact in facts]))  # fmt: skip
    std = tuple(round(math.sqrt(max(s - m * m, 0.0)), 4) for m, s in zip(mean, square, strict=True))
    return tuple(round(value, 4) for value in mean), std
