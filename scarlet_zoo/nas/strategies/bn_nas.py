"""BN-NAS: train only the scales and offsets of batch norms and score by the scales (Chen et al., ICCV 2021)."""

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
    """Options of BN-NAS.

    Attributes:
        train: ``last`` trains the last batch norm of each candidate block, ``all`` trains all batch norms.
        skips: whether layers may be skipped; if not, every architecture has all layers of the space.
    """

    train: Literal["last", "all"] = "last"
    skips: bool = True


class BnNas(Strategy):
    """Trains one uniformly drawn path a step, and of it only the scales and offsets of batch norms.

    The score of an architecture is the sum over its blocks of the mean absolute scale of the block's last batch norm.
    It needs neither images nor a forward pass, so the scorer reads a table.

    From the paper: only batch norms are trained, and their scales are the score. From the authors' code: only the
    norm after each block's last convolution is trained, which is less than "the batch norm parameters" of the
    abstract; the classifier is not trained either. Their code also decays the trained scales and clips gradients by
    value. Running statistics are updated there and here. Ours: no decay of scales, as in every strategy here, and no
    clipping.

    A skip has no scale, with or without a stabilizer, so it scores 0. Every block scores at least 0, so this score
    alone never prefers a skip. With a second objective such as multiply-adds, a skip is chosen where it saves enough.
    The authors' code fixes which layers are skipped, so that all architectures are equally deep. We take the given
    space; ``skips=false`` removes the skips from it. A branch that is off also scores 0.
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
        """Return the space, without its skips if the options say so."""
        if options.skips:
            return space
        blocks = (tuple(t for t in layer.tokens if not space.choice(t).is_skip) for layer in space.layers)
        layers = tuple(replace(layer, tokens=tokens) for layer, tokens in zip(space.layers, blocks, strict=True))
        return replace(space, layers=layers)

    @classmethod
    def scorer(cls, bench: OneShot) -> Score:
        """Return the function that sums an architecture's entries of :func:`gamma_table` as ``score``."""
        table = gamma_table(bench.supernet)
        return lambda arch: {"score": sum(row[token] for row, token in zip(table, arch.decisions, strict=True))}


def gamma_table(supernet: Supernet) -> GammaTable:
    """Return for each decision the mean absolute scale of each token's last batch norm; 0 for a token without one.

    Raises:
        TrainingError: the space has sets of paths, which share their last batch norms.
    """
    return tuple(
        {token: _mean_scale(last_norm(block)) for token, block in choices.items()} for choices in _choices(supernet)
    )


def last_norm(block: nn.Module) -> nn.BatchNorm2d | None:
    """Return the last batch norm of a block, after its linear 1x1 convolution; None for a skip."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    return norms[-1] if norms else None


def _mean_scale(norm: nn.BatchNorm2d | None) -> float:
    return float(norm.weight.detach().double().abs().mean()) if norm is not None else 0.0


def _choices(supernet: Supernet) -> Iterator[dict[str, nn.Module]]:
    """For each decision, the module of each of its tokens.

    Raises:
        TrainingError: the space has sets of paths, whose last norms do not belong to one token.
    """
    if supernet.entangled:
        raise TrainingError("strategy bn-nas: got an entangled supernet, whose choices share their last batch norms")
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
