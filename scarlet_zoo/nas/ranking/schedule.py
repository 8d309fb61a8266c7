"""The training schedule of supernets that are compared by their rankings."""

from __future__ import annotations

from dataclasses import dataclass

from scarlet_zoo.training.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Settings that the trainings of compared supernets have in common.

    Attributes:
        epochs, batch_size, lr: epochs, batch size and peak learning rate of the training.
        clip_norm: largest norm of a step's gradient, so that none of the trainings diverges; 0 does not clip.
        seed: seed of everything random.
    """

    epochs: int
    batch_size: int = 64
    lr: float = 0.1
    clip_norm: float = 5.0
    seed: int = 0

    def settings(self, max_steps: int | None = None) -> TrainSettings:
        """Return training settings for one thread, with a checkpoint every 200 steps; ``max_steps`` stops early."""
        return TrainSettings(
            epochs=self.epochs, batch_size=self.batch_size, lr=self.lr, clip_norm=self.clip_norm, seed=self.seed,
            threads=1, checkpoint_every=200, max_steps=max_steps,
        )  # fmt: skip
