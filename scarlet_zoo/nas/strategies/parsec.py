"""PARSEC: learn a distribution over architectures together with the weights (Casale et al., arXiv 1902.05116).

The options that reduce its cost and aim at a number of multiply-adds are from FP-NAS (Yan et al., CVPR 2021).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import cost_table
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.nas.one_shot import OneShot
from scarlet_zoo.nas.strategies.base import CROSS_ENTROPY, Score, Strategy, StrategyOptions
from scarlet_zoo.nas.strategies.path_distribution import PathDistribution
from scarlet_zoo.training.learner import LossTerm, StepBatch
from scarlet_zoo.utils.reading import parse_json

# A smaller importance weight is lost in float32, so the path is not run with gradient.
_NEGLIGIBLE = 1e-7
_MINIMUM = 2


@dataclass(frozen=True, kw_only=True)
class ParsecOptions(StrategyOptions):
    """Options of PARSEC.

    Attributes:
        paths: number K of paths that are drawn in each half of a step.
        adaptive: whether K follows the entropy H of the distribution: K = max(2, round(entropy_factor * H)).
        entropy_factor: number of paths for each nat of entropy.
        temperature: temperature of the importance weights; 1 gives the weights of the likelihood.
        lr_alpha: learning rate of alpha.
        beta: weight of the cost; 0 for none.
        target_macs: target of the multiply-adds; the cost is the relative excess over it.
    """

    paths: PositiveInt = 16
    adaptive: bool = False
    entropy_factor: PositiveFloat = 0.25
    temperature: PositiveFloat = 1.0
    lr_alpha: PositiveFloat = 0.01
    beta: NonNegativeFloat = 0.0
    target_macs: NonNegativeInt = 0


class Parsec(Strategy):
    """Draws paths from P(A | alpha) and trains weights and alpha with the paths weighted by their likelihood.

    With K paths drawn from P(A | alpha), p(y | X, w, alpha) is about the mean of p(y | X, w, A_k). The gradient of its
    logarithm is the sum of the gradients of log p(y | X, w, A_k) and log P(A_k | alpha) with importance weights

        omega_k = softmax_k(-N mean CE_k / temperature)

    for N images. The weights learn from the first half of a step's images: a pass without gradient gives omega, then
    one path at a time runs with the loss omega_k CE_k, so that only one path is in memory. Alpha learns from the
    second half: K new paths run without gradient, and alpha_l += lr_alpha sum_k omega_k (onehot(A_k,l) -
    softmax(alpha_l)). The score is log P(A | alpha); accuracy can be a further objective. The final architecture is
    the most likely choice of each layer, which has the highest score.

    From the paper: the distribution, the importance weights, and separate data for weights and alpha. From FP-NAS: 16
    paths as PARSEC's number; K in proportion to the entropy, with factor 1/4; and the cost beta log mean_k C_k with
    C = max(0, multiply-adds / target - 1), so that alpha's weights become omega_k - beta C_k / sum_j C_j. FP-NAS
    first draws from a distribution over the parts of a choice; ours does not. Ours: entropy is in nats, and we do not
    know FP-NAS's unit; alpha is updated by plain gradient steps with a learning rate of ours; the temperature, since
    with many images omega is nearly 1 for the best path and nearly 0 for all others; halves of one batch in place of
    halves of the data, and alpha's half runs with the weights before the step; likelihoods without label smoothing,
    which only the loss has; batch norm in train mode throughout, so that every pass updates its running statistics.
    A path that is drawn twice runs once with the sum of its weights. A path with a weight below 1e-7 is not run with
    gradient.
    """

    name = "parsec"
    Options = ParsecOptions
    metric = "score"

    def __init__(self, space: SearchSpace, skip: str, options: Any, seed: int) -> None:
        if options.beta and not options.target_macs:
            raise TrainingError(f"strategy parsec: got beta {options.beta:g} without target_macs, wanted both")
        super().__init__(space, skip, options, seed)
        self.distribution = PathDistribution(space)
        self._macs = cost_table(space)

    @property
    def count(self) -> int:
        """Number K of paths that are drawn in each half of the next step."""
        if not self.options.adaptive:
            return int(self.options.paths)
        return max(_MINIMUM, round(float(self.options.entropy_factor) * self.distribution.entropy()))

    @property
    def batch_share(self) -> float:
        """Share of a step's images that each path runs on: one half."""
        return 0.5

    def drawn(self, step: int, half: int) -> Counter[Arch]:
        """Return the paths of a half, 0 or 1, and how often each was drawn; they depend on seed, step and alpha."""
        rng = random.Random(f"{self.seed} {step} {half}")
        return Counter(self.distribution.draw(self.count, rng))

    @property
    def summed(self) -> int:
        """One cross-entropy: the paths' are weighted by shares whose sum is 1."""
        return 1

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """Yield a loss for each path of the weights' half; then update alpha by its half, without a loss."""
        middle = (len(batch.targets) + 1) // 2
        if middle == len(batch.targets):
            raise TrainingError(f"strategy parsec: got {middle} images for each step and process, wanted 2 or more")
        first, second = ((batch.images[part], batch.targets[part]) for part in (slice(middle), slice(middle, None)))
        shares = yield from self._shares(model, first, self.drawn(batch.step, 0))
        for arch, share in shares.items():
            if share > _NEGLIGIBLE:
                yield LossTerm(CROSS_ENTROPY, share * self.criterion(model(first[0], arch), first[1]), arch)
        drawn = self.drawn(batch.step, 1)
        shares = yield from self._shares(model, second, drawn)
        self.distribution.move(self.distribution.gradient(self.priced(shares, drawn)), self.options.lr_alpha)

    def _shares(
        self, model: nn.Module, half: tuple[Tensor, Tensor], drawn: Counter[Arch]
    ) -> Generator[LossTerm, None, dict[Arch, float]]:
        """Run every path without gradient; return the importance weight of each over the images of all processes."""
        images, targets = half
        sums: list[Tensor] = []
        for arch in drawn:
            with torch.no_grad():
                sums.append(functional.cross_entropy(model(images, arch).float(), targets, reduction="sum"))
            yield LossTerm(CROSS_ENTROPY, None, arch)
        # Each process has its own images. The likelihood is that of all images, so it is equal in all processes.
        likelihoods = -self.course.gather(torch.stack(sums)[None]).double().cpu().sum(0)
        counts = torch.tensor(list(drawn.values()), dtype=torch.float64)
        return dict(zip(drawn, importance(likelihoods, counts, self.options.temperature).tolist(), strict=True))

    def priced(self, shares: Mapping[Arch, float], drawn: Counter[Arch]) -> dict[Arch, float]:
        """Return the importance weights minus beta times each path's part of the cost."""
        costs = {arch: count * self.cost(arch) for arch, count in drawn.items()} if self.options.beta else {}
        total = sum(costs.values())
        if not total:
            return dict(shares)
        return {arch: share - self.options.beta * costs[arch] / total for arch, share in shares.items()}

    def cost(self, arch: Arch) -> float:
        """Return the relative excess of an architecture's multiply-adds over the target; 0 below it."""
        return max(0.0, self._macs.macs(arch) / int(self.options.target_macs) - 1)

    def state_dict(self) -> dict[str, Any]:
        """Return alpha."""
        return {"alpha": list(self.distribution.alpha)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore alpha."""
        self.distribution = PathDistribution(self.space, state["alpha"])

    def metadata(self) -> dict[str, str]:
        """Return alpha, which scores the supernet's architectures, and the final architecture."""
        return {
            **super().metadata(),
            "alpha": self.distribution.to_json(),
            "likeliest": str(self.distribution.likeliest()),
        }

    @classmethod
    def scorer(cls, bench: OneShot) -> Score:
        """Return the function that gives an architecture's log probability as ``score``, without images.

        Raises:
            TrainingError: the supernet's file holds no distribution over paths.
        """
        if "alpha" not in bench.metadata:
            raise TrainingError(
                f"{bench.file}: no distribution over paths in the file, wanted a supernet of strategy parsec"
            )
        distribution = PathDistribution(bench.supernet.space, parse_json(bench.metadata["alpha"]))
        return lambda arch: {"score": distribution.log_probability(arch)}


def importance(likelihoods: Tensor, counts: Tensor, temperature: float) -> Tensor:
    """Return the importance weight of each path: softmax of (log-likelihood / temperature + log count), (paths,).

    Args:
        likelihoods: log-likelihood of the labels under each path, (paths,).
        counts: how often each path was drawn, (paths,).
        temperature: divisor of the log-likelihoods; above 1 it makes the weights more equal.
    """
    return torch.softmax(likelihoods / temperature + counts.log(), 0)
