"""The settings of a tour."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.training.usual_length import Length, usual_length


@dataclass(frozen=True, kw_only=True)
class TourSettings:
    """Settings of the trainings and the search of a tour.

    Attributes:
        supernet: how the supernet is trained.
        network: how the chosen network is trained.
        evaluations: number of architectures that the search evaluates.
        population: population of the search.
        validation: number of validation images that the search scores on; all when None.
    """

    supernet: TrainSettings
    network: TrainSettings
    evaluations: int = 60
    population: int = 12
    validation: int | None = 2000

    @classmethod
    def usual(cls, threads: int = 0, data: str = "fashion-mnist") -> TourSettings:  # noqa: ARG003
        """Return the usual settings; their augmentation follows the data, so they are the same for all."""
        return cls(
            supernet=TrainSettings(epochs=2, batch_size=64, threads=threads),
            network=TrainSettings(epochs=4, batch_size=64, lr=0.2, ema=0.998, threads=threads),
        )

    @classmethod
    def smoke(cls, threads: int = 0, data: str = "fashion-mnist") -> TourSettings:  # noqa: ARG003
        """Return settings that run every part for a moment, to check that all of them work."""
        short = TrainSettings(epochs=1, max_steps=12, batch_size=32, lr=0.2, checkpoint_every=6, threads=threads)
        return cls(supernet=short, network=short, evaluations=4, population=4, validation=200)

    def for_images(self, images: int, out: Path) -> TourSettings:
        """Return these settings with trainings that are long enough for so many images.

        Args:
            images: number of training images.
            out: folder of the tour; trainings that have begun in it keep their length.
        """
        return replace(self, supernet=_longer(self.supernet, images, out / "supernet"),
                       network=_longer(self.network, images, out / "network"))  # fmt: skip


def _longer(training: TrainSettings, images: int, out: Path) -> TrainSettings:
    length = usual_length(images, Length(epochs=training.epochs, batch_size=training.batch_size), out)
    return replace(training, epochs=length.epochs, batch_size=length.batch_size)
