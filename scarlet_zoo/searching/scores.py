"""The one-shot accuracy of an architecture: its subnet of the supernet, with statistics of its own."""

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
from scarlet_zoo.supernet import load_supernet

_BATCH = 250


class SupernetScorer:
    """Scores architectures with a supernet's weights: a function of architecture, weights and data.

    Batch norm statistics are those of training pictures, the accuracy is on validation pictures.

    Args:
        file: the supernet's.
        data: name of the data set, its folder, and how many pictures are held out.
        calibration: training pictures that statistics are taken from.
        validation: validation pictures that count; all when None.
        threads: of torch.

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
        self.supernet, _ = load_supernet(file)
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

    def network(self, arch: Arch) -> nn.Module:
        """The calibrated subnet, in eval mode."""
        model = self.supernet.subnet(Arch.parse(str(arch), self.supernet.space))
        model = model.to(memory_format=torch.channels_last)
        recalibrate(model, self.calibration)
        return model

    def __call__(self, arch: Arch) -> float:
        """Top-1 in percent."""
        return accuracy(self.network(arch), self.validation, limit=self.limit)
