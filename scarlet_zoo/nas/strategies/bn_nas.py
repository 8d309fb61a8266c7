"""BN-NAS: only batch norm's scales and offsets are trained, and scales are the score (Chen et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from scarlet_zoo.arch.branches import OFF
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.models.supernet import Supernet
from scarlet_zoo.nas.one_shot import OneShot
from scarlet_zoo.nas.strategies.base import Score, Strategy, StrategyOptions

# For each decision, the score of each of its tokens.
GammaTable = tuple[dict[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class BnNasOptions(StrategyOptions):
    """What is trained, and on which space.

    Attributes:
        train: ``last``, the last batch norm of each candidate block, or ``all`` batch norms.
        skips: whether layers may be skipped; without, every architecture is as deep as the space.
    """

    train: Literal["last", "all"] = "last"
    skips: bool = True


class BnNas(Strategy):
    """One path a step, uniformly; scales and offsets learn, all else stays as it was initialised.

    Score of an architecture: the sum over its blocks of the mean absolute scale of the block's last batch norm.
    It needs neither images nor a forward pass, so the scorer reads a table.

    The paper's: training batch norm alone, and scales as the score. The authors' code trains the norm behind
    each block's last convolution only, less than "the batch norm parameters" of the abstract, and leaves even
    the classifier as initialised; it decays the trained scales, and clips gradients by value. Running statistics
    still follow the images there and here. Ours: no decay of scales as for every strategy here, and no clipping.

    A skip has no scale, and a stabilizer is none either: both score 0. Since every block scores at least 0, this
    score by itself never prefers a skip; beside an objective such as multiply-adds a skip is taken where it saves
    more. The authors' code fixes which layers are skipped, so that all architectures are equally deep. We
    take the space as it is given; ``skips=false`` takes the skips out of it. A branch that is off scores 0 likewise.
    """

    name = "bn-nas"
    Options = BnNasOptions
    metric = "score"

    def __init__(self, space: SearchSpace, skip: str, options: Any, seed: int) -> None:
        super().__init__(space, skip, options, seed)
        norms = self.supernet.modules() if options.train == "all" else _last_norms(self.supernet)
        self.supernet.requires_grad_(False)
        for norm in norms:
            if isinstance(norm, nn.BatchNorm2d):
                norm.requires_grad_(True)

    @classmethod
    def extended(cls, space: SearchSpace, options: Any) -> SearchSpace:
        """The space itself, or without its skips."""
        if options.skips:
            return space
        kept = (tuple(t for t in layer.tokens if not space.choice(t).is_skip) for layer in space.layers)
        layers = tuple(replace(layer, tokens=tokens) for layer, tokens in zip(space.layers, kept, strict=True))
        return replace(space, layers=layers)

    @classmethod
    def scorer(cls, bench: OneShot) -> Score:
        """The sum of an architecture's cells in :func:`gamma_table`, as ``score``; no image is opened."""
        table = gamma_table(bench.supernet)
        return lambda arch: {"score": sum(row[token] for row, token in zip(table, arch.decisions, strict=True))}


def gamma_table(supernet: Supernet) -> GammaTable:
    """The mean absolute scale of the last batch norm of each choice; 0 where there is none."""
    return tuple(
        {token: _mean_scale(last_norm(block)) for token, block in choices.items()} for choices in _choices(supernet)
    )


def last_norm(block: nn.Module) -> nn.BatchNorm2d | None:
    """The batch norm that a block ends with, behind its linear 1x1 convolution; None for a skip."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    return norms[-1] if norms else None


def _mean_scale(norm: nn.BatchNorm2d | None) -> float:
    return float(norm.weight.detach().double().abs().mean()) if norm is not None else 0.0


def _choices(supernet: Supernet) -> Iterator[dict[str, nn.Module]]:
    """For each decision, the module of each of its tokens.

    Raises:
        TrainingError: sets of paths, whose last norms belong to no token.
    """
    if supernet.space.most_paths > 1:
        raise TrainingError(f"strategy bn-nas: got {supernet.space.name}, wanted a space without sets of paths, "
                            "which share their last batch norms")  # fmt: skip
    for choices in supernet.layers:
        assert isinstance(choices, nn.ModuleDict)
        yield dict(choices.items())
    for tokens in supernet.space.decisions[len(supernet.layers) :]:
        yield {t: nn.Identity() if t == OFF else supernet.branches.get_submodule(t) for t in tokens}


def _last_norms(supernet: Supernet) -> list[nn.Module]:
    found = [last_norm(block) for choices in _choices(supernet) for block in choices.values()]
    return [norm for norm in found if norm is not None]
