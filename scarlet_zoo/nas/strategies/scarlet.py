"""SCARLET: fair sampling and stabilizers on skips (Chu et al., SCARLET-NAS, arXiv 1908.06022)."""

from __future__ import annotations

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.nas.sampling import FairSampler
from scarlet_zoo.nas.strategies.base import Strategy


class Scarlet(Strategy):
    """Trains one path a step, draws all choices of a layer equally often, and has a stabilizer on every skip.

    From the paper: the stabilizer (section 3), a 1x1 convolution without bias that only the supernet has, and
    training as in FairNAS. The paper's supernet was never released. Ours: one path and one update a step, where
    FairNAS sums the gradients of a whole round, since layers with and without a skip differ in their number of
    choices; and stabilizers that are initialised as the identity, since as far as we know the paper does not give
    their initialisation.
    """

    name = "scarlet"
    skip_default = "identity"

    def paths(self, step: int) -> tuple[Arch, ...]:
        """Return one path, drawn by fair sampling."""
        return (FairSampler(self.space, self.seed).draw(step),)
