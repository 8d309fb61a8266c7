"""The sources of labelled images: folders, and the data sets of torchvision and Hugging Face."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from scarlet_zoo.data.image_io import open_image
from scarlet_zoo.errors import DatasetError
from scarlet_zoo.utils.installing import install_command


def folder_item(files: Sequence[Path], targets: Sequence[int], index: int) -> tuple[Image.Image, int]:
    """Open an image file of a folder; returns the image and its class index."""
    return open_image(files[index], upright=False), targets[index]


def torchvision_item(part: Any, index: int) -> tuple[Image.Image, int]:
    """Open an image of a torchvision data set; returns the image and its class index."""
    image, target = part[index]
    return image, int(target)


def hugging_face_item(part: Any, labels: Sequence[Any], index: int) -> tuple[Image.Image, int]:
    """Open an image of a Hugging Face split; returns it and its class index, the position of its label."""
    row = part[index]
    return row["image"], labels.index(row["label"])


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
