"""MixPath: several paths side by side in a layer, with batch norms by their number (Chu et al., arXiv 2001.05887)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.nas.strategies.base import Strategy, StrategyOptions


@dataclass(frozen=True, kw_only=True)
class MixPathOptions(StrategyOptions):
    """How many paths.

    Attributes:
        paths: the most in a layer, m.
    """

    paths: Annotated[int, Field(ge=2)] = 2


class MixPath(Strategy):
    """One architecture a step: in each layer their number uniformly, then so many different blocks, uniformly.

    The paper's: the outputs of 1 to m blocks of a layer are summed, and a shadow batch norm behind the sum is
    chosen by how many they are, m norms instead of one for each of the 2^n - 1 sets. Outputs of parallel paths are
    nearly the same, it says, so the mean grows with their number and the variance with its square, which one norm
    cannot hold. The authors' code for NAS-Bench-101 makes the shadow norms and does not use them, and recalibrates
    on validation images; ours uses them, and recalibrates on training images as every strategy here. Its
    paths are kernels inside one block; ours are whole MBConv blocks whose last norm the shadow norm takes the place
    of, and a skip, where there is one, is a path alone: see :mod:`scarlet_zoo.models.path_sets`.
    """

    name = "mixpath"
    Options = MixPathOptions

    @classmethod
    def extended(cls, space: SearchSpace, options: MixPathOptions) -> SearchSpace:
        """The space with every set of up to m blocks as a choice."""
        return space.with_path_sets(options.paths) if space.most_paths == 1 else space

    def paths(self, step: int) -> tuple[Arch, ...]:
        """One."""
        rng = random.Random(f"{self.seed} {step}")
        tokens = [self._draw(layer.tokens, rng) for layer in self.space.layers]
        branches = [rng.choice(allowed) for allowed in self.space.decisions[len(tokens) :]]
        return (Arch.of(self.space, [*tokens, *branches]),)

    def _draw(self, tokens: tuple[str, ...], rng: random.Random) -> str:
        numbers = [len(self.space.choice(token).blocks) for token in tokens]
        number = rng.choice(sorted(set(numbers)))
        return rng.choice([token for token, own in zip(tokens, numbers, strict=True) if own == number])
