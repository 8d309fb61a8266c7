"""The sandwich rule of BigNAS (arXiv 2003.11142), with AttentiveNAS's attentive sampling (arXiv 2011.09011)."""

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
    """Options of the sandwich rule.

    Attributes:
        children: number of random architectures of a step, besides the largest and the smallest.
        attentive: ``none`` draws each child uniformly; ``best`` or ``worst`` draws candidates with about the same
            number of multiply-adds and takes the one with the lowest or highest loss on the step's images.
        candidates: number of candidates for an attentive child.
        bins: number of bins of multiply-adds; the candidates of a child are from one bin.
    """

    children: NonNegativeInt = 2
    attentive: Literal["none", "best", "worst"] = "none"
    candidates: PositiveInt = 3
    bins: PositiveInt = 20


class Sandwich(Strategy):
    """Trains the largest architecture, random ones and the smallest in each step, with one update of the weights.

    The largest learns from the labels. All others learn only from the largest, by the divergence of their predictions
    from its detached ones, at temperature 1 and without labels (in-place distillation).

    From BigNAS: the sandwich rule and in-place distillation. From AttentiveNAS: a random child is the best or the
    worst of k candidates (``BestUp``, ``WorstUp``) whose multiply-adds are near a value drawn from their distribution
    in the space. From the authors' code of AttentiveNAS: two random children and one update; there k is 3 and a bin
    is 25 million multiply-adds wide. Ours: 20 bins of equal width for every space; candidates run in train mode,
    which updates their running statistics, and are ranked by cross-entropy over all processes. We use no dropout,
    which BigNAS uses for the largest only.

    In both papers the weights of small architectures are slices of the largest one's weights. In our supernet the
    choices of a layer share no weights. The largest architecture has the choice with the most multiply-adds in every
    layer, the smallest the one with the fewest, which is the skip if there is one. They share the stem, the head and
    all layers with a single choice. In everything else the small ones learn from the largest by distillation only.
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
        """Return for each random child of a step the architectures from which it is chosen."""
        count = self.options.children
        numbers = range(step * count, (step + 1) * count)
        if self.options.attentive == "none":
            uniform = UniformSampler(self.space, self.seed)
            return tuple((uniform.draw(number),) for number in numbers)
        return tuple(self._by_macs.draw(number, self.options.candidates) for number in numbers)

    @property
    def summed(self) -> int:
        """One cross-entropy: the largest network's; the others learn from its answers."""
        return 1

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """Yield the cross-entropy of the largest, then the distillation loss of each child and of the smallest."""
        logits = model(batch.images, self.largest)
        teacher = logits.detach()
        yield LossTerm(CROSS_ENTROPY, self.criterion(logits, batch.targets), self.largest)
        for several in self.candidates(batch.step):
            child = yield from self._chosen(model, batch, several)
            yield LossTerm(DISTILLATION, distillation(model(batch.images, child), teacher), child)
        yield LossTerm(DISTILLATION, distillation(model(batch.images, self.smallest), teacher), self.smallest)

    def _chosen(self, model: nn.Module, batch: StepBatch, several: tuple[Arch, ...]) -> Generator[LossTerm, None, Arch]:
        """Run the candidates without gradient; return the one with the lowest or highest loss."""
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
    """Return the mean divergence KL(teacher || student) of predictions at temperature 1.

    Its gradient equals that of the cross-entropy with soft targets, which is larger by the teacher's entropy.

    Args:
        logits: of the student, (N, classes).
        teacher: logits of the teacher, (N, classes).
    """
    student_logs, teacher_logs = (values.float().log_softmax(1) for values in (logits, teacher))
    return functional.kl_div(student_logs, teacher_logs, reduction="batchmean", log_target=True)
