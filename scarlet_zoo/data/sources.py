"""The sources of labelled images: folders, and the data sets of torchvision and Hugging Face."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.data.image_errors import ImageError, errors_of_image
from scarlet_zoo.data.image_io import as_the_camera_was_held, open_image
from scarlet_zoo.data.pixel_kinds import plain
from scarlet_zoo.errors import DatasetError
from scarlet_zoo.utils.installing import install_command


@dataclass(frozen=True)
class Source:
    """Labelled images that are opened when they are needed.

    Attributes:
        targets: class index of each image, int64 (N,).
        open: opens the image at a position, upright if the source was asked for that.
        fingerprint: gives :attr:`digest`.
        raw: opens the image at a position as it is stored, to check it; None where nothing is to be checked, because
            the pixels are in memory or the files were checked already.
    """

    targets: NDArray[np.int64]
    open: Callable[[int], Image.Image]
    fingerprint: Callable[[], str | None] = lambda: None
    raw: Callable[[int], Image.Image] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def numbered(self, index: Sequence[int]) -> Source:
        """Return the same images with other class indices, given for each of the former ones."""
        return replace(self, targets=np.asarray(index, np.int64)[self.targets])

    def picked(self, places: NDArray[np.int64]) -> Source:
        """Return the source of the images at some positions."""
        return Source(self.targets[places], partial(_open_at, self, places), partial(_picked_digest, self, places))

    @cached_property
    def digest(self) -> str | None:
        """A text that changes whenever an image may have changed; None where nothing tells."""
        return self.fingerprint()


def folder_source(files: Sequence[Path], targets: Sequence[int], *, upright: bool = True) -> Source:
    """Return the images of image files, given the class index of each."""
    return Source(np.asarray(targets, np.int64), partial(_open_file, files, upright), partial(_files_digest, files))


def torchvision_source(part: Any, *, upright: bool = True, name: str = "image") -> Source:
    """Return the images of one part of a torchvision data set.

    Args:
        part: the part.
        upright: whether the camera's rotation is applied.
        name: what stands before an image's position in messages.
    """
    targets = getattr(part, "targets", None)
    # Most data sets list their targets; for the others every image is opened once.
    known = targets if targets is not None else [_label_at(part, position) for position in range(len(part))]
    raw = partial(_raw_entry, part, 0, name)
    return Source(np.asarray(known, np.int64), partial(_open_entry, raw, upright, name),
                  partial(_torchvision_digest, part), raw if _held(part) is None else None)  # fmt: skip


def _label_at(part: Any, position: int) -> int:
    """The label of an image; -1 for one that cannot be read."""
    try:
        return int(part[position][1])
    except Exception:  # whatever the data set raises, the check of the images says it
        return -1


def hugging_face_source(part: Any, labels: Sequence[Any], *, upright: bool = True, name: str = "image") -> Source:
    """Return the images of a Hugging Face split; the class index of an image is the position of its label.

    Args:
        part: the split.
        labels: the labels in the order of the classes.
        upright: whether the camera's rotation is applied.
        name: what stands before an image's position in messages.

    Raises:
        DatasetError: an image has none of the labels.
    """
    index = {label: position for position, label in enumerate(labels)}
    given = part["label"]
    unknown = next((position for position, label in enumerate(given) if label not in index), None)
    if unknown is not None:
        raise DatasetError(f"{name} {unknown}: got label {given[unknown]!r}, wanted one of the {len(labels)} classes")
    targets = np.asarray([index[label] for label in given], np.int64)
    raw = partial(_raw_entry, part, "image", name)
    return Source(targets, partial(_open_entry, raw, upright, name), partial(_hugging_face_digest, part), raw)


def _state(file: Path) -> str:
    """What changes when a file is changed: its path, size in bytes and time of modification."""
    status = file.stat()
    return f"{file.absolute()} {status.st_size} {status.st_mtime_ns}"


def _digest(kind: str, texts: Iterable[str]) -> str:
    made = hashlib.sha256(kind.encode())
    for text in texts:
        made.update(b"\0" + os.fsencode(text))
    return made.hexdigest()


def _open_at(source: Source, places: NDArray[np.int64], index: int) -> Image.Image:
    return source.open(int(places[index]))


def _picked_digest(source: Source, places: NDArray[np.int64]) -> str | None:
    return (
        None if source.digest is None else _digest("picked", [source.digest, places.astype(np.int64).tobytes().hex()])
    )


def _files_digest(files: Sequence[Path]) -> str:
    return _digest("files", map(_state, files))


def _hugging_face_digest(part: Any) -> str:
    files = [Path(entry["filename"]) for entry in part.cache_files]
    return _digest("hf 2", [part._fingerprint, *map(_state, files)])


def _torchvision_digest(part: Any) -> str | None:
    """The digest of a data set's pixels if it holds them in memory, else of the files in its folder, if it has one."""
    facts = [type(part).__qualname__, str(len(part)), str(getattr(part, "train", ""))]
    held = _held(part)
    if held is not None:
        pixels = np.ascontiguousarray(held)
        return _digest("torchvision", [*facts, str(pixels.shape), hashlib.sha256(pixels.tobytes()).hexdigest()])
    root = getattr(part, "root", None)
    if not isinstance(root, (str, Path)) or not Path(root).is_dir():
        return None
    files = sorted(file for file in Path(root).rglob("*") if file.is_file())
    return _digest("torchvision", [*facts, *map(_state, files)])


