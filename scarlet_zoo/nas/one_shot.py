"""A trained supernet with its data, which gives the one-shot accuracy of an architecture."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.batches import Batch
from scarlet_zoo.data.class_folders import Logits
from scarlet_zoo.data.datasets import ImageData
from scarlet_zoo.data.folders import evenly
from scarlet_zoo.data.held_out import TrainingImages
from scarlet_zoo.data.own_validation import open_with_validation
from scarlet_zoo.data.pixel_cache import CACHE_GB
from scarlet_zoo.data.preprocessing import space_preprocessing
from scarlet_zoo.data.splits import Split
from scarlet_zoo.data.stated import stated_labels
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.inference.accuracy import judge
from scarlet_zoo.models.batchnorm import precise_bn
from scarlet_zoo.models.supernet import Supernet, load_supernet

_BATCH = 250


class OneShot:
    """A supernet's weights and the images that its architectures are scored on.

    Batch norm statistics are computed from training images (precise BN) and accuracy is measured on validation
    images, so a score depends only on architecture, weights and data.

    Args:
        file: the supernet's file.
        data: name of the data set, its folder, and the number of its validation images; None for the defaults.
        calibration: number of training images for the batch norm statistics.
        validation: number of validation images that are used; all when None.
        threads: torch's threads.
        validation_data: folder of one's own validation images.

    Attributes:
        supernet: the supernet of the file.
        metadata: the metadata of the file.
        limit: number of validation images that are used; all when None.
    """

    def __init__(
        self,
        file: Path,
        data: tuple[str, Path | None, int | None],
        calibration: int = 2000,
        validation: int | None = None,
        threads: int = 1,
        validation_data: str | None = None,
    ) -> None:
        torch.set_num_threads(threads)
        self.file = file
        self.supernet, self.metadata = load_supernet(file)
        self._data, self._calibration, self.limit = data, calibration, validation
        self._validation_data = validation_data

    @cached_property
    def images(self) -> ImageData:
        """The data set, opened when it is first used; a score that needs only weights never opens it.

        Raises:
            TrainingError: supernet and data have different numbers of classes.
            DatasetError: a class that the supernet does not know, or other images or another number of validation
                images than it was trained with.
        """
        space, (name, folder, validation) = self.supernet.space, self._data
        feed = space_preprocessing(space)
        labels = stated_labels(self.metadata, self.file)
        logits = None if labels is None else Logits(str(self.file), space.num_classes, labels)
        trained = TrainingImages(str(self.file), self.metadata)
        images = open_with_validation(name, feed, folder, validation, self._validation_data, CACHE_GB, logits=logits,
                                      by_class=trained.by_class)  # fmt: skip
        if len(images.classes) != space.num_classes:
            raise TrainingError(f"{self.file}: got a supernet for {space.num_classes} classes, wanted "
                                f"{len(images.classes)} as in {name}")  # fmt: skip
        trained.require(images.division, name, validation)
        return images

    @cached_property
    def calibration(self) -> list[Tensor]:
        """Batches of training images (N, C, H, W) for the batch norm statistics."""
        train = self.images.part("train")
        picked = evenly(len(train), self._calibration)
        parts = max(len(picked) // _BATCH, 1)
        return [train.__getitems__(Batch(picked[start::parts], 0))[0] for start in range(parts)]

    @cached_property
    def validation(self) -> Split:
        """The validation images that accuracy is measured on."""
        return self.images.part("validation")

    def network(self, arch: Arch, supernet: Supernet | None = None) -> nn.Module:
        """Return the subnet with precise BN, in eval mode; its weights come from ``supernet`` if that is given."""
        source = supernet if supernet is not None else self.supernet
        model = source.subnet(arch.embed_in(source.space)).to(memory_format=torch.channels_last)
        precise_bn(model, self.calibration)
        return model

    def scores(self, arch: Arch, supernet: Supernet | None = None) -> dict[str, float]:
        """Return the ``accuracy`` in percent and the ``loss`` in nats on the validation images, with precise BN."""
        found = judge(self.network(arch, supernet), self.validation, limit=self.limit)
        return {"accuracy": found.accuracy.percent, "loss": found.loss}

    def accuracy(self, arch: Arch, supernet: Supernet | None = None) -> float:
        """Return the accuracy of :meth:`scores`."""
        return self.scores(arch, supernet)["accuracy"]
