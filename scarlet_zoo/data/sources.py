"""Where labelled images come from: folders, torchvision's data sets, Hugging Face's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from scarlet_zoo.data.image_io import open_image
from scarlet_zoo.errors import DatasetError
from scarlet_zoo.utils.installing import install_command


def folder_item(files: Sequence[Path], targets: Sequence[int], index: int) -> tuple[Image.Image, int]:
    """Open an image of a folder."""
    return open_image(files[index], upright=False), targets[index]


def torchvision_item(part: Any, index: int) -> tuple[Image.Image, int]:
    """Open an image of a torchvision set."""
    image, target = part[index]
    return image, int(target)


def hugging_face_item(part: Any, labels: Sequence[Any], index: int) -> tuple[Image.Image, int]:
    """Open an image of a Hugging Face split; its class is the position of its label."""
    row = part[index]
    return row["image"], labels.index(row["label"])


def torchvision_sets(name: str, folder: Path) -> tuple[Any, Any]:
    """Training and test part of one of torchvision's classification sets (``CIFAR10``, ``MNIST``, ...).

    Raises:
        DatasetError: no such set, or it is not there and cannot be downloaded.
    """
    import torchvision.datasets

    kind = getattr(torchvision.datasets, name, None)
    if not isinstance(kind, type):
        raise DatasetError(f"torchvision has no data set {name!r}, wanted one such as CIFAR10")
    parts = []
    for train in (True, False):
        try:
            parts.append(kind(str(folder), train=train, download=True))
        except TypeError as error:
            raise DatasetError(f"torchvision's {name}: has no training and test part, wanted one such as CIFAR10"
                               ) from error  # fmt: skip
        except (RuntimeError, OSError) as error:
            raise DatasetError(f"torchvision's {name} in {folder}: {str(error).strip().splitlines()[0]}") from error
    return parts[0], parts[1]


def hugging_face_sets(name: str, folder: Path | None) -> tuple[Any, Any]:
    """Training and test part of a set of the Hugging Face hub, or of one saved to a folder.

    Raises:
        DatasetError: the library or the set is missing, or it has no images with labels.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise DatasetError(
            f"data set hf: the library datasets is not installed, wanted it: {install_command('datasets')}"
        ) from error
    try:
        local = Path(name).is_dir()
        if local and folder is not None:
            raise ValueError(f"a folder, got the data folder {folder} besides, wanted none")
        loaded = datasets.load_from_disk(name) if local else datasets.load_dataset(name, cache_dir=folder)
    except Exception as error:
        # The library's own errors and those of the network have no common base.
        raise DatasetError(f"data set hf:{name}: {str(error).strip().splitlines()[0][:200]}") from error
    wanted = "wanted splits train and test (or validation) with features image and label"
    if not isinstance(loaded, datasets.DatasetDict) or "train" not in loaded:
        raise DatasetError(f"data set hf:{name}: no split train in it, {wanted}")
    test = next((loaded[key] for key in ("test", "validation", "valid") if key in loaded), None)
    if not {"image", "label"} <= set(loaded["train"].features):
        raise DatasetError(f"data set hf:{name}: features {' '.join(loaded['train'].features)}, {wanted}")
    return loaded["train"], test
