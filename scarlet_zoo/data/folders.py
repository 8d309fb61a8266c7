"""Image files in folders, alone or labelled by one folder for each class.

Classes and files are in the order of torchvision's ``ImageFolder``. Files that are no images are left out, and each is
listed with the reason.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from scarlet_zoo.data.image_errors import ImageError
from scarlet_zoo.data.image_io import printable
from scarlet_zoo.errors import DatasetError

# Those of torchvision's ImageFolder first, then others that image_io opens.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",
              ".gif", ".jpe", ".jfif", ".pnm", ".pbm", ".jp2", ".avif", ".heic", ".heif", ".hif")  # fmt: skip
# Folders that systems write beside the images of people: archives made on a Mac, network disks, Windows.
_SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
_NAMED = 3  # files that a message names of each kind
_HIDDEN, _OTHER, STRAY = "hidden file", "no image's extension", "in no class folder"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file of a folder that was not used.

    Attributes:
        file: the file.
        kind: why, in a few words: ``hidden file``, ``no image's extension``, ``empty file``, ``broken image``, ...
        detail: what was found, where more is known.
    """

    file: Path
    kind: str
    detail: str = ""

    @classmethod
    def because(cls, file: Path, error: ImageError) -> Skipped:
        """The entry of a file that could not be opened as an image."""
        return cls(file, error.kind, str(error).removeprefix(f"{file}: "))

    @property
    def is_lost(self) -> bool:
        """Whether the file was meant as an image, by its name."""
        return self.kind not in (_HIDDEN, _OTHER)

    def to_dict(self) -> dict[str, str]:
        """``file`` and ``reason`` as text."""
        return {"file": printable(self.file), "reason": self.detail or self.kind}


def skipped_line(folder: Path, skipped: Sequence[Skipped], files: int) -> str:
    """Say in one line how many of a folder's files were skipped, and why; the first files of each kind are named.

    Args:
        folder: the folder.
        skipped: the skipped files.
        files: number of all files, skipped or not.
    """
    kinds: dict[str, list[str]] = {}
    for entry in skipped:
        kinds.setdefault(entry.kind, []).append(entry.file.name)
    said = []
    for kind, names in kinds.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        said.append(f"{kind}: {', '.join(names[:_NAMED])}{more}")
    return f"{printable(folder)}: skipped {len(skipped)} of {files} files ({'; '.join(said)})"


def list_images(folder: Path) -> tuple[list[Path], list[Skipped]]:
    """List the image files of a folder and its subfolders, by their names; also the files that are none.

    Links to folders are followed. Hidden files and folders (a name that starts with a dot) are skipped, as are empty
    files, those without an image's extension, and what is no regular file.

    Raises:
        DatasetError: a folder cannot be read.
    """
    images, skipped = [], []
    for file, kind in _walked(folder):
        if kind is None:
            images.append(file)
        else:
            skipped.append(Skipped(file, kind))
    # By the parts of their paths, as paths compare; the key makes it ten times faster.
    return sorted(images, key=_parts), sorted(skipped, key=lambda entry: entry.file.parts)


_parts = attrgetter("parts")


