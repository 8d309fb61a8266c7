"""FairNAS: strict fairness, m paths and one update (Chu et al., FairNAS, arXiv 1907.01845)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.nas.sampling import FairSampler
from scarlet_zoo.nas.strategies.base import CROSS_ENTROPY, Strategy, StrategyOptions
from scarlet_zoo.training.learner import LossTerm, StepBatch


@dataclass(frozen=True, kw_only=True)
class FairNasOptions(StrategyOptions):
    """How a step is made.

    Attributes:
        split: each path gets its own part of the step's images, not all of them.
    """

    split: bool = False


class FairNas(Strategy):
    """A step runs m paths that between them hold every choice of every layer, and updates once.

    The paper's (section 3.2, algorithm 1): for each layer a permutation of its m choices; path i takes the
    i-th of each; the gradients are summed and applied in one update. Each choice is so learned from exactly once
    a step, stem and head m times. Whether the paths share the step's images or have some of their own,
    figure and algorithm leave open (:attr:`FairNasOptions.split`; shared is our default). Ours: where layers
    differ in their number of choices, m is the largest one and each layer deals its choices from a shuffled
    queue, so that after any step the counts within a layer are at most 1 apart.
    """

    name = "fairnas"
    Options = FairNasOptions

    def paths(self, step: int) -> tuple[Arch, ...]:
        """As many as the layer with the most choices has."""
        sampler, count = FairSampler(self.space, self.seed), max(map(len, self.space.decisions))
        return tuple(sampler.draw(step * count + number) for number in range(count))

    @property
    def batch_share(self) -> float:
        """All of a step's images, or a path's own part of them."""
        return 1 / len(self.paths(0)) if self.options.split else 1.0

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """Cross-entropy of each path, summed."""
        paths = self.paths(batch.step)
        for number, arch in enumerate(paths):
            own = slice(number, None, len(paths)) if self.options.split else slice(None)
            loss = self.criterion(model(batch.images[own], arch), batch.targets[own])
            yield LossTerm(CROSS_ENTROPY, loss, arch)
