"""NAO-V2: a finite pool, its large architectures more often, rounds that start anew (Luo et al., arXiv 1909.10815)."""

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
    """Rounds and pools.

    Attributes:
        rounds: parts of the training, each with a pool of its own (4, the authors' code).
        first_pool: architectures of the first pool, drawn uniformly (200, our default; 1000 in the authors' code).
        pool: new architectures of each later pool (60, our default; 300 there).
        pool_policy: ``new``, or ``elites``: as many of the best so far besides, as in an older script of theirs.
        reinit: weights and optimiser start anew in each round, as the paper says; the released code keeps both.
        score_images: validation images that the archive is scored on (500, the authors' code).
        epochs: of the encoder, predictor and decoder (100, our default; 1000 there).
    """

    rounds: PositiveInt = 4
    first_pool: PositiveInt = 200
    pool: PositiveInt = 60
    pool_policy: Literal["new", "elites"] = "new"
    reinit: bool = True
    score_images: PositiveInt = 500
    epochs: PositiveInt = 100


class NaoV2(Strategy):
    """A step runs one architecture of a pool, drawn with p(a) = size(a) / sum of all sizes.

    The paper's three changes to weight sharing in NAO: more updates for each architecture, since the pool is
    finite; large architectures more often, since they need more updates, where size is the number of parameters of
    the network on its own; and rounds that are independent of each other. At the end of a round all architectures so
    far are scored, an encoder, predictor and decoder is fitted on them, and makes the next pool out of architectures
    that nobody has seen. An architecture gets steps * p(a) updates in a round.

    The released code keeps weights and momentum from round to round and starts only the learning rate anew; an
    older script of the authors builds all of it again (:attr:`NaoV2Options.reinit`). It scores each architecture on
    another random batch of 500 images, with an error of more than a percent; here all are scored on the same
    ones, with the batch's own statistics as there. Ours: the sizes of the pools; rounds as equal parts of the steps,
    and fewer of them where there are fewer steps; a space that is used up leaves the best so far as the pool. The
    auxiliary head and drop path of theirs are left out.

    Attributes:
        round: the current one, from 0.
        pool: its architectures.
        archive: those of earlier rounds and their accuracy in percent when last scored.
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
        """Take in what the training is."""
        super().set_up(course)
        self._rounds = min(self.options.rounds, course.steps)

    def paths(self, step: int) -> tuple[Arch, ...]:
        """One of the pool, in proportion to its size."""
        return tuple(random.Random(f"{self.seed} {step}").choices(self.pool, cum_weights=self._bounds))

    def first_step(self, number: int) -> int:
        """Of a round, or of what comes after the last."""
        return number * self.course.steps // self._rounds

    def learning_rate(self, step: int) -> float:
        """The schedule of a whole training, once in each round."""
        number = max(number for number in range(self._rounds) if self.first_step(number) <= step)
        first = self.first_step(number)
        return learning_rate(step - first, self.first_step(number + 1) - first, self.course.settings)

    def begin(self, step: int) -> bool:
        """Where a round begins: score, make the next pool, and start anew."""
        if self.round + 1 >= self._rounds or step < self.first_step(self.round + 1):
            return False
        scores, pool = self.course.shared(self._decide)
        self.round += 1
        self.archive = [(self._arch(text), score) for text, score in scores]
        self._take_pool([self._arch(text) for text in pool])
        if self.options.reinit:
            self._start_anew()
        return self.options.reinit

    def _arch(self, text: str) -> Arch:
        return Arch.parse(text, self.space)

    def _decide(self) -> tuple[list[tuple[str, float]], list[str]]:
        """Archive and next pool, as text that can be sent to other processes."""
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
        """Accuracy in percent of paths on the same validation images, with the statistics of these."""
        split = self.course.data.part("validation")
        images, targets = next(in_order(split, self.options.score_images, self.options.score_images))
        images, targets = images.to(self.course.device), targets.to(self.course.device)
        with batch_statistics(self.supernet):
            return [100 * float((self.supernet(images, arch).argmax(1) == targets).double().mean()) for arch in archs]

    def _start_anew(self) -> None:
        """The weights of a fresh supernet from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            fresh = Supernet(self.space, self.supernet.skip)
        self.supernet.load_state_dict(fresh.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Round, pool and archive."""
        archive = [[str(arch), score] for arch, score in self.archive]
        return {"round": self.round, "pool": list(map(str, self.pool)), "archive": archive}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue in a round."""
        self.round = int(state["round"])
        self._take_pool([self._arch(text) for text in state["pool"]])
        self.archive = [(self._arch(text), float(score)) for text, score in state["archive"]]
