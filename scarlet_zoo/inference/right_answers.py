"""How many of so many images were classified right, and how far that number can be trusted."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

from scarlet_zoo.errors import ScarletError

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How many of so many images were classified right; as text it says all that the number is worth.

    Attributes:
        right: number of images whose class has the largest logit.
        images: number of images, at least one.

    Raises:
        ScarletError: there are no images, or more right answers than images.
    """

    right: int
    images: int

    def __post_init__(self) -> None:
        if not 0 <= self.right <= self.images or not self.images:
            raise ScarletError(f"accuracy: got {self.right} right of {self.images} images, wanted at least one image")

    @property
    def percent(self) -> float:
        """The share of right answers, in percent."""
        return 100 * self.right / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of ``percent`` by Wilson's score, if the images are a random sample."""
        # By its formula: importing scipy.stats takes longer than many a count of right answers.
        share, weight = self.right / self.images, _Z**2 / self.images
        centre, half = share + weight / 2, _Z * math.sqrt((share * (1 - share) + weight / 4) / self.images)
        low, high = ((centre + sign * half) / (1 + weight) for sign in (-1, 1))
        return 100 * low if self.right else 0.0, 100 * high if self.right < self.images else 100.0

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.percent:.2f} % ({self.right:,} of {self.images:,} images, 95 % interval {low:.1f} to {high:.1f})"

    def to_dict(self) -> dict[str, Any]:
        """JSON values: ``right images percent interval``."""
        return {**asdict(self), "percent": self.percent, "interval": list(self.interval)}
