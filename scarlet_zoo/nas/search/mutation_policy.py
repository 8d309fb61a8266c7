"""The mutation policy: probabilities of each layer's choices, learned during a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RANDOM, GUIDED, PRIOR = range(3)
Encoded = NDArray[np.int64]


class MutationPolicy:
    """Probabilities of each layer's choices: uniform, learned by REINFORCE, or counted on the front.

    The policy is one softmax for each layer. For architectures a with reward r(a) it moves along
    sum_a (r(a) - mean r) (onehot(a_l) - pi_l), the gradient of the expected reward (REINFORCE,
    Williams 1992). MoreMNAS and FairNAS guide mutations by REINFORCE. The reward (a rank within the generation) and
    the rate are ours, and so is the prior, for which we know of no formula in those papers.

    Args:
        sizes: number of choices of each layer.
        rate: step size of the policy.
    """

    def __init__(self, sizes: Sequence[int] | NDArray[np.int64], rate: float = 0.5) -> None:
        self._logits = [np.zeros(size) for size in sizes]
        self._counts = [np.ones(size) for size in sizes]
        self._rate = rate

    def shares(self, kind: int, layer: int | np.integer[Any]) -> NDArray[np.float64]:
        """Return the probability of each choice of a layer in a mutation of this kind."""
        if kind == GUIDED:
            powers = np.exp(self._logits[layer] - self._logits[layer].max())
            return np.asarray(powers / powers.sum())
        counts = self._counts[layer] if kind == PRIOR else np.ones_like(self._counts[layer])
        return np.asarray(counts / counts.sum())

    def learn(self, encoded: Encoded, rewards: NDArray[np.float64], front: Encoded) -> None:
        """Update the policy with a generation.

        Args:
            encoded: encodings of its architectures, (N, layers).
            rewards: reward of each architecture, in [0, 1].
            front: encodings of the architectures on the front, (M, layers).
        """
        advantage = rewards - rewards.mean()
        for layer, logits in enumerate(self._logits):
            policy = self.shares(GUIDED, layer)
            onehot = np.eye(len(logits))[encoded[:, layer]]
            logits += self._rate * (advantage[:, None] * (onehot - policy)).sum(axis=0)
            self._counts[layer] = 1.0 + np.bincount(front[:, layer], minlength=len(logits))