def _walked(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield the files of a folder and its subfolders, each with the reason why it is no image; None for an image."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_unreadable):
        here, known = Path(place), os.path.realpath(place)
        if known in seen:  # a link back to a folder that it lies in
            folders.clear()
            continue
        seen.add(known)
        hidden = any(map(_is_hidden_folder, here.relative_to(folder).parts))
        for file in map(here.joinpath, names):
            yield file, _HIDDEN if hidden else _unusable(file)


def _unreadable(error: OSError) -> None:
    raise DatasetError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _is_hidden_folder(name: str) -> bool:
    return name.startswith(".") or name in _SYSTEM_FOLDERS


def _unusable(file: Path) -> str | None:
    """Why a file cannot be an image, by its name and size; None if it can."""
    if file.name.startswith("."):
        return _HIDDEN
    if file.suffix.lower() not in EXTENSIONS:
        return _OTHER
    try:
        status = file.stat()
    except OSError:
        return "no regular file"
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    return None if status.st_size else "empty file"


@dataclass(frozen=True)
class Dataset:
    """Labelled image files: those of a folder, or those that a manifest lists.

    Attributes:
        folder: the folder of the class folders, or the manifest's; the images' names are relative to it.
        classes: names of the classes that have images; the position is the index of the class.
        files: the image files, class after class.
        targets: the class index of each file.
        skipped: the files that are no images.
        empty: names of class folders without an image, which are no classes.
    """

    folder: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    targets: tuple[int, ...]
    skipped: tuple[Skipped, ...] = ()
    empty: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all class folders, sorted, those without an image among them."""
        return tuple(sorted((*self.classes, *self.empty)))

    def picked(self, positions: Iterable[int]) -> Dataset:
        """The data set with the images at these positions only."""
        kept = list(positions)
        files = tuple(self.files[place] for place in kept)
        return replace(self, files=files, targets=tuple(self.targets[place] for place in kept))

    def limited(self, limit: int | None) -> Dataset:
        """The data set with at most so many images, spread evenly over all of them; all when None."""
        # Spread evenly: the first ones would all be of the first class.
        return self if limit is None else self.picked(evenly(len(self.files), limit))

    def numbered(self, index: Mapping[str, int]) -> Dataset:
        """The data set with other class indices, given for the name of each class that has images."""
        return replace(self, targets=tuple(index[self.classes[target]] for target in self.targets))

    def without(self, lost: Sequence[Skipped]) -> Dataset:
        """The data set without these files, which its ``skipped`` then lists; its classes stay those of before."""
        gone, own_files = {entry.file for entry in lost}, set(self.files)
        kept = self.picked(place for place, file in enumerate(self.files) if file not in gone)
        own = [entry for entry in lost if entry.file in own_files]
        return replace(kept, skipped=tuple(sorted((*self.skipped, *own), key=lambda entry: entry.file)))

    def name_of(self, file: Path) -> str:
        """The name of a file in the data set: its path from the folder, with slashes."""
        text, start = os.fspath(file), os.path.join(self.folder, "")  # noqa: PTH118 fast, for very many files
        inside = text[len(start) :] if text.startswith(start) else os.path.relpath(text, self.folder)
        return inside.replace(os.sep, "/")


def evenly(count: int, limit: int) -> tuple[int, ...]:
    """Return up to ``limit`` of ``count`` positions, spread evenly, since neighbours are often of one class."""
    number = min(limit, count)
    return tuple(position * count // number for position in range(number))


def folders_with_images(folder: Path) -> list[str]:
    """List the names of a folder's folders in which, or below which, there is an image by its name and size.

    Raises:
        DatasetError: a folder cannot be read.
    """
    return [name for name in folders_in(folder) if holds_images(folder / name)]


def folders_in(folder: Path) -> list[str]:
    """List the names of a folder's folders, sorted, without hidden ones and those that systems write.

    Raises:
        DatasetError: the folder cannot be read.
    """
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"{error.filename or folder}: cannot be read: {error.strerror}") from error
    return [child.name for child in children if child.is_dir() and not _is_hidden_folder(child.name)]


def holds_images(folder: Path) -> bool:
    """Whether a folder or one of its subfolders has an image, by name and size."""
    return any(kind is None for _, kind in _walked(folder))


def read_dataset(folder: Path, limit: int | None = None) -> Dataset:
    """List the image files of a folder that holds one folder for each class.

    Hidden files, empty files and files without an image's extension are skipped, and so are images beside the class
    folders; they are listed in the result. A class folder without an image is no class, and is listed too. No image is
    opened.

    Args:
        folder: the folder of the class folders.
        limit: largest number of images, spread evenly over all of them; all when left out.

    Raises:
        DatasetError: there is no such folder, it has no class folders, or those hold no images.
    """
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "no such folder"
        raise DatasetError(f"{folder}: {found}, wanted a folder with one folder for each class")
    names = folders_in(folder)
    if not names:
        raise DatasetError(f"{folder}: got no class folders, wanted a folder of images for each class")
    skipped = [Skipped(child, STRAY) for child in sorted(folder.iterdir())
               if not child.is_dir() and _unusable(child) is None]  # fmt: skip
    labelled: list[tuple[Path, int]] = []
    classes: list[str] = []
    for name in names:
        images, others = list_images(folder / name)
        labelled += [(file, len(classes)) for file in images]
        classes += [name] if images else []
        skipped += others
    if not labelled:
        raise DatasetError(f"{folder}: no images in its {len(names)} class folders, wanted {' '.join(EXTENSIONS)}")
    files, targets = zip(*labelled, strict=True)
    empty = tuple(name for name in names if name not in set(classes))
    return Dataset(folder, tuple(classes), files, targets, tuple(skipped), empty).limited(limit)
