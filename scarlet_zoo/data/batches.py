"""Which images a training step sees, and how they are altered: functions of seed and step alone.

Nothing here is carried from one step to the next, so a run that was killed continues with the very
batches that it would have had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Indices of the images of one step, and the seed of what is random about them."""

    indices: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Batches:
    """The batches of a training, for one of its processes: a batch sampler for a ``DataLoader``.

    Every epoch is a new permutation; what is left over at its end is dropped. Of each batch the
    processes take every ``processes``-th image.

    Attributes:
        images: how many there are.
        batch_size: of a step, over all processes.
        first, last: numbers of the first step, and of the one after the last.
        seed: of permutations and augmentation.
    """

    images: int
    batch_size: int
    first: int
    last: int
    seed: int
    process: int = 0
    processes: int = 1

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch; a data set smaller than a batch is one step."""
        return max(self.images // self.batch_size, 1)

    def __len__(self) -> int:
        return max(self.last - self.first, 0)

    def __iter__(self) -> Iterator[Batch]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for step in range(self.first, self.last):
            if step // self.per_epoch != epoch:
                epoch = step // self.per_epoch
                order = np.random.default_rng((self.seed, epoch)).permutation(self.images)
            start = step % self.per_epoch * self.batch_size
            own = order[start : start + self.batch_size][self.process :: self.processes]
            yield Batch(tuple(own.tolist()), _mixed(self.seed, step, self.process))


def _mixed(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class Views:
    """A split whose images come as often as one asks, each time altered anew.

    Args:
        split: of labelled images, asked with a :class:`Batch`.
        views: how often.
    """

    def __init__(self, split: Any, views: int) -> None:
        self._split, self._views = split, views

    def __len__(self) -> int:
        return len(self._split)

    def __getitems__(self, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor]:
        """The views and the targets; the first view is what the split alone would give."""
        seeds = [batch.seed, *(_mixed(batch.seed, view) for view in range(1, self._views))]
        made = [self._split.__getitems__(Batch(batch.indices, seed)) for seed in seeds]
        return tuple(images for images, _ in made), made[0][1]
