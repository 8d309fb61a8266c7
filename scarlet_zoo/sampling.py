"""Which path of a supernet runs in a step: samplers without state.

A sampler is a function of the seed and of how many paths were drawn before. So every process of a
training draws the same paths without a word between them, and a run that was killed goes on with
the path that it would have drawn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace


@dataclass(frozen=True)
class UniformSampler:
    """Each layer's token uniformly, each draw independent of the others (SPOS, arXiv 1904.00420)."""

    space: SearchSpace
    seed: int = 0

    def draw(self, number: int) -> Arch:
        """The architecture of the draw with this number."""
        return Arch.sample(self.space, random.Random(f"{self.seed} {number}"))


@dataclass(frozen=True)
class FairSampler:
    """Every token of a layer once before any of them a second time (FairNAS, arXiv 1907.01845).

    Each layer deals its tokens in a random order and shuffles again when all are dealt, so within a
    layer the counts are at most 1 apart after any number of draws, though layers differ in how many
    tokens they have: the strict fairness of FairNAS asks for as many in each, which spaces with
    skips in some places only do not have.
    """

    space: SearchSpace
    seed: int = 0

    def draw(self, number: int) -> Arch:
        """The architecture of the draw with this number."""
        return Arch.of(self.space, (self._dealt(index, number) for index in range(len(self.space.decisions))))

    def _dealt(self, layer: int, number: int) -> str:
        tokens = list(self.space.decisions[layer])
        deal, position = divmod(number, len(tokens))
        random.Random(f"{self.seed} {layer} {deal}").shuffle(tokens)
        return tokens[position]
