"""A distribution over the architectures of a space, P(A) = prod_l softmax(alpha_l)[A_l], and its gradient."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace


class PathDistribution:
    """A distribution in which the decisions are independent (Casale et al., PARSEC, arXiv 1902.05116).

    Args:
        space: the search space.
        alpha: for each decision the logits of its tokens; zeros, which give the uniform distribution, when left out.

    Attributes:
        alpha: for each decision the logits of its tokens, float64 on the CPU.
    """

    def __init__(self, space: SearchSpace, alpha: Iterable[Sequence[float] | Tensor] | None = None) -> None:
        self.space = space
        given = alpha if alpha is not None else ([0.0] * len(tokens) for tokens in space.decisions)
        self.alpha = [torch.as_tensor(values, dtype=torch.float64).clone() for values in given]

    @property
    def probabilities(self) -> list[Tensor]:
        """For each decision the probabilities of its tokens."""
        return [values.softmax(0) for values in self.alpha]

    def log_probability(self, arch: Arch) -> float:
        """Return the natural logarithm of P(A)."""
        logs = zip(self.alpha, self._places(arch), strict=True)
        return sum(float(values.log_softmax(0)[place]) for values, place in logs)

    def entropy(self) -> float:
        """Return the entropy of P in nats, the sum of the decisions' entropies."""
        return sum(float(-(values.softmax(0) * values.log_softmax(0)).sum()) for values in self.alpha)

    def draw(self, count: int, rng: random.Random) -> list[Arch]:
        """Draw ``count`` architectures independently."""
        weights = [values.tolist() for values in self.probabilities]
        decisions = self.space.decisions
        return [
            Arch.of(self.space, (rng.choices(t, w)[0] for t, w in zip(decisions, weights, strict=True)))
            for _ in range(count)
        ]

    def likeliest(self) -> Arch:
        """Return the architecture with the largest P(A), which has the most likely token of each decision."""
        picks = zip(self.space.decisions, self.alpha, strict=True)
        return Arch.of(self.space, (tokens[int(values.argmax())] for tokens, values in picks))

    def gradient(self, weights: Mapping[Arch, float]) -> list[Tensor]:
        """Return the sum of weight times the gradient of log P(A), which is onehot(A_l) - softmax(alpha_l)."""
        total = sum(weights.values())
        found = [-total * values for values in self.probabilities]
        for arch, weight in weights.items():
            for values, place in zip(found, self._places(arch), strict=True):
                values[place] += weight
        return found

    def move(self, gradient: Iterable[Tensor], rate: float) -> None:
        """Add ``rate`` times the gradient to alpha."""
        for values, direction in zip(self.alpha, gradient, strict=True):
            values += rate * direction

    def to_json(self) -> str:
        """Return alpha as JSON, without loss of precision."""
        return json.dumps([values.tolist() for values in self.alpha])

    def _places(self, arch: Arch) -> list[int]:
        return [tokens.index(t) for tokens, t in zip(self.space.decisions, arch.decisions, strict=True)]
