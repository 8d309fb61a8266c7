"""Labelled pictures that are opened one at a time: folders, torchvision's data sets, Hugging Face's."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor

from scarlet_zoo.batches import Batch
from scarlet_zoo.errors import DatasetError
from scarlet_zoo.image_files import open_picture
from scarlet_zoo.preprocessing import Preprocessing

# A picture and its class index, by position.
Item = Callable[[int], tuple[Image.Image, int]]


class PictureSplit(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Pictures opened when they are needed, prepared by timm's training transform or as for evaluation.

    Args:
        kept: positions of those that belong to this split.
        item: opens the picture at a position.
        preprocessing: how the network is fed.
        augment: whether to crop and mirror at random (Inception's crop: 8 to 100 % of the area).
    """

    def __init__(self, kept: Sequence[int], item: Item, preprocessing: Preprocessing, augment: bool = False) -> None:
        self._kept, self._item, self.preprocessing = kept, item, preprocessing
        self._augment: Any = None
        if augment:
            self._augment = create_transform(
                (preprocessing.channels, *preprocessing.size),
                is_training=True,
                mean=preprocessing.mean,
                std=preprocessing.std,
                interpolation=preprocessing.interpolation,
                color_jitter=0.0,
            )

    def __len__(self) -> int:
        return len(self._kept)

    def __getitems__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Normalised pictures float32 (N, C, H, W), in channels-last memory, and targets (N,)."""
        images, targets = [], []
        state, generator = random.getstate(), random.Random(batch.seed)
        with torch.random.fork_rng(devices=[]):
            for index in batch.indices:
                # timm's transforms draw from both of the process's generators.
                seed = generator.getrandbits(32)
                random.seed(seed)
                torch.manual_seed(seed)
                picture, target = self._item(int(self._kept[index]))
                images.append(self._prepare(picture))
                targets.append(target)
        random.setstate(state)
        return torch.stack(images).contiguous(memory_format=torch.channels_last), torch.tensor(targets)

    def _prepare(self, picture: Image.Image) -> Tensor:
        if self._augment is None:
            return torch.from_numpy(self.preprocessing(picture))
        made: Tensor = self._augment(picture.convert("L" if self.preprocessing.channels == 1 else "RGB"))
        return made


def folder_item(files: Sequence[Path], targets: Sequence[int], index: int) -> tuple[Image.Image, int]:
    """Open a picture of a folder."""
    return open_picture(files[index], upright=False), targets[index]


def torchvision_item(part: Any, index: int) -> tuple[Image.Image, int]:
    """Open a picture of a torchvision set."""
    picture, target = part[index]
    return picture, int(target)


def hugging_face_item(part: Any, labels: Sequence[Any], index: int) -> tuple[Image.Image, int]:
    """Open a picture of a Hugging Face split; its class is the position of its label."""
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
        DatasetError: the library or the set is missing, or it has no pictures with labels.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise DatasetError("data set hf: needs the library datasets: pip install 'scarlet-zoo[datasets]'") from error
    try:
        local = Path(name).is_dir()
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
