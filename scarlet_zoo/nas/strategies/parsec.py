"""PARSEC: a distribution over architectures is learned with the weights (Casale et al., arXiv 1902.05116).

The options that make it cheaper and aim it at a cost are those of FP-NAS (Yan et al., CVPR 2021).
"""

from __future__ import annotations

import json
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

# Below this a path's share of the gradient is lost in float32: it is not run a second time.
_NEGLIGIBLE = 1e-7
_MINIMUM = 2


@dataclass(frozen=True, kw_only=True)
class ParsecOptions(StrategyOptions):
    """How paths are drawn and weighted.

    Attributes:
        paths: K, drawn in each half of a step.
        adaptive: K follows the entropy H of the distribution, K = max(2, round(entropy_factor * H)).
        entropy_factor: paths for each nat of entropy.
        temperature: of the importance weights; 1 is the likelihood's own.
        lr_alpha: step of alpha.
        beta: weight of the cost, 0 for none.
        target_macs: multiply-adds that cost nothing; what is above them, over them, is the cost.
    """

    paths: PositiveInt = 16
    adaptive: bool = False
    entropy_factor: PositiveFloat = 0.25
    temperature: PositiveFloat = 1.0
    lr_alpha: PositiveFloat = 0.01
    beta: NonNegativeFloat = 0.0
    target_macs: NonNegativeInt = 0


class Parsec(Strategy):
    """Paths are drawn from P(A | alpha); weights and alpha learn from those that explain the images best.

    With K paths of P(A | alpha), p(y | X, w, alpha) is about the mean of p(y | X, w, A_k), and the gradients of its
    logarithm are those of log p(y | X, w, A_k) and log P(A_k | alpha) with importance weights

        omega_k = softmax_k(-N mean CE_k / temperature)

    for N images. The first half of a step's images is the weights': a pass without gradient gives omega, then one
    path at a time runs with the loss omega_k CE_k, so that one path is in memory. The second half is alpha's: K
    fresh paths, without gradient, and alpha_l += lr_alpha sum_k omega_k (onehot(A_k,l) - softmax(alpha_l)).
    The final architecture is the likeliest choice of each layer, which is also the one with the highest score; the
    score is log P(A | alpha), and accuracy can be asked for beside it.

    The paper's: the distribution, the importance weights, and separate data for weights and alpha. FP-NAS's: 16 paths
    as PARSEC's number; K in proportion to the entropy, with factor 1/4; and the cost beta log mean_k C_k, C =
    max(0, multiply-adds / target - 1), so that alpha's weights become omega_k - beta C_k / sum_j C_j. It draws at
    first from a distribution over the parts of a choice, which ours does not. Ours: entropy in nats, of which we do not
    know that it is FP-NAS's unit; the update of alpha by plain steps, its rate, and the temperature, since with many
    images omega is nearly one for the best path and nearly nought for all others; halves of one batch in place of
    halves of the data, alpha's with the weights from before the step; likelihoods without label smoothing, which
    only the loss has; batch norm in train mode throughout, so that its running statistics follow every pass. A path
    that is drawn twice runs once with both its shares; one with a share below 1e-7 is not run for the weights.
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
        """K, how many paths are drawn in each half of the next step."""
        if not self.options.adaptive:
            return int(self.options.paths)
        return max(_MINIMUM, round(float(self.options.entropy_factor) * self.distribution.entropy()))

    @property
    def batch_share(self) -> float:
        """A half: the weights' or alpha's."""
        return 0.5

    def drawn(self, step: int, half: int) -> Counter[Arch]:
        """The paths of a half, 0 or 1, and how often each was drawn: a function of seed, step and alpha."""
        rng = random.Random(f"{self.seed} {step} {half}")
        return Counter(self.distribution.draw(self.count, rng))

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """The weights' half, one loss a path; then alpha's half, from which the weights learn nothing."""
        middle = (len(batch.targets) + 1) // 2
        if middle == len(batch.targets):
            raise TrainingError(f"strategy parsec: got {middle} images a step in a process, wanted 2 or more")
        ours, theirs = ((batch.images[part], batch.targets[part]) for part in (slice(middle), slice(middle, None)))
        shares = yield from self._shares(model, ours, self.drawn(batch.step, 0))
        for arch, share in shares.items():
            if share > _NEGLIGIBLE:
                yield LossTerm(CROSS_ENTROPY, share * self.criterion(model(ours[0], arch), ours[1]), arch)
        drawn = self.drawn(batch.step, 1)
        shares = yield from self._shares(model, theirs, drawn)
        self.distribution.move(self.distribution.gradient(self.priced(shares, drawn)), self.options.lr_alpha)

    def _shares(
        self, model: nn.Module, images: tuple[Tensor, Tensor], drawn: Counter[Arch]
    ) -> Generator[LossTerm, None, dict[Arch, float]]:
        """Run every path without gradient, over all processes' images; the importance weight of each."""
        images, targets = images
        sums: list[Tensor] = []
        for arch in drawn:
            with torch.no_grad():
                sums.append(functional.cross_entropy(model(images, arch).float(), targets, reduction="sum"))
            yield LossTerm(CROSS_ENTROPY, None, arch)
        # Each process has its own images of the batch: the likelihood is that of all of them, the same everywhere.
        likelihoods = -self.course.gather(torch.stack(sums)[None]).double().cpu().sum(0)
        counts = torch.tensor(list(drawn.values()), dtype=torch.float64)
        return dict(zip(drawn, importance(likelihoods, counts, self.options.temperature).tolist(), strict=True))

    def priced(self, shares: Mapping[Arch, float], drawn: Counter[Arch]) -> dict[Arch, float]:
        """Importance weights less each path's part of the cost."""
        costs = {arch: count * self.cost(arch) for arch, count in drawn.items()} if self.options.beta else {}
        total = sum(costs.values())
        if not total:
            return dict(shares)
        return {arch: share - self.options.beta * costs[arch] / total for arch, share in shares.items()}

    def cost(self, arch: Arch) -> float:
        """By what share an architecture's multiply-adds exceed the target."""
        return max(0.0, self._macs.macs(arch) / int(self.options.target_macs) - 1)

    def state_dict(self) -> dict[str, Any]:
        """Alpha."""
        return {"alpha": list(self.distribution.alpha)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Alpha."""
        self.distribution = PathDistribution(self.space, state["alpha"])

    def metadata(self) -> dict[str, str]:
        """Alpha, by which the supernet's architectures are scored, and the final architecture."""
        return {
            **super().metadata(),
            "alpha": self.distribution.to_json(),
            "likeliest": str(self.distribution.likeliest()),
        }

    @classmethod
    def scorer(cls, bench: OneShot) -> Score:
        """The log probability of an architecture, as ``score``; no image is opened.

        Raises:
            TrainingError: the supernet's file has no distribution.
        """
        if "alpha" not in bench.metadata:
            raise TrainingError(f"{bench.file}: no distribution over paths, wanted a supernet of strategy parsec")
        distribution = PathDistribution(bench.supernet.space, json.loads(bench.metadata["alpha"]))
        return lambda arch: {"score": distribution.log_probability(arch)}


def importance(likelihoods: Tensor, counts: Tensor, temperature: float) -> Tensor:
    """Omega of each path, all its draws together: softmax of log-likelihood / temperature + log count.

    Args:
        likelihoods: log-likelihood of the labels under each path (paths,).
        counts: how often each was drawn (paths,).
        temperature: above 1 it draws the weights together.
    """
    return torch.softmax(likelihoods / temperature + counts.log(), 0)
