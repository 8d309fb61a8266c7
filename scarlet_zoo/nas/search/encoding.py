"""The encoding of an architecture as a row of integers.

The integers are the positions of its decisions (a layer's token, a branch on or off) among the options that the space
allows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace

Encoded = NDArray[np.int64]


class Encoding:
    """Encodes architectures of a space as rows of integers, and decodes them.

    Attributes:
        sizes: number of options of each decision.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.sizes = np.array([len(allowed) for allowed in space.decisions])

    def encode(self, arch: Arch) -> Encoded:
        """Encode an architecture: the position of each of its decisions, (decisions,)."""
        pairs = zip(self.space.decisions, arch.decisions, strict=True)
        return np.array([allowed.index(token) for allowed, token in pairs], dtype=np.int64)

    def arch(self, encoded: Encoded) -> Arch:
        """Decode a row of integers into its architecture."""
        return Arch.of(self.space, (allowed[int(g)] for allowed, g in zip(self.space.decisions, encoded, strict=True)))

    def draw(self, random: np.random.Generator) -> Encoded:
        """Draw the encoding of a random architecture, each decision uniformly."""
        return random.integers(self.sizes)
