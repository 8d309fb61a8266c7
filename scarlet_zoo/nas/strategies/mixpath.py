"""MixPath: several parallel paths in a layer, with a batch norm for each number of them (arXiv 2001.05887)."""

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
    """Options of MixPath.

    Attributes:
        paths: largest number m of parallel paths in a layer.
    """

    paths: Annotated[int, Field(ge=2)] = 2


class MixPath(Strategy):
    """Trains one architecture a step: each layer draws a number of paths, then that many distinct blocks, uniformly.

    From the paper (Chu et al.): the outputs of 1 to m blocks of a layer are summed. A shadow batch norm after the sum
    is chosen by the number of blocks, so there are m norms instead of one for each of the 2^n - 1 sets; in the
    authors' code m for each expansion, as here. The paper
    says that outputs of parallel paths are nearly equal, so the mean of the sum grows with their number and the
    variance with its square, and one norm does not fit all. The authors' code for NAS-Bench-101 creates the shadow
    norms without using them, and computes precise BN on validation images. Ours uses them, and computes precise BN on
    training images as every strategy here. Its paths are kernels inside one block. Ours are whole MBConv blocks whose
    last norm is replaced by the shadow norm, a set may hold blocks of several expansions, and a skip is never combined
    with other paths: see :mod:`scarlet_zoo.models.path_sets`. A skip is no paths, so where a layer may be skipped the
    number is drawn from 0 to m; the space of the authors' code has no skip.
    """

    name = "mixpath"
    Options = MixPathOptions

    @classmethod
    def extended(cls, space: SearchSpace, options: MixPathOptions) -> SearchSpace:
        """Return the space with every set of up to m blocks as a choice."""
        return space.with_path_sets(options.paths) if space.most_paths == 1 else space

    def paths(self, step: int) -> tuple[Arch, ...]:
        """Return the one architecture of the step."""
        rng = random.Random(f"{self.seed} {step}")
        tokens = [self._draw(layer.tokens, rng) for layer in self.space.layers]
        branches = [rng.choice(allowed) for allowed in self.space.decisions[len(tokens) :]]
        return (Arch.of(self.space, [*tokens, *branches]),)

    def _draw(self, tokens: tuple[str, ...], rng: random.Random) -> str:
        choices = map(self.space.choice, tokens)
        numbers = [0 if choice.is_skip else len(choice.blocks) for choice in choices]
        number = rng.choice(sorted(set(numbers)))
        return rng.choice([token for token, own in zip(tokens, numbers, strict=True) if own == number])
