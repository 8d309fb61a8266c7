"""SCARLET: fair sampling, and stabilizers on skips (Chu et al., SCARLET-NAS, arXiv 1908.06022)."""

from __future__ import annotations

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.nas.sampling import FairSampler
from scarlet_zoo.nas.strategies.base import Strategy


class Scarlet(Strategy):
    """Every choice of a layer as often as every other, one path a step, and a stabilizer where a layer is skipped.

    The paper's: the stabilizer (section 3), a bias-free 1x1 convolution in the supernet only, and training in
    the manner of FairNAS; its supernet was never released. Ours: one path and one update a step where FairNAS
    sums the gradients of a whole round, since layers with and without a skip have other numbers of choices;
    and stabilizers that begin as the identity, whose initialisation the paper does not tell as far as we know.
    """

    name = "scarlet"
    skip_default = "identity"

    def paths(self, step: int) -> tuple[Arch, ...]:
        """One, whose choices are dealt fairly."""
        return (FairSampler(self.space, self.seed).draw(step),)
