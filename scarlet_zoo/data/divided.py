"""The images of a folder or a manifest, checked and divided into those to train on, to validate on and to test on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scarlet_zoo.data.check import Checked, check_images, refuse_broken
from scarlet_zoo.data.folders import Dataset, Skipped, skipped_line
from scarlet_zoo.data.image_errors import ImageError
from scarlet_zoo.data.image_io import ImageFacts, check_narrowness, printable
from scarlet_zoo.data.layout import Parts, listed, read_parts
from scarlet_zoo.data.partition import Division, divided_indices
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import DatasetError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Divided:
    """The readable images of a folder or a manifest, divided.

    Attributes:
        parts: the images of each part, ``validation`` among them.
        division: which of the training images are set aside for validation.
        checked: what is known of every image file.
    """

    parts: Parts
    division: Division
    checked: Checked

    @property
    def skipped_lines(self) -> tuple[str, ...]:
        """One line for each folder in which files were left out that are meant as images."""
        skipped: dict[Path, tuple[Skipped, ...]] = {}
        files: dict[Path, int] = {}
        for part in self.parts.datasets.values():
            skipped[part.folder] = part.skipped
            files[part.folder] = files.get(part.folder, 0) + len(part.files)
        return tuple(
            skipped_line(folder, entries, files[folder] + len(entries))
            for folder, entries in skipped.items()
            if any(entry.is_lost for entry in entries)
        )

    @property
    def dangers(self) -> tuple[str, ...]:
        """What may spoil a training on these images, one line each."""
        source, parts = printable(self.parts.source), self.parts.datasets
        said = []
        if self.parts.train.empty:
            said.append(f"{source}: no images in {listed(self.parts.train.empty)}, so this is no class")
        for name in ("validation", "test"):
            missing = self.classes_without(name)
            if missing:
                said.append(f"{source}: no {name} image of {listed(missing)}, so nothing is measured of it")
        for name in ("validation", "test"):
            pairs = duplicates(parts["train"], parts[name], self.checked.facts) if name in parts else []
            if pairs:
                first = " and ".join(printable(file) for file in pairs[0])
                said.append(f"{source}: {len(pairs):,} of the {name} images are training images too ({first}), so "
                            f"accuracy on them says too much")  # fmt: skip
        return tuple(said)

    def classes_without(self, part: str) -> list[str]:
        """The names of the classes that have no image in a part; none if there is no such part."""
        dataset = self.parts.datasets.get(part)
        if dataset is None:
            return []
        present = set(dataset.targets)
        return [name for index, name in enumerate(dataset.classes) if index not in present]


def no_test_part(name: str) -> DatasetError:
    """Make the error for a data set without test images."""
    return DatasetError(f"data {name}: got no test part, wanted a folder test or val beside train")


def check_part(part: str, name: str) -> None:
    """Check the name of a part of a data set.

    Raises:
        DatasetError: it is none.
    """
    if part not in PARTS:
        raise DatasetError(f"data {name}: got part {part!r}, wanted one of {' '.join(PARTS)}")


def duplicates(train: Dataset, part: Dataset, facts: Mapping[Path, ImageFacts]) -> list[tuple[Path, Path]]:
    """List the images of a part that are also training images, byte by byte: the part's file and the training's."""
    known = {facts[file].sha256: file for file in reversed(train.files)}
    return [(file, known[facts[file].sha256]) for file in part.files if facts[file].sha256 in known]


def read_divided(
    path: Path,
    validation: int | None = None,
    *,
    skip_broken: bool = True,
    preprocessing: Preprocessing | None = None,
    set_aside: bool = True,
    by_class: bool = True,
) -> Divided:
    """Read which images lie at a path, check that each can be read, and divide the training images.

    Args:
        path: a folder or a manifest, as :func:`scarlet_zoo.data.layout.read_parts` reads it.
        validation: number of validation images, as for
            :func:`scarlet_zoo.data.partition.stratified_indices`.
        skip_broken: whether images that cannot be read are left out, or refused.
        preprocessing: a network's preprocessing, to find images too narrow for it.
        set_aside: whether validation images are set aside.
        by_class: whether they are taken from every class, as for :func:`scarlet_zoo.data.datasets.open_data`.

    Raises:
        DatasetError: images that cannot be read and are not to be skipped, a class all of whose training images cannot
            be read, or too few images.
    """
    parts = read_parts(path)
    checked = check_parts(parts, preprocessing)
    if not skip_broken:
        refuse_broken(path, checked.broken, sum(len(part.files) for part in parts.datasets.values()))
    return divide(parts, checked, validation, set_aside=set_aside, by_class=by_class)


def divide(parts: Parts, checked: Checked, validation: int | None = None, *, set_aside: bool = True,
           by_class: bool = True) -> Divided:  # fmt: skip
    """Divide the readable images of a folder or a manifest.

    Args:
        parts: the images.
        checked: which of them can be read.
        validation, set_aside, by_class: as for :func:`read_divided`.

    Raises:
        DatasetError: a class all of whose training images cannot be read, or too few images.
    """
    kept = parts.mapped(lambda part: part.without(checked.broken))
    left = set(kept.train.targets)
    lost = [name for index, name in enumerate(kept.train.classes) if index not in left]
    if lost:
        raise DatasetError(f"{parts.source}: no training image of {listed(lost)} can be read, wanted one at least: "
                           f"{skipped_line(parts.source, checked.broken, len(parts.train.files))}")  # fmt: skip
    kept = _with_validation(kept, validation, by_class=by_class) if set_aside else kept
    train, held = (_lines(part, checked) if part is not None else [] for part in (kept.train, kept.validation))
    return Divided(kept, Division.of(train, held), checked)


def check_parts(parts: Parts, preprocessing: Preprocessing | None = None) -> Checked:
    """Check all image files of all parts; images that are too narrow for a preprocessing count as broken."""
    files = [file for part in parts.datasets.values() for file in part.files]
    checked = check_images(parts.source, files)
    if preprocessing is None:
        return checked
    narrow = []
    for file, facts in checked.facts.items():
        try:
            check_narrowness(facts.width, facts.height, preprocessing, str(file))
        except ImageError as error:
            narrow.append(Skipped.because(file, error))
    return replace(checked, broken=(*checked.broken, *narrow))


def _with_validation(parts: Parts, validation: int | None, *, by_class: bool) -> Parts:
    if parts.validation is not None:
        if validation is not None:
            raise DatasetError(f"{parts.source}: says itself which images are for validation, got also {validation} "
                               "validation images, wanted no --validation")  # fmt: skip
        return parts
    targets = np.asarray(parts.train.targets, np.int64)
    places = divided_indices(targets, validation, str(parts.source), by_class=by_class)
    train, held = (parts.train.picked(places[part].tolist()) for part in ("train", "validation"))
    return replace(parts, train=train, validation=held)


def _lines(part: Dataset, checked: Checked) -> Sequence[str]:
    """A line for each image, by which another run knows the same one: its name, its class and its content."""
    return [f"{part.name_of(file)}\t{part.classes[target]}\t{checked.facts[file].sha256}"
            for file, target in zip(part.files, part.targets, strict=True)]  # fmt: skip
