"""The sandwich rule of BigNAS (arXiv 2003.11142), and AttentiveNAS's choice of what lies between (arXiv 2011.09011)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import cost_table
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.nas.sampling import MacsSampler, UniformSampler
from scarlet_zoo.nas.strategies.base import CROSS_ENTROPY, Strategy, StrategyOptions
from scarlet_zoo.training.learner import LossTerm, StepBatch

DISTILLATION = "distillation"


@dataclass(frozen=True, kw_only=True)
class SandwichOptions(StrategyOptions):
    """What lies between the largest architecture and the smallest.

    Attributes:
        children: random architectures of a step.
        attentive: each child is uniform (``none``), or of some candidates of about the same multiply-adds the
            one with the lowest (``best``) or highest (``worst``) loss on the step's images.
        candidates: that an attentive child is chosen among.
        bins: of multiply-adds; candidates are of the same one.
    """

    children: NonNegativeInt = 2
    attentive: Literal["none", "best", "worst"] = "none"
    candidates: PositiveInt = 3
    bins: PositiveInt = 20


class Sandwich(Strategy):
    """A step runs the largest architecture, random ones, and the smallest; gradients are summed, one update.

    The largest learns from the labels; all others learn only what the largest says, by the divergence of their
    predictions from its detached ones, at temperature 1 and without labels (in-place distillation).

    The paper's (BigNAS): the sandwich rule and in-place distillation. The authors' code of AttentiveNAS has two
    random children and updates once. AttentiveNAS's: a random child is the best or the worst of k candidates
    (``BestUp``, ``WorstUp``) whose multiply-adds lie near a value drawn from their distribution in the space; k is 3
    and a bin is 25 million wide in its authors' code. Ours: 20 bins of equal width whatever the space; candidates
    run in train mode, so their running statistics follow the images, and are ranked by cross-entropy over all
    processes. There is no dropout here that the largest alone could have.

    In both papers the small architectures are slices of the largest one's weights. Our supernet shares no weights
    between the choices of a layer: the largest architecture has the choice with most multiply-adds everywhere,
    the smallest the one with fewest, which is the skip where there is one. They share the stem, the head, and
    whatever layers have one choice; what the others gain from the largest comes by distillation.
    """

    name = "sandwich"
    Options = SandwichOptions

    def __init__(self, space: SearchSpace, skip: str, options: Any, seed: int) -> None:
        super().__init__(space, skip, options, seed)
        table = cost_table(space)
        self.largest, self.smallest = table.largest, table.smallest

    @cached_property
    def _by_macs(self) -> MacsSampler:
        return MacsSampler(self.space, self.seed, self.options.bins)

    def candidates(self, step: int) -> tuple[tuple[Arch, ...], ...]:
        """For each random child of a step the architectures that it is chosen among."""
        count = self.options.children
        numbers = range(step * count, (step + 1) * count)
        if self.options.attentive == "none":
            uniform = UniformSampler(self.space, self.seed)
            return tuple((uniform.draw(number),) for number in numbers)
        return tuple(self._by_macs.draw(number, self.options.candidates) for number in numbers)

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """Cross-entropy of the largest, then the distillation of each other: :meth:`candidates`, the smallest last."""
        logits = model(batch.images, self.largest)
        teacher = logits.detach()
        yield LossTerm(CROSS_ENTROPY, self.criterion(logits, batch.targets), self.largest)
        for several in self.candidates(batch.step):
            child = yield from self._chosen(model, batch, several)
            yield LossTerm(DISTILLATION, distillation(model(batch.images, child), teacher), child)
        yield LossTerm(DISTILLATION, distillation(model(batch.images, self.smallest), teacher), self.smallest)

    def _chosen(self, model: nn.Module, batch: StepBatch, several: tuple[Arch, ...]) -> Generator[LossTerm, None, Arch]:
        """Run the candidates without learning from them; the one with the lowest or highest loss."""
        if len(several) == 1:
            return several[0]
        losses: list[float] = []
        for arch in several:
            with torch.no_grad():
                loss = self.criterion(model(batch.images, arch), batch.targets)
            losses.append(float(self.course.mean(loss)))
            yield LossTerm(CROSS_ENTROPY, None, arch)
        choose = min if self.options.attentive == "best" else max
        return several[choose(range(len(several)), key=losses.__getitem__)]


def distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """Mean divergence KL(teacher || student) of predictions, logits (N, classes) each, at temperature 1.

    Its gradient is that of the soft cross-entropy, whose value is larger by the teacher's entropy.
    """
    told, wanted = (values.float().log_softmax(1) for values in (logits, teacher))
    return functional.kl_div(told, wanted, reduction="batchmean", log_target=True)
