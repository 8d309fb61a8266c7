"""FairNAS: strict fairness by m paths and one update in each step (Chu et al., arXiv 1907.01845)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.nas.sampling import FairSteps
from scarlet_zoo.nas.strategies.base import CROSS_ENTROPY, Strategy, StrategyOptions
from scarlet_zoo.training.learner import LossTerm, StepBatch


@dataclass(frozen=True, kw_only=True)
class FairNasOptions(StrategyOptions):
    """Options of FairNAS.

    Attributes:
        split: whether each path runs on its own part of the step's images instead of all of them.
    """

    split: bool = False


class FairNas(Strategy):
    """Trains m paths a step, which together contain every choice of every layer, and updates the weights once.

    From the paper (section 3.2, algorithm 1): for each layer the m choices are permuted, path i takes the i-th choice
    of each layer, and the summed gradients are applied in one update. So each choice is trained exactly once a step,
    and stem and head m times. The paper's figure and algorithm do not say whether the paths share the step's images
    or have their own (:attr:`FairNasOptions.split`; shared is our default). Ours: where layers differ in their number
    of choices, m is the largest number, and a layer with fewer runs each of its choices in every step and some of them
    once more, see :class:`scarlet_zoo.nas.sampling.FairSteps`.
    """

    name = "fairnas"
    Options = FairNasOptions

    def paths(self, step: int) -> tuple[Arch, ...]:
        """Return m architectures, as many as the layer with the most choices has."""
        return FairSteps(self.space, self.seed).draw(step)

    def identity(self) -> dict[str, str]:
        """Return what must be unchanged for a run to continue; earlier versions drew other paths."""
        return {**super().identity(), "paths": "a permutation a step"}

    @property
    def batch_share(self) -> float:
        """Share of a step's images that each path runs on: 1, or 1 / m with ``split``."""
        return 1 / FairSteps(self.space).count if self.options.split else 1.0

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """Yield the cross-entropy of each path; their gradients are summed."""
        paths = self.paths(batch.step)
        for number, arch in enumerate(paths):
            own = slice(number, None, len(paths)) if self.options.split else slice(None)
            loss = self.criterion(model(batch.images[own], arch), batch.targets[own])
            yield LossTerm(CROSS_ENTROPY, loss, arch)
