"""Which path of a supernet runs in a step: samplers without state.

A sampler is a function of the seed and of how many paths were drawn before. So every process of a
training draws the same paths without a word between them, and a run that was killed goes on with
the path that it would have drawn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import CostTable, cost_table
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


@dataclass(frozen=True)
class MacsSampler:
    """Draws of several architectures that cost about the same.

    How much is itself drawn, from the distribution of multiply-adds among the uniformly drawn architectures of
    the space, in bins of equal width.

    Attributes:
        space: of the architectures.
        seed: of the draws.
        bins: from the fewest multiply-adds to the most.
        max_tries: uniform draws for each further architecture, until one falls into the bin.
    """

    space: SearchSpace
    seed: int = 0
    bins: int = 20
    max_tries: int = 1000

    @cached_property
    def table(self) -> CostTable:
        """What things cost."""
        return cost_table(self.space)

    @cached_property
    def _range(self) -> tuple[int, int]:
        return self.table.macs(self.table.smallest), self.table.macs(self.table.largest)

    def bin_of(self, arch: Arch) -> int:
        """The number of an architecture's bin, from 0."""
        low, high = self._range
        return min((self.table.macs(arch) - low) * self.bins // max(high - low, 1), self.bins - 1)

    def draw(self, number: int, count: int) -> tuple[Arch, ...]:
        """The architectures of the draw with this number; fewer where the rest of their bin is too rare to be met.

        The first is uniform in the space, so its bin has the bins' distribution and it is uniform in it; the
        others are drawn until they fall into the same bin.
        """
        rng = random.Random(f"{self.seed} macs {number}")
        found = [Arch.sample(self.space, rng)]
        bin_number = self.bin_of(found[0])
        for _ in range(count - 1):
            tries = (Arch.sample(self.space, rng) for _ in range(self.max_tries))
            found += [arch] if (arch := next((a for a in tries if self.bin_of(a) == bin_number), None)) else []
        return tuple(found)
