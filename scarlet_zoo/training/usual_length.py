"""How long a training is where nobody says: long enough for few images, which make few steps an epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from scarlet_zoo.errors import TrainingError
from scarlet_zoo.training.state import load_checkpoint

LEAST_STEPS = 600
LEAST_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Length:
    """The length of a training.

    Attributes:
        epochs: passes over the training images.
        batch_size: images of a step.
    """

    epochs: int
    batch_size: int = 128

    def steps(self, images: int) -> int:
        """Number of steps over so many training images."""
        return self.epochs * max(images // self.batch_size, 1)


def usual_length(
    images: int, usual: Length, out: Path, epochs: int | None = None, batch_size: int | None = None
) -> Length:
    """Return the length of a training whose epochs or batch size are left out.

    Over few images the usual length would be a handful of steps, after which no network has learnt anything. There
    batches are halved down to 16 images, and then epochs are added, until there are :data:`LEAST_STEPS` steps. A run
    that an earlier version has begun with the usual length keeps it.

    Args:
        images: number of training images.
        usual: the usual length.
        out: folder of the run.
        epochs: number of epochs that is asked for; None where it is left out.
        batch_size: batch size that is asked for; None where it is left out.
    """
    asked = Length(epochs=epochs or usual.epochs, batch_size=batch_size or usual.batch_size)
    if asked.steps(images) >= LEAST_STEPS or _begun(out) == asked:
        return asked
    while batch_size is None and asked.batch_size > LEAST_BATCH and asked.steps(images) < LEAST_STEPS:
        asked = replace(asked, batch_size=asked.batch_size // 2)
    more = -(-LEAST_STEPS // replace(asked, epochs=1).steps(images))
    return asked if epochs is not None else replace(asked, epochs=max(more, usual.epochs))


def _begun(out: Path) -> Length | None:
    """The length of the run in a folder; None where there is none, or its checkpoint cannot be read."""
    try:
        run = load_checkpoint(out / "checkpoint.pt", mmap=True)["run"]
        return Length(epochs=int(run["epochs"]), batch_size=int(run["batch_size"]))
    except (TrainingError, KeyError, TypeError, ValueError):
        return None
