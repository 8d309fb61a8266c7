"""What lies at a path: class folders, the folders of a training and a test part, or a list of labelled images.

The rule: a folder has parts if its folder ``train`` holds class folders, and either ``test`` or ``val`` beside it
holds some of the same names, or nothing else beside it holds images. Otherwise each of its folders is a class, one
named ``train`` too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scarlet_zoo.data.folders import Dataset, folders_in, folders_with_images, read_dataset
from scarlet_zoo.data.image_io import printable
from scarlet_zoo.data.manifests import is_manifest, metadata_in, read_manifest
from scarlet_zoo.errors import DatasetError

# Names of the parts' folders, in lower case; of the test part's the first that exists is used.
TRAIN_PARTS = ("train", "training")
TEST_PARTS = ("test", "testing", "val", "valid", "validation")
_NAMED = 5  # classes or folders that a message names


@dataclass(frozen=True)
class Parts:
    """Labelled image files, divided as their owner has divided them.

    Attributes:
        source: the path that was read.
        read_as: how it was read, in a few words.
        train: the training images, or all images of a source without parts.
        validation: the images that a manifest sets aside for validation; None if it leaves the choice.
        test: the test images; None if there are none. The classes of all parts are those of ``train``.
        divided: whether the source itself says what is a part.
        remarks: what its owner should know about how it was read, one line each.
    """

    source: Path
    read_as: str
    train: Dataset
    validation: Dataset | None = None
    test: Dataset | None = None
    divided: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def datasets(self) -> dict[str, Dataset]:
        """The parts that there are, by their names."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}

    def mapped(self, change: Callable[[Dataset], Dataset]) -> Parts:
        """The parts, each changed in the same way."""
        return replace(
            self,
            train=change(self.train),
            validation=None if self.validation is None else change(self.validation),
            test=None if self.test is None else change(self.test),
        )


def listed(names: Sequence[str]) -> str:
    """Join names for a message; the first few of many."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def is_on_disk(path: Path) -> bool:
    """Whether a path is a folder or a manifest, which :func:`read_parts` reads."""
    return path.is_dir() or (path.is_file() and is_manifest(path))


def is_named_data(data: str) -> bool:
    """Whether a text is the name of a data set and not the path of a folder or a manifest."""
    return not Path(data).exists() and (data == "fashion-mnist" or data.startswith(("torchvision:", "hf:")))


def read_parts(path: Path) -> Parts:
    """List the labelled images at a path; no image is opened.

    Args:
        path: a folder with one folder for each class; a folder whose folders ``train`` and ``test`` or ``val`` hold
            such folders; a folder with a Hugging Face ``metadata.csv`` or ``metadata.jsonl`` that has labels, in it or
            in each part; or a manifest, as :func:`scarlet_zoo.data.manifests.read_manifest` reads it.

    Raises:
        DatasetError: no such path, no labelled images in it, a line of a list that cannot be used, or a class of the
            test part that the training part lacks.
    """
    if path.is_file() and is_manifest(path):
        return _from_manifest(path, path)
    if not path.is_dir():
        found = "is a file" if path.exists() else "no such folder"
        raise DatasetError(f"{path}: {found}, wanted a folder with one folder for each class, or a list of "
                           "images (.csv .tsv .json .jsonl)")  # fmt: skip
    listing = metadata_in(path)
    if listing is not None:
        return _from_manifest(listing, path)
    found_parts = _part_folders(path)
    if found_parts is None:
        dataset = read_dataset(path)
        return Parts(path, f"{len(dataset.classes)} class folders", dataset, remarks=_remarks_on(path, dataset))
    return _from_part_folders(path, *found_parts)


def _remarks_on(folder: Path, dataset: Dataset) -> tuple[str, ...]:
    own = [name for name in dataset.classes if name.lower() in TRAIN_PARTS]
    if not own:
        return ()
    others = listed([name for name in dataset.classes if name not in own])
    beside = f", because {others} beside it hold images too" if others else ""
    return (f"{printable(folder)}: its folder {own[0]} is read as a class{beside}",)


def _part_folders(folder: Path) -> tuple[Path, list[Path], list[str]] | None:
    """The training folder, the folders that may be the test part, and others with images; None without parts."""
    names = folders_in(folder)
    train = next((folder / name for wanted in TRAIN_PARTS for name in names if name.lower() == wanted), None)
    classes = set(folders_with_images(train)) if train is not None and metadata_in(train) is None else set()
    if train is None or not (classes or metadata_in(train)):
        return None
    tests = [folder / name for wanted in TEST_PARTS for name in names if name.lower() == wanted]
    parts = {train.name, *(part.name for part in tests)}
    others = [name for name in folders_with_images(folder) if name not in parts]
    shares = any(classes & set(folders_with_images(part)) for part in tests)
    return (train, tests, others) if shares or not others or metadata_in(train) else None


def _from_part_folders(folder: Path, train: Path, tests: Sequence[Path], others: Sequence[str]) -> Parts:
    remarks = [f"{printable(folder)}: {name} beside {train.name} is not used" for name in others]
    own, found = _part(train), None
    for part in tests:
        if not (metadata_in(part) or folders_with_images(part)):
            remarks.append(f"{printable(part)}: is not used, it holds no class folders with images")
        elif found is None:
            found = part
        else:
            remarks.append(f"{printable(part)}: is used with --validation-data only: {found.name} is the test part, "
                           f"and validation images are otherwise taken out of {train.name}")  # fmt: skip
    test = _with_classes_of(own, _part(found)) if found is not None else None
    read_as = f"{train.name} (training images)" + (f" and {found.name} (test images)" if found is not None else "")
    return Parts(folder, read_as, own, None, test, divided=True, remarks=tuple(remarks))


def _part(folder: Path) -> Dataset:
    listing = metadata_in(folder)
    return read_dataset(folder) if listing is None else read_manifest(listing).whole()


def _from_manifest(listing: Path, source: Path) -> Parts:
    manifest = read_manifest(listing)
    parts = manifest.parts()
    train = parts["train"]
    others = {name: _with_classes_of(train, parts[name]) for name in ("validation", "test") if name in parts}
    said = ", ".join(f"{len(part.files):,} for {name}" for name, part in parts.items())
    read_as = f"a list of images, {listing.name} ({said})"
    return Parts(source, read_as, train, others.get("validation"), others.get("test"), divided=bool(others))


def _with_classes_of(train: Dataset, part: Dataset) -> Dataset:
    """The images of another part, with the class indices of the training part; classes are matched by their names."""
    unknown = [name for name in part.classes if name not in train.classes]
    if unknown:
        raise DatasetError(
            f"{part.folder}: holds images of the class {unknown[0]!r}, which has none in {train.folder}, wanted the "
            f"classes {listed(train.classes)}"
        )
    index = {name: train.classes.index(name) for name in part.classes}
    return replace(part.numbered(index), classes=train.classes)
