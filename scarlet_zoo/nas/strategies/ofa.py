"""Entangled supernets, whose networks need no training of their own: once-for-all and BigNAS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.models.entangled import EntangledBlocks
from scarlet_zoo.nas.strategies.base import CROSS_ENTROPY, Share
from scarlet_zoo.nas.strategies.sandwich import Sandwich, SandwichOptions
from scarlet_zoo.training.learner import LossTerm, StepBatch


@dataclass(frozen=True, kw_only=True)
class OfaOptions(SandwichOptions):
    """Options of an entangled supernet, besides those of the sandwich rule.

    Attributes:
        largest_first: share of the steps, at the beginning, in which only the largest architecture is trained.
    """

    largest_first: Share = 0.0


class Ofa(Sandwich):
    """Trains the slices of one network by the sandwich rule: largest, smallest and random ones in each step.

    From once-for-all (Cai et al., arXiv 1908.09791): the weights of a smaller choice are a part of those of the largest
    (section 3.3), the smaller architectures learn from the largest by distillation, and every network is used with the
    supernet's weights after its batch norm statistics have been computed. From BigNAS (Yu et al., arXiv 2003.11142):
    all sizes are trained at once by the sandwich rule with in-place distillation, where once-for-all first trains the
    largest and then adds smaller kernels, depths and widths in phases (``largest_first`` is the first of them), and
    has a matrix between kernel sizes, which is left out here. In both papers a network is made shallower by leaving
    out the last blocks of a stage; in our spaces any skip of a layer is, as in SCARLET's, and shares no weights with
    the layer's blocks.
    """

    name = "ofa"
    Options = OfaOptions
    entangled = True

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """Yield the cross-entropy of the largest, then, unless it is trained alone, the distillation losses."""
        if batch.step < round(self.options.largest_first * self.course.steps):
            logits = model(batch.images, self.largest)
            yield LossTerm(CROSS_ENTROPY, self.criterion(logits, batch.targets), self.largest)
        else:
            yield from super().terms(model, batch)


@dataclass(frozen=True, kw_only=True)
class BigNasOptions(OfaOptions):
    """Options of BigNAS' rules for training in a single stage.

    Attributes:
        zero_gamma: whether the last batch norm of a block with a shortcut begins with scales of 0.
        decayed_at: share of the steps after which the learning rate has fallen to ``floor``.
        floor: share of the peak learning rate that it ends at.
    """

    zero_gamma: bool = True
    decayed_at: Annotated[float, Field(gt=0, le=1)] = 0.75
    floor: Annotated[float, Field(gt=0, le=1)] = 0.05


class BigNas(Ofa):
    """Trains as :class:`Ofa`, with the initialisation and the learning rate of BigNAS.

    From the paper (section 3.2), as recalled: the last batch norm of a residual block begins with scales of 0, and the
    learning rate falls exponentially and is constant from 5 % of its peak on. When it gets there is our choice. Weight
    decay and dropout are for the largest architecture only there. Here the gradients of a step are summed before one
    update, so weight decay counts once a step whatever its paths are, and there is no dropout.
    """

    name = "bignas"
    Options = BigNasOptions

    def __init__(self, space: SearchSpace, skip: str, options: Any, seed: int) -> None:
        super().__init__(space, skip, options, seed)
        if options.zero_gamma:
            blocks = [layer.whole for layer in self.supernet.layers if isinstance(layer, EntangledBlocks)]
            for block in (block for block in blocks if block.has_skip):
                nn.init.zeros_(block.bn3.weight)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step: a linear rise, an exponential fall, and a constant end."""
        settings, steps = self.course.settings, self.course.steps
        warmup = round(settings.warmup * steps)
        if step < warmup:
            return settings.lr * (step + 1) / warmup
        fallen = (step - warmup) / max(self.options.decayed_at * steps - warmup, 1)
        rate: float = settings.lr * self.options.floor ** min(fallen, 1.0)
        return rate
