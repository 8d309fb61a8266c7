"""NAO-V2: train a finite pool of architectures, the large ones more often, in rounds (arXiv 1909.10815)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import torch
from pydantic import PositiveInt

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.data.splits import in_order
from scarlet_zoo.models.batchnorm import batch_statistics
from scarlet_zoo.models.supernet import Supernet
from scarlet_zoo.nas.nao.predictor import EpdSettings
from scarlet_zoo.nas.nao.proposals import draw_different, propose
from scarlet_zoo.nas.strategies.base import Strategy, StrategyOptions
from scarlet_zoo.training.learner import Course
from scarlet_zoo.training.settings import learning_rate


@dataclass(frozen=True, kw_only=True)
class NaoV2Options(StrategyOptions):
    """Options of NAO-V2.

    Attributes:
        rounds: number of parts of the training, each with its own pool; 4 as in the authors' code.
        first_pool: size of the first pool, which is drawn uniformly; our default, 1000 in the authors' code.
        pool: number of new architectures of each later pool; our default, 300 in the authors' code.
        pool_policy: ``new`` for new architectures only; ``elites`` adds as many of the best so far, as in an older
            script of the authors.
        reinit: whether weights and optimiser are reset in each round, as in the paper; the released code keeps both.
        score_images: number of validation images that the archive is scored on; 500 as in the authors' code.
        epochs: training epochs of the encoder, predictor and decoder; our default, 1000 in the authors' code.
    """

    rounds: PositiveInt = 4
    first_pool: PositiveInt = 200
    pool: PositiveInt = 60
    pool_policy: Literal["new", "elites"] = "new"
    reinit: bool = True
    score_images: PositiveInt = 500
    epochs: PositiveInt = 100


class NaoV2(Strategy):
    """Trains one architecture of a pool a step, drawn with p(a) = size(a) / sum of all sizes.

    From the paper (Luo et al.), three changes to weight sharing in NAO: each architecture gets more updates, since
    the pool is finite; large architectures, which need more updates, are drawn more often, where size is the number
    of parameters of the stand-alone network; and the rounds are independent of each other. At the end of a round all
    architectures so far are scored. An encoder, predictor and decoder is fitted to the scores and proposes new
    architectures as the next pool. An architecture gets steps * p(a) updates in a round.

    From the authors' code: it keeps weights and momentum from round to round and restarts only the learning rate; an
    older script resets all of them (:attr:`NaoV2Options.reinit`). It scores each architecture on another random batch
    of 500 images, with an error of more than a percent. Here all are scored on the same images, with the batch's own
    statistics as in their code. Ours: the sizes of the pools; rounds that are equal parts of the steps, and at most
    one round for each step; when the space has no new architectures left, the best so far are the pool. The authors'
    auxiliary head and drop path are left out.

    Attributes:
        round: number of the current round, from 0.
        pool: architectures of the current round.
        archive: architectures of earlier rounds with their latest accuracy in percent.
    """

    name = "nao-v2"
    Options = NaoV2Options
    method = "nao"
    options: NaoV2Options

    def __init__(self, space: SearchSpace, skip: str, options: NaoV2Options, seed: int) -> None:
        super().__init__(space, skip, options, seed)
        self.round, self.archive = 0, list[tuple[Arch, float]]()
        self._take_pool(draw_different(space, options.first_pool, random.Random(f"{seed} pool")))

    def _take_pool(self, archs: Sequence[Arch]) -> None:
        self.pool = tuple(archs)
        self._bounds = list(accumulate(arch_cost(arch).params for arch in archs))

    def set_up(self, course: Course) -> None:
        """Prepare for a training; the rounds are at most the steps."""
        super().set_up(course)
        self._rounds = min(self.options.rounds, course.steps)

    def paths(self, step: int) -> tuple[Arch, ...]:
        """Return one architecture of the pool, drawn in proportion to its size."""
        return tuple(random.Random(f"{self.seed} {step}").choices(self.pool, cum_weights=self._bounds))

    def first_step(self, number: int) -> int:
        """Return the first step of a round, or the number of steps for the round after the last."""
        return number * self.course.steps // self._rounds

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step; each round has the schedule of a whole training."""
        number = max(number for number in range(self._rounds) if self.first_step(number) <= step)
        first = self.first_step(number)
        return learning_rate(step - first, self.first_step(number + 1) - first, self.course.settings)

    def begin(self, step: int) -> bool:
        """Score the architectures and take the next pool if a round ends; return whether the optimiser is reset."""
        if self.round + 1 >= self._rounds or step < self.first_step(self.round + 1):
            return False
        scores, pool = self.course.shared(self._decide)
        self.round += 1
        self.archive = [(self._arch(text), score) for text, score in scores]
        self._take_pool([self._arch(text) for text in pool])
        if self.options.reinit:
            self._reset_weights()
        return self.options.reinit

    def _arch(self, text: str) -> Arch:
        return Arch.parse(text, self.space)

    def _decide(self) -> tuple[list[tuple[str, float]], list[str]]:
        """Archive and next pool, as text for other processes."""
        archs = list({str(arch): arch for arch in (*(arch for arch, _ in self.archive), *self.pool)}.values())
        archive = list(zip(archs, self.scores(archs), strict=True))
        pool = propose(archive, self.options.pool, EpdSettings(epochs=self.options.epochs), self._seed_of_round())
        best = [arch for arch, _ in sorted(archive, key=lambda row: -row[1])]
        if self.options.pool_policy == "elites" or not pool:
            pool += best[: self.options.pool]
        return [(str(arch), score) for arch, score in archive], list(map(str, pool))

    def _seed_of_round(self) -> int:
        return random.Random(f"{self.seed} round {self.round}").getrandbits(31)

    @torch.inference_mode()
    def scores(self, archs: Sequence[Arch]) -> list[float]:
        """Return the accuracy of paths in percent on one batch of validation images, with the batch's statistics."""
        split = self.course.data.part("validation")
        images, targets = next(in_order(split, self.options.score_images, self.options.score_images))
        images, targets = images.to(self.course.device), targets.to(self.course.device)
        with batch_statistics(self.supernet):
            return [100 * float((self.supernet(images, arch).argmax(1) == targets).double().mean()) for arch in archs]

    def _reset_weights(self) -> None:
        """Initialise the weights again from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            fresh = Supernet(self.space, self.supernet.skip)
        self.supernet.load_state_dict(fresh.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return round, pool and archive."""
        archive = [[str(arch), score] for arch, score in self.archive]
        return {"round": self.round, "pool": list(map(str, self.pool)), "archive": archive}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore round, pool and archive."""
        self.round = int(state["round"])
        self._take_pool([self._arch(text) for text in state["pool"]])
        self.archive = [(self._arch(text), float(score)) for text, score in state["archive"]]
