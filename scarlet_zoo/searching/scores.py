"""The one-shot accuracy of an architecture: its subnet of the supernet, with statistics of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from scarlet_zoo.searching.evaluation import Evaluation

_BATCH = 250


class SupernetScorer:
    """Scores architectures with a supernet's weights: a function of architecture, weights and data.

    Batch norm statistics are those of training pictures, the accuracy is on validation pictures.

    Raises:
        TrainingError: the supernet is for other classes than the data has.
    """

    def __init__(self, how: Evaluation) -> None:
        assert how.supernet is not None
        assert how.data is not None
        torch.set_num_threads(how.threads)
        self.supernet, _ = load_supernet(how.supernet)
        space = self.supernet.space
        name, folder, held = how.data
        data = open_data(name, space_preprocessing(space), folder, held)
        if len(data.classes) != space.num_classes:
            raise TrainingError(f"{how.supernet}: for {space.num_classes} classes, {name} has {len(data.classes)}")
        train = data.part("train")
        # Evenly over all: a folder's pictures come class after class.
        count = min(how.calibration, len(train))
        picked = [position * len(train) // count for position in range(count)]
        self.calibration = [
            train.__getitems__(Batch(tuple(picked[start :: max(count // _BATCH, 1)]), 0))[0]
            for start in range(max(count // _BATCH, 1))
        ]
        self.validation, self.limit = data.part("validation"), how.validation

    def network(self, arch: Arch) -> nn.Module:
        """The calibrated subnet, in eval mode."""
        model = self.supernet.subnet(Arch.parse(str(arch), self.supernet.space))
        model = model.to(memory_format=torch.channels_last)
        recalibrate(model, self.calibration)
        return model

    def __call__(self, arch: Arch) -> float:
        """Top-1 in percent."""
        return accuracy(self.network(arch), self.validation, limit=self.limit)
