"""A trained supernet on its data: the one-shot accuracy of an architecture, and what else is scored by."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from scarlet_zoo.arch import Arch
from scarlet_zoo.batches import Batch
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.image_data import open_data
from scarlet_zoo.networks import space_preprocessing
from scarlet_zoo.recalibration import recalibrate
from scarlet_zoo.scoring import accuracy
from scarlet_zoo.supernet import Supernet, load_supernet

_BATCH = 250


class OneShot:
    """A supernet's weights and the pictures that its architectures are scored on.

    Batch norm statistics are those of training pictures, the accuracy is on validation pictures, so that a
    score is a function of architecture, weights and data.

    Args:
        file: the supernet's.
        data: name of the data set, its folder, and how many pictures are held out.
        calibration: training pictures that statistics are taken from.
        validation: validation pictures that count; all when None.
        threads: of torch.

    Attributes:
        supernet, metadata: what the file holds.

    Raises:
        TrainingError: the supernet is for other classes than the data has.
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
        space = self.supernet.space
        name, folder, held = data
        pictures = open_data(name, space_preprocessing(space), folder, held)
        if len(pictures.classes) != space.num_classes:
            raise TrainingError(f"{file}: for {space.num_classes} classes, {name} has {len(pictures.classes)}")
        train = pictures.part("train")
        # Evenly over all: a folder's pictures come class after class.
        count = min(calibration, len(train))
        picked = [position * len(train) // count for position in range(count)]
        self.calibration = [
            train.__getitems__(Batch(tuple(picked[start :: max(count // _BATCH, 1)]), 0))[0]
            for start in range(max(count // _BATCH, 1))
        ]
        self.validation, self.limit = pictures.part("validation"), validation

    def network(self, arch: Arch, supernet: Supernet | None = None) -> nn.Module:
        """The calibrated subnet in eval mode, of these weights or of others of the same supernet."""
        source = supernet if supernet is not None else self.supernet
        model = source.subnet(Arch.parse(str(arch), source.space)).to(memory_format=torch.channels_last)
        recalibrate(model, self.calibration)
        return model

    def accuracy(self, arch: Arch, supernet: Supernet | None = None) -> float:
        """Top-1 in percent."""
        return accuracy(self.network(arch, supernet), self.validation, limit=self.limit)
