"""Samplers of a supernet's paths. They have no state.

A draw depends only on the seed and the number of the draw. So all processes of a training draw the same paths
without communication, and a run that was killed continues with the path that it would have drawn.
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
    """Draws each layer's token uniformly and independently (SPOS, arXiv 1904.00420)."""

    space: SearchSpace
    seed: int = 0

    def draw(self, number: int) -> Arch:
        """Return the architecture of the draw with this number, from 0."""
        return Arch.sample(self.space, random.Random(f"{self.seed} {number}"))


@dataclass(frozen=True)
class FairSampler:
    """Draws every token of a layer once before it draws any of them again (FairNAS, arXiv 1907.01845).

    Each layer deals its tokens in a random order and shuffles them again when all are dealt. So after any number of
    draws the counts of a layer's tokens differ by at most 1, even where layers have different numbers of tokens.
    """

    space: SearchSpace
    seed: int = 0

    def draw(self, number: int) -> Arch:
        """Return the architecture of the draw with this number, from 0."""
        decisions = self.space.decisions
        return Arch.of(self.space, (_dealt(tokens, self.seed, layer, number) for layer, tokens in enumerate(decisions)))


@dataclass(frozen=True)
class FairSteps:
    """Draws the paths of a step, among which every token of every layer is (FairNAS, arXiv 1907.01845, algorithm 1).

    There are as many paths as the layer with the most tokens has, and each layer permutes its tokens anew in each
    step. The paper's layers have the same number of tokens. Ours: where a layer has fewer than there are paths, what
    its permutations leave is dealt to it as :class:`FairSampler` does, so that over all steps its counts differ by at
    most 1.
    """

    space: SearchSpace
    seed: int = 0

    @property
    def count(self) -> int:
        """Number of paths of a step."""
        return max(map(len, self.space.decisions))

    def draw(self, step: int) -> tuple[Arch, ...]:
        """Return the architectures of the step with this number, from 0."""
        columns = [self._column(layer, step) for layer in range(len(self.space.decisions))]
        return tuple(Arch.of(self.space, tokens) for tokens in zip(*columns, strict=True))

    def _column(self, layer: int, step: int) -> list[str]:
        tokens = self.space.decisions[layer]
        whole, left = divmod(self.count, len(tokens))
        column = [*tokens * whole, *(_dealt(tokens, self.seed, layer, step * left + extra) for extra in range(left))]
        random.Random(f"{self.seed} {layer} step {step}").shuffle(column)
        return column


def _dealt(tokens: tuple[str, ...], seed: int, layer: int, number: int) -> str:
    """The token of a layer's draw where each is dealt once before any is dealt again."""
    deal, position = divmod(number, len(tokens))
    shuffled = list(tokens)
    random.Random(f"{seed} {layer} {deal}").shuffle(shuffled)
    return shuffled[position]


@dataclass(frozen=True)
class MacsSampler:
    """Draws several architectures with about the same number of multiply-adds.

    The range of multiply-adds is divided into bins of equal width. A bin is drawn as often as uniformly drawn
    architectures of the space fall into it.

    Attributes:
        space: the search space.
        seed: seed of the draws.
        bins: number of bins from the fewest multiply-adds to the most.
        max_tries: uniform draws for each further architecture before giving up on finding one in the bin.
    """

    space: SearchSpace
    seed: int = 0
    bins: int = 20
    max_tries: int = 1000

    @cached_property
    def table(self) -> CostTable:
        """The cost of every token of the space."""
        return cost_table(self.space)

    @cached_property
    def _range(self) -> tuple[int, int]:
        return self.table.macs(self.table.smallest), self.table.macs(self.table.largest)

    def bin_of(self, arch: Arch) -> int:
        """Return the number of an architecture's bin, from 0."""
        low, high = self._range
        return min((self.table.macs(arch) - low) * self.bins // max(high - low, 1), self.bins - 1)

    def draw(self, number: int, count: int) -> tuple[Arch, ...]:
        """Return the ``count`` architectures of the draw with this number, or fewer if their bin is too rare.

        The first is drawn uniformly from the space, which also draws the bin. The others are drawn uniformly until
        they fall into the same bin.
        """
        rng = random.Random(f"{self.seed} macs {number}")
        found = [Arch.sample(self.space, rng)]
        bin_number = self.bin_of(found[0])
        for _ in range(count - 1):
            tries = (Arch.sample(self.space, rng) for _ in range(self.max_tries))
            found += [arch] if (arch := next((a for a in tries if self.bin_of(a) == bin_number), None)) else []
        return tuple(found)
