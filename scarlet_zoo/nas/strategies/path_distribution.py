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
    """Each decision of an architecture drawn on its own (Casale et al., PARSEC, arXiv 1902.05116).

    Args:
        space: of the architectures.
        alpha: for each decision one number a token; nought, so uniform, when left out.

    Attributes:
        alpha: float64, on the CPU.
    """

    def __init__(self, space: SearchSpace, alpha: Iterable[Sequence[float] | Tensor] | None = None) -> None:
        self.space = space
        given = alpha if alpha is not None else ([0.0] * len(tokens) for tokens in space.decisions)
        self.alpha = [torch.as_tensor(values, dtype=torch.float64).clone() for values in given]

    @property
    def probabilities(self) -> list[Tensor]:
        """For each decision those of its tokens."""
        return [values.softmax(0) for values in self.alpha]

    def log_probability(self, arch: Arch) -> float:
        """Natural logarithm of P(A)."""
        logs = zip(self.alpha, self._places(arch), strict=True)
        return sum(float(values.log_softmax(0)[place]) for values, place in logs)

    def entropy(self) -> float:
        """Of P, in nats; the decisions' entropies add up."""
        return sum(float(-(values.softmax(0) * values.log_softmax(0)).sum()) for values in self.alpha)

    def draw(self, count: int, rng: random.Random) -> list[Arch]:
        """Architectures, independent of each other."""
        weights = [values.tolist() for values in self.probabilities]
        decisions = self.space.decisions
        return [
            Arch.of(self.space, (rng.choices(t, w)[0] for t, w in zip(decisions, weights, strict=True)))
            for _ in range(count)
        ]

    def likeliest(self) -> Arch:
        """The likeliest token of each decision: the architecture with the largest P(A)."""
        picks = zip(self.space.decisions, self.alpha, strict=True)
        return Arch.of(self.space, (tokens[int(values.argmax())] for tokens, values in picks))

    def gradient(self, weights: Mapping[Arch, float]) -> list[Tensor]:
        """Sum over architectures of weight times the gradient of log P(A), which is onehot(A_l) - softmax(alpha_l)."""
        total = sum(weights.values())
        found = [-total * values for values in self.probabilities]
        for arch, weight in weights.items():
            for values, place in zip(found, self._places(arch), strict=True):
                values[place] += weight
        return found

    def move(self, gradient: Iterable[Tensor], rate: float) -> None:
        """One step uphill."""
        for values, direction in zip(self.alpha, gradient, strict=True):
            values += rate * direction

    def to_json(self) -> str:
        """Alpha as JSON, to the last bit."""
        return json.dumps([values.tolist() for values in self.alpha])

    def _places(self, arch: Arch) -> list[int]:
        return [tokens.index(t) for tokens, t in zip(self.space.decisions, arch.decisions, strict=True)]