def _held(part: Any) -> Any:
    """The pixels of a data set that holds them in memory, an array or a tensor; None of another one."""
    held = getattr(part, "data", None)
    return held if hasattr(held, "tobytes") or hasattr(held, "numpy") else None


def _open_file(files: Sequence[Path], upright: bool, index: int) -> Image.Image:
    return open_image(files[index], upright=upright)


def _raw_entry(part: Any, key: Any, name: str, index: int) -> Image.Image:
    """The image at a position of a data set, read completely."""
    with errors_of_image(f"{name} {index}"):
        image: Image.Image = part[index][key]
        if image is None:
            raise ImageError(f"{name} {index}: holds no image", "no image")
        image.load()
        return image


def _open_entry(raw: Callable[[int], Image.Image], upright: bool, name: str, index: int) -> Image.Image:
    """The image at a position of a data set, with the kind of pixels that files get."""
    image = raw(index)
    if upright and image.getexif():
        image = as_the_camera_was_held(image.copy())
    return plain(image, f"{name} {index}")


def torchvision_sets(name: str, folder: Path) -> tuple[Any, Any]:
    """Open the training and test part of a classification data set of torchvision (``CIFAR10``, ``MNIST``, ...).

    Raises:
        DatasetError: there is no such data set, or it is missing and cannot be downloaded.
    """
    import torchvision.datasets

    kind = getattr(torchvision.datasets, name, None)
    if not isinstance(kind, type):
        raise DatasetError(f"torchvision: got unknown data set {name!r}, wanted one such as CIFAR10")
    parts = []
    for train in (True, False):
        try:
            parts.append(kind(str(folder), train=train, download=True))
        except TypeError as error:
            raise DatasetError(
                f"torchvision's {name}: got no training and test part, wanted a data set such as CIFAR10"
            ) from error
        except (RuntimeError, OSError) as error:
            raise DatasetError(f"torchvision's {name} in {folder}: {str(error).strip().splitlines()[0]}") from error
    return parts[0], parts[1]


def hugging_face_sets(name: str, folder: Path | None) -> tuple[Any, Any]:
    """Open the training and test part of a data set of the Hugging Face hub, or of one saved to a folder.

    Raises:
        DatasetError: the library or the data set is missing, or it has no images with labels.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise DatasetError(
            f"data set hf: the package datasets is not installed, install it with: {install_command('datasets')}"
        ) from error
    try:
        local = Path(name).is_dir()
        if local and folder is not None:
            raise ValueError(f"is a folder itself, got also the data folder {folder}, wanted no data folder")
        loaded = datasets.load_from_disk(name) if local else datasets.load_dataset(name, cache_dir=folder)
    except Exception as error:
        # The library's errors and network errors have no common base class.
        raise DatasetError(f"data set hf:{name}: {str(error).strip().splitlines()[0][:200]}") from error
    wanted = "wanted splits train and test (or validation) with features image and label"
    if not isinstance(loaded, datasets.DatasetDict) or "train" not in loaded:
        raise DatasetError(f"data set hf:{name}: got no split train, {wanted}")
    test = next((loaded[key] for key in ("test", "validation", "valid") if key in loaded), None)
    if not {"image", "label"} <= set(loaded["train"].features):
        raise DatasetError(f"data set hf:{name}: got features {' '.join(loaded['train'].features)}, {wanted}")
    return loaded["train"], test
