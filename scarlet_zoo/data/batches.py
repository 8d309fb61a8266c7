"""The batches of a training: which images each step sees, as a function of the seed and the step alone.

No state is carried from one step to the next, so a run that was killed continues with exactly the
batches that it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from scarlet_zoo.data.balance import balanced_order


@dataclass(frozen=True, slots=True)
class Batch:
    """Indices of the images of one step, and the seed of their augmentation."""

    indices: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Batches:
    """The batches of one training process: a batch sampler for a ``DataLoader``.

    Every epoch is a new permutation; an incomplete batch at its end is dropped. Each process takes
    every ``processes``-th image of a batch. With ``balanced``, an epoch has as many images, but equally many of each
    class.

    Attributes:
        images: number of images in the split.
        batch_size: images of a step, over all processes.
        first, last: numbers of the first step, and of the one after the last.
        seed: seed of permutations and augmentation.
        process, processes: position of this process, and the number of processes.
        balanced: class index of each image, to draw all classes equally often; None to draw every image once.
    """

    images: int
    batch_size: int
    first: int
    last: int
    seed: int
    process: int = 0
    processes: int = 1
    balanced: NDArray[np.int64] | None = None

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch; a data set smaller than a batch has one step."""
        return max(self.images // self.batch_size, 1)

    def __len__(self) -> int:
        return max(self.last - self.first, 0)

    def __iter__(self) -> Iterator[Batch]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for step in range(self.first, self.last):
            if step // self.per_epoch != epoch:
                epoch = step // self.per_epoch
                order = self._order(np.random.default_rng((self.seed, epoch)))
            start = step % self.per_epoch * self.batch_size
            own = order[start : start + self.batch_size][self.process :: self.processes]
            yield Batch(tuple(own.tolist()), mixed_seed(self.seed, step, self.process))

    def _order(self, random: np.random.Generator) -> NDArray[np.int64]:
        if self.balanced is None:
            return random.permutation(self.images)
        return balanced_order(self.balanced, random)


def mixed_seed(*numbers: int) -> int:
    """Combine several numbers into one seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class Views:
    """A split that gives every image several times, each time with another augmentation.

    Args:
        split: labelled images, read with a :class:`Batch`.
        views: number of views of every image.
    """

    def __init__(self, split: Any, views: int) -> None:
        self._split, self._views = split, views

    def __len__(self) -> int:
        return len(self._split)

    def __getitems__(self, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the views and the targets of a batch; the first view is the one that the split itself gives."""
        seeds = [batch.seed, *(mixed_seed(batch.seed, view) for view in range(1, self._views))]
        views = [self._split.__getitems__(Batch(batch.indices, seed)) for seed in seeds]
        return tuple(images for images, _ in views), views[0][1]
