"""Mixup and CutMix: images of a batch that are mixed with each other, and targets that are shares of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import CutMix, MixUp

from scarlet_zoo.data.auto_augment import seeded
from scarlet_zoo.data.batches import Batch, mixed_seed
from scarlet_zoo.data.splits import Split
from scarlet_zoo.errors import TrainingError

_MIXING = 1  # tells the seed of the mixing from that of the augmentation


@dataclass(frozen=True)
class Mixing:
    """How the images of a batch are mixed; one share is drawn for a whole batch.

    Attributes:
        mixup: alpha of the Beta distribution of the share with which two images are blended (arXiv 1710.09412); 0 for
            no mixup.
        cutmix: alpha of that of the area of a rectangle that another image fills (arXiv 1905.04899); 0 for no CutMix.
            With both, each batch draws one of them.
        prob: probability that a batch is mixed at all.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    prob: float = 1.0

    @property
    def is_on(self) -> bool:
        """Whether anything is mixed."""
        return bool(self.mixup or self.cutmix)

    def check(self) -> None:
        """Check the numbers.

        Raises:
            TrainingError: one is outside its limits.
        """
        for name, most in (("mixup", math.inf), ("cutmix", math.inf), ("prob", 1)):
            value = getattr(self, name)
            if not 0 <= value <= most or math.isinf(value):
                wanted = "0 or more" if math.isinf(most) else f"0 to {most}"
                raise TrainingError(f"mixing: got {name} {value}, wanted {wanted}")

    def __call__(self, images: Tensor, targets: Tensor, classes: int, seed: int) -> tuple[Tensor, Tensor]:
        """Mix the images (N, C, H, W) of a batch, and return them and the share of each class (N, classes).

        Args:
            images: normalised images.
            targets: class indices (N,).
            classes: number of classes.
            seed: seed of what is drawn.
        """
        kinds = [kind(alpha=alpha, num_classes=classes)
                 for kind, alpha in ((MixUp, self.mixup), (CutMix, self.cutmix)) if alpha]  # fmt: skip
        with seeded(seed):
            drawn, choice = torch.rand(2).tolist()
            if drawn >= self.prob:
                return images, torch.nn.functional.one_hot(targets, classes).float()
            made, shares = kinds[int(choice * len(kinds))](images, targets)
        return made.contiguous(memory_format=torch.channels_last), shares


class Mixed:
    """A split whose batches are mixed.

    Args:
        split: labelled images, read with a :class:`Batch`.
        mixing: how they are mixed.
        classes: number of classes.
    """

    def __init__(self, split: Split, mixing: Mixing, classes: int) -> None:
        self._split, self._mixing, self._classes = split, mixing, classes

    @property
    def targets(self) -> Tensor:
        """The class index of each image before it is mixed, int64 (N,)."""
        return self._split.targets

    @property
    def crops_from(self) -> str | None:
        """As of the split."""
        return self._split.crops_from

    def __len__(self) -> int:
        return len(self._split)

    def prepare(self, indices: Sequence[int] | None = None) -> None:
        """Prepare the split."""
        self._split.prepare(indices)

    def __getitems__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return mixed images (N, C, H, W) and the share of each class (N, classes)."""
        images, targets = self._split.__getitems__(batch)
        return self._mixing(images, targets, self._classes, mixed_seed(batch.seed, _MIXING))
