"""ST-NAS: branches between layers, and scores that are averages over the posterior of the shared weights.

Guo et al., "Powering One-shot Topological NAS with Stabilized Share-parameter Proxy", arXiv 2005.10511.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean, variance

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import CheckpointError, TrainingError
from scarlet_zoo.models.supernet import load_supernet, save_supernet
from scarlet_zoo.nas.one_shot import OneShot
from scarlet_zoo.nas.strategies.base import PositiveShare, Score, Strategy, StrategyOptions
from scarlet_zoo.training.learner import Course, LossTerm, StepBatch
from scarlet_zoo.training.settings import learning_rate


@dataclass(frozen=True, kw_only=True)
class StNasOptions(StrategyOptions):
    """How the posterior is drawn from.

    Attributes:
        samples: weights to keep, K.
        share: of the steps in which they are drawn, after as much ordinary training as is left.
        rate: learning rate of those steps over the highest one; it stays the same.
        temperature: T of the posterior; 0 leaves the noise out.
        everywhere: noise on every parameter in every step, not only on those of the path.
        branches: give the space its branches.
    """

    samples: PositiveInt = 5
    share: PositiveShare = 0.3
    rate: PositiveShare = 0.1
    temperature: NonNegativeFloat = 1.0
    everywhere: bool = False
    branches: bool = True


class StNas(Strategy):
    """Uniform sampling of operators and branches; then Langevin dynamics, and a score averaged over its samples.

    The paper's: branches between feature maps two or three apart (caption of figure 1), and one set of shared
    weights seen as one noisy draw from a posterior, so that an architecture is scored with several of them, drawn
    by stochastic gradient Langevin dynamics. Its text and code were not at hand: the update is that of Welling and
    Teh (ICML 2011), see :func:`langevin_noise`, and all numbers are ours: training as usual down to ``rate``, then
    K weights, evenly over the rest of the steps. With momentum mu, which our loop has, the noise is that of
    stochastic gradient Hamiltonian Monte Carlo (Chen et al., ICML 2014).
    """

    name = "st-nas"
    Options = StNasOptions

    @classmethod
    def extended(cls, space: SearchSpace, options: StNasOptions) -> SearchSpace:
        """The space with its branches."""
        return space.with_branches() if options.branches and not space.branches else space

    def set_up(self, course: Course) -> None:
        """Take in what the training is."""
        super().set_up(course)
        if course.settings.precision == "fp16":
            raise TrainingError("strategy st-nas: got precision fp16, whose gradients are scaled, wanted no or bf16")
        self._pictures = len(course.data.part("train"))
        drawn = max(round(course.steps * self.options.share), min(self.options.samples, course.steps))
        self._burnt_in = course.steps - drawn
        self._between = max(drawn // self.options.samples, 1)

    def learning_rate(self, step: int) -> float:
        """The usual schedule down to the rate of the draws, which stays."""
        settings = self.course.settings
        least: float = settings.lr * self.options.rate
        if step >= self._burnt_in:
            return least
        usual = learning_rate(step, self._burnt_in, settings)
        return usual if step < round(settings.warmup * self._burnt_in) else max(usual, least)

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """Cross-entropy of the path; in the draws, the noise on its gradient when that has been taken."""
        yield from super().terms(model, batch)
        if batch.step < self._burnt_in:
            return
        parameters = list(self.supernet.parameters())
        if not self.options.everywhere:
            parameters = [parameter for parameter in parameters if parameter.grad is not None]
        rate, momentum = self.learning_rate(batch.step), self.course.settings.momentum
        deviation = noise_deviation(rate, self.options.temperature, self._pictures, momentum)
        langevin_noise(parameters, deviation / rate, self.seed * 1_000_003 + batch.step)

    def end(self, step: int) -> None:
        """Keep the weights where a draw is due."""
        number, rest = divmod(step + 1 - self._burnt_in, self._between)
        if number > 0 and not rest and number <= self.options.samples:
            self.course.shared(lambda: self._keep(number - 1))

    def _keep(self, number: int) -> None:
        save_supernet(self.supernet, self.course.out / sample_name(number), {"drawn": str(number)})

    def metadata(self) -> dict[str, str]:
        """Which samples there are beside the file."""
        kept = [
            name
            for number in range(self.options.samples)
            if (self.course.out / (name := sample_name(number))).is_file()
        ]
        return {**super().metadata(), "posterior": " ".join(kept)}

    @classmethod
    def scorer(cls, bench: OneShot) -> Score:
        """Mean accuracy over the samples, each with statistics of its own, and their variance where there are two.

        A run that ended before its first draw has its last weights as its only sample.

        Raises:
            CheckpointError: a sample is not beside the supernet's file any more.
        """
        names = bench.metadata.get("posterior", "").split()
        missing = next((name for name in names if not (bench.file.parent / name).is_file()), None)
        if missing is not None:
            raise CheckpointError(
                f"{bench.file.parent / missing}: no such file, wanted the sample of st-nas's training"
            )
        weights = [load_supernet(bench.file.parent / name)[0] for name in names] or [bench.supernet]

        def score(arch: Arch) -> dict[str, float]:
            found = [bench.accuracy(arch, one) for one in weights]
            spread = {"accuracy_variance": variance(found)} if len(found) > 1 else {}
            return {"accuracy": fmean(found), **spread}

        return score


def sample_name(number: int) -> str:
    """File of a draw."""
    return f"posterior-{number}.safetensors"


def noise_deviation(rate: float, temperature: float, images: int, momentum: float = 0.0) -> float:
    """Of what the noise moves a weight by in a step, sqrt(2 eta (1 - mu) T / N), for the mean loss over N images.

    theta <- theta - eta grad L + noise then has exp(-N L / T) as its stationary law for small eta: with
    eps = 2 eta / N it is Welling and Teh's eq. 4, theta <- theta + eps/2 grad log p + N(0, eps).
    """
    return math.sqrt(2 * rate * (1 - momentum) * temperature / images)


def langevin_noise(parameters: Iterable[nn.Parameter], deviation: float, seed: int) -> None:
    """Add normal noise to gradients, in place, so that momentum carries it as it carries the gradient.

    It is a function of the seed, so the same in every process. A parameter without a gradient gets the noise as its
    gradient.
    """
    if not deviation:
        return
    random = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        noise = torch.randn(parameter.shape, generator=random).mul_(deviation).to(parameter)
        parameter.grad = noise if parameter.grad is None else parameter.grad + noise
