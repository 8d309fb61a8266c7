"""What a guess scores, the same answer for all images: a training that ends near it has learnt nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from scarlet_zoo.data.balance import NONE
from scarlet_zoo.data.datasets import ImageData
from scarlet_zoo.training.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What a guess scores on a data set, as a training with certain settings counts.

    Attributes:
        loss: least mean cross-entropy in nats of an answer that is the same for all images. Label smoothing and mixed
            images are in it: they change the targets, and their mean is what such an answer gives.
        least_loss: cross-entropy of a network that is right and as sure as label smoothing lets it be. Mixed images
            have a larger one.
        accuracy: share in percent of the validation images that belong to their largest class.
    """

    loss: float
    least_loss: float
    accuracy: float

    @classmethod
    def of(cls, data: ImageData, settings: TrainSettings) -> Guess:
        """Return what a guess scores on the images of a data set.

        Where the settings balance the classes, all classes count alike, in the accuracy too.
        """
        even = settings.balance != NONE
        shares = [_shares(data.part(part).targets, len(data.classes), even=even) for part in ("train", "validation")]
        smoothing, classes = settings.label_smoothing, len(data.classes)
        spread = smoothing / classes
        right = [1 - smoothing + spread, *[spread] * (classes - 1)]
        return cls(
            loss=_entropy([(1 - smoothing) * share + spread for share in shares[0]]),
            least_loss=_entropy(right), accuracy=100 * max(shares[1]),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def _shares(targets: Tensor, classes: int, *, even: bool) -> list[float]:
    """The share of each class; of the classes that have images, the same one if ``even``."""
    counts = torch.bincount(targets, minlength=classes).double()
    if even:
        counts = (counts > 0).double()
    return [float(share) for share in counts / counts.sum().clamp(min=1)]


def _entropy(shares: Sequence[float]) -> float:
    return -sum(share * math.log(share) for share in shares if share > 0)
