"""Labelled images in folders: one folder for each class.

Classes and files are in the order of torchvision's ``ImageFolder``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scarlet_zoo.errors import DatasetError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# Names of the test part's folder, beside that of the training part; the first that exists is used.
TEST_PARTS = ("test", "val", "validation")


@dataclass(frozen=True)
class Dataset:
    """The labelled image files of a folder.

    Attributes:
        folder: the folder of the class folders.
        classes: names of the class folders; the position is the index of the class.
        files: the image files, class after class.
        targets: the class index of each file.
    """

    folder: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    targets: tuple[int, ...]


def has_parts(folder: Path) -> bool:
    """Return whether a folder holds the folders of a training and a test part, rather than class folders."""
    return (folder / "train").is_dir() and any((folder / part).is_dir() for part in TEST_PARTS)


def read_dataset(folder: Path, limit: int | None = None) -> Dataset:
    """List the image files of a folder that holds one folder for each class.

    Names that start with a dot are left out, as are files without an image's extension.

    Args:
        folder: the folder of the class folders.
        limit: largest number of images, spread evenly over all of them; all when left out.

    Raises:
        DatasetError: there is no such folder, it has no class folders, or those hold no images.
    """
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "no such folder"
        raise DatasetError(f"{folder}: {found}, wanted a folder with one folder for each class")
    try:
        classes = sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
        labelled = [(file, index) for index, name in enumerate(classes) for file in _image_files(folder / name)]
    except OSError as error:
        raise DatasetError(f"{error.filename or folder}: cannot be read: {error.strerror}") from error
    if not classes:
        raise DatasetError(f"{folder}: got no class folders, wanted a folder of images for each class")
    if not labelled:
        raise DatasetError(f"{folder}: no images in its {len(classes)} class folders, wanted {' '.join(EXTENSIONS)}")
    count = len(labelled) if limit is None else min(limit, len(labelled))
    # Spread evenly: the first ones would all be of the first class.
    picked = [labelled[position * len(labelled) // count] for position in range(count)]
    return Dataset(folder, tuple(classes), tuple(file for file, _ in picked), tuple(index for _, index in picked))


def _image_files(folder: Path) -> Sequence[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in EXTENSIONS and not file.name.startswith(".") and file.is_file()
    )
