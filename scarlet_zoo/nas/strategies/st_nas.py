"""ST-NAS: branches between layers, and scores averaged over samples of the posterior of the shared weights.

Guo et al., "Powering One-shot Topological NAS with Stabilized Share-parameter Proxy", arXiv 2005.10511.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
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
from scarlet_zoo.training.learner import Course
from scarlet_zoo.training.settings import learning_rate


@dataclass(frozen=True, kw_only=True)
class StNasOptions(StrategyOptions):
    """Options of ST-NAS.

    Attributes:
        samples: number K of samples of the weights that are saved.
        share: share of the steps, at the end, in which samples are drawn.
        rate: constant learning rate of these steps, relative to the highest learning rate.
        temperature: temperature T of the posterior; 0 for no noise.
        everywhere: whether every step adds noise to all parameters instead of only those of the path.
        branches: whether the space gets branches.
    """

    samples: PositiveInt = 5
    share: PositiveShare = 0.3
    rate: PositiveShare = 0.1
    temperature: NonNegativeFloat = 1.0
    everywhere: bool = False
    branches: bool = True


class StNas(Strategy):
    """Samples operators and branches uniformly, then samples weights by Langevin dynamics and averages the scores.

    From the paper: branches between feature maps two or three apart (caption of figure 1), and the view that a set of
    shared weights is one noisy draw from a posterior. So an architecture is scored with several sets, drawn by
    stochastic gradient Langevin dynamics. We had no access to the paper's full text and code: the update is that of
    Welling and Teh (ICML 2011), see :func:`langevin_noise`. All numbers are ours: usual training until the learning
    rate is down to ``rate``, then K samples evenly over the remaining steps. Our loop has momentum mu; with it the
    noise is that of stochastic gradient Hamiltonian Monte Carlo (Chen et al., ICML 2014).
    """

    name = "st-nas"
    Options = StNasOptions

    @classmethod
    def extended(cls, space: SearchSpace, options: StNasOptions) -> SearchSpace:
        """Return the space with branches, if the options ask for them."""
        return space.with_branches() if options.branches and not space.branches else space

    def set_up(self, course: Course) -> None:
        """Plan the steps in which samples are drawn.

        Raises:
            TrainingError: the precision is fp16.
        """
        super().set_up(course)
        if course.settings.precision == "fp16":
            raise TrainingError("strategy st-nas: got precision fp16, which scales gradients, wanted no or bf16")
        self._images = len(course.data.part("train"))
        drawn = max(round(course.steps * self.options.share), min(self.options.samples, course.steps))
        self._burnt_in = course.steps - drawn
        self._between = max(drawn // self.options.samples, 1)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step: the usual schedule, then the constant rate of the sampling steps."""
        settings = self.course.settings
        least: float = settings.lr * self.options.rate
        if step >= self._burnt_in:
            return least
        usual = learning_rate(step, self._burnt_in, settings)
        return usual if step < round(settings.warmup * self._burnt_in) else max(usual, least)

    def before_update(self, step: int) -> None:
        """Add noise to the gradient in the sampling steps; clipped with it, it would be too small."""
        if step < self._burnt_in:
            return
        parameters = list(self.supernet.parameters())
        if not self.options.everywhere:
            parameters = [parameter for parameter in parameters if parameter.grad is not None]
        rate, momentum = self.learning_rate(step), self.course.settings.momentum
        deviation = noise_deviation(rate, self.options.temperature, self._images, momentum)
        langevin_noise(parameters, deviation / rate, self.seed * 1_000_003 + step)

    def end(self, step: int) -> None:
        """Save the weights after a step in which a sample is due."""
        number, rest = divmod(step + 1 - self._burnt_in, self._between)
        if number > 0 and not rest and number <= self.options.samples:
            self.course.shared(lambda: self._save_sample(number - 1))

    def _save_sample(self, number: int) -> None:
        save_supernet(self.supernet, self.course.out / sample_name(number), {"drawn": str(number)})

    def metadata(self) -> dict[str, str]:
        """Return the metadata of the supernet's file, with the names of the samples beside it."""
        saved = [
            name
            for number in range(self.options.samples)
            if (self.course.out / (name := sample_name(number))).is_file()
        ]
        return {**super().metadata(), "posterior": " ".join(saved)}

    @classmethod
    def scorer(cls, bench: OneShot) -> Score:
        """Return the function that gives the means over the samples, and the accuracy's variance if there are several.

        Each sample has its own precise BN. If a run ended before its first sample, its last weights are the sample.

        Raises:
            CheckpointError: a sample is missing beside the supernet's file.
        """
        names = bench.metadata.get("posterior", "").split()
        missing = next((name for name in names if not (bench.file.parent / name).is_file()), None)
        if missing is not None:
            raise CheckpointError(
                f"{bench.file.parent / missing}: no such file, wanted a sample of the weights from st-nas's training"
            )
        weights = [load_supernet(bench.file.parent / name)[0] for name in names] or [bench.supernet]

        def score(arch: Arch) -> dict[str, float]:
            found = [bench.scores(arch, one) for one in weights]
            means = {name: fmean(one[name] for one in found) for name in found[0]}
            accuracies = [one["accuracy"] for one in found]
            return {**means, "accuracy_variance": variance(accuracies)} if len(found) > 1 else means

        return score


def sample_name(number: int) -> str:
    """Return the file name of a sample."""
    return f"posterior-{number}.safetensors"


def noise_deviation(rate: float, temperature: float, images: int, momentum: float = 0.0) -> float:
    """Return the standard deviation of the noise that a step adds to a weight: sqrt(2 eta (1 - mu) T / N).

    With the mean loss L over N images, theta <- theta - eta grad L + noise has the stationary distribution
    exp(-N L / T) for small eta. With eps = 2 eta / N it is Welling and Teh's eq. 4,
    theta <- theta + eps/2 grad log p + N(0, eps).

    Args:
        rate: learning rate eta.
        temperature: temperature T of the posterior.
        images: number N of training images.
        momentum: momentum mu of the optimiser.
    """
    return math.sqrt(2 * rate * (1 - momentum) * temperature / images)


def langevin_noise(parameters: Iterable[nn.Parameter], deviation: float, seed: int) -> None:
    """Add normal noise to gradients in place, so that momentum applies to the noise as well.

    The noise depends only on the seed, so it is equal in every process. If a parameter has no gradient, the noise
    becomes its gradient.

    Args:
        parameters: the parameters whose gradients are changed.
        deviation: standard deviation of the noise; 0 for none.
        seed: seed of the noise.
    """
    if not deviation:
        return
    random = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        noise = torch.randn(parameter.shape, generator=random).mul_(deviation).to(parameter)
        parameter.grad = noise if parameter.grad is None else parameter.grad + noise
