"""Labelled images as people keep them: a folder a class, in the order of their names.

The order is that of torchvision's ``ImageFolder``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scarlet_zoo.errors import DatasetError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# Folders of the test part beside that of the training part, the first that is there.
TEST_PARTS = ("test", "val", "validation")


@dataclass(frozen=True)
class Dataset:
    """Labelled images.

    Attributes:
        folder: where they are.
        classes: names of the class folders; the position is the index of the class.
        files: the images, class after class.
        targets: the class index of each.
    """

    folder: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    targets: tuple[int, ...]


def has_parts(folder: Path) -> bool:
    """Whether a folder holds a training and a test part, each a folder a class, rather than the classes themselves."""
    return (folder / "train").is_dir() and any((folder / part).is_dir() for part in TEST_PARTS)


def read_dataset(folder: Path, limit: int | None = None) -> Dataset:
    """List the images of a folder that holds a folder a class.

    Names that start with a dot are left out, as are files without an image's extension.

    Args:
        folder: of the class folders.
        limit: at most so many images, spread evenly over all of them; all when left out.

    Raises:
        DatasetError: no such folder, no class folders in it, or no images in those.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: {'is a file' if folder.exists() else 'no such folder'}, wanted a folder a class")
    try:
        classes = sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
        found = [(file, index) for index, name in enumerate(classes) for file in _image_files(folder / name)]
    except OSError as error:
        raise DatasetError(f"{error.filename or folder}: cannot be read: {error.strerror}") from error
    if not classes:
        raise DatasetError(f"{folder}: no class folders in it, wanted a folder of images for each class")
    if not found:
        raise DatasetError(f"{folder}: no images in its {len(classes)} class folders, wanted {' '.join(EXTENSIONS)}")
    count = len(found) if limit is None else min(limit, len(found))
    # The first ones would all be of the first class.
    kept = [found[position * len(found) // count] for position in range(count)]
    return Dataset(folder, tuple(classes), tuple(file for file, _ in kept), tuple(index for _, index in kept))


def _image_files(folder: Path) -> Sequence[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in EXTENSIONS and not file.name.startswith(".") and file.is_file()
    )
