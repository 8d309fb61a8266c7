"""A trained supernet on its data: the one-shot accuracy of an architecture, and what else is scored by."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.batches import Batch
from scarlet_zoo.data.datasets import ImageData, open_data
from scarlet_zoo.data.preprocessing import space_preprocessing
from scarlet_zoo.data.splits import Split, evenly
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.inference.accuracy import accuracy
from scarlet_zoo.models.batchnorm import recalibrate
from scarlet_zoo.models.supernet import Supernet, load_supernet

_BATCH = 250


class OneShot:
    """A supernet's weights and the images that its architectures are scored on.

    Batch norm statistics are those of training images, the accuracy is on validation images, so that a
    score is a function of architecture, weights and data.

    Args:
        file: the supernet's.
        data: name of the data set, its folder, and how many images are held out.
        calibration: training images that statistics are taken from.
        validation: validation images that count; all when None.
        threads: of torch.

    Attributes:
        supernet, metadata: what the file holds.
        limit: validation images that count; all when None.
    """

    def __init__(
        self,
        file: Path,
        data: tuple[str, Path | None, int | None],
        calibration: int = 2000,
        validation: int | None = None,
        threads: int = 1,
    ) -> None:
        torch.set_num_threads(threads)
        self.file = file
        self.supernet, self.metadata = load_supernet(file)
        self._data, self._calibration, self.limit = data, calibration, validation

    @cached_property
    def images(self) -> ImageData:
        """The data set; opened when something is first scored on it, which a score of weights alone never is.

        Raises:
            TrainingError: the supernet is for other classes than the data has.
        """
        space, (name, folder, held) = self.supernet.space, self._data
        images = open_data(name, space_preprocessing(space), folder, held)
        if len(images.classes) != space.num_classes:
            raise TrainingError(f"{self.file}: for {space.num_classes} classes, {name} has {len(images.classes)}")
        return images

    @cached_property
    def calibration(self) -> list[Tensor]:
        """Batches of training images (N, C, H, W) that batch norm statistics are taken from."""
        train = self.pictures.part("train")
        picked = evenly(len(train), self._calibration)
        parts = max(len(picked) // _BATCH, 1)
        return [train.__getitems__(Batch(picked[start::parts], 0))[0] for start in range(parts)]

    @cached_property
    def validation(self) -> Split:
        """The images that accuracy is taken on."""
        return self.pictures.part("validation")

    def network(self, arch: Arch, supernet: Supernet | None = None) -> nn.Module:
        """The calibrated subnet in eval mode, of these weights or of others of the same supernet."""
        source = supernet if supernet is not None else self.supernet
        model = source.subnet(arch.embed_in(source.space)).to(memory_format=torch.channels_last)
        recalibrate(model, self.calibration)
        return model

    def accuracy(self, arch: Arch, supernet: Supernet | None = None) -> float:
        """Top-1 in percent."""
        return accuracy(self.network(arch, supernet), self.validation, limit=self.limit)
