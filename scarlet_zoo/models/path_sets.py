"""Parallel blocks: several MBConv on one input, their outputs summed, and one batch norm after the sum.

MixPath (arXiv 2001.05887) sums the outputs of the active paths and applies a shadow batch norm (SBN) that depends only
on their number: the features of paths are nearly parallel, so the mean of a sum of k grows like k and its variance like
k^2, whichever the paths are, and m norms suffice for the 2^n - 1 sets. In the authors' code the SBN follows a
projection that the paths share. Our paths share no projection, so the position of the SBN is our decision: the last
norm of each block (``bn3``) is left out, the layer's SBN follows the sum, and the shortcut, if there is one, is added
once after it. A single path is the plain block, with SBN_1 as its last norm.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from timm.models import _efficientnet_blocks as timm_blocks
from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn

from scarlet_zoo.arch.architecture import LayerPlan
from scarlet_zoo.arch.choices import Choice, members_of
from scarlet_zoo.models.blocks import mbconv_arguments


class ParallelBlock(nn.Module):
    """A set of paths in a plain network: (N, C, H, W) to (N, C', H', W').

    Args:
        first: timm's block for the set's first member; its norm, shortcut and drop path become those of the set.
        plan: the layer's plan.
        activation: activation inside the blocks, by timm's name.
        factory: torch ``device`` and ``dtype``.

    Attributes:
        paths: the blocks by token, without last norm and shortcut.
        bn3: the batch norm after the sum.
        has_skip: whether the input is added to the output.
    """

    def __init__(self, first: Any, plan: LayerPlan, activation: str, **factory: Any) -> None:
        super().__init__()
        self.has_skip = bool(first.has_skip)
        self.bn3, self.drop_path = first.bn3, first.drop_path
        others = [_block(choice, plan, activation, **factory) for choice in plan.choice.beside]
        named = zip(members_of(plan.token), [first, *others], strict=True)
        self.paths = nn.ModuleDict({token: bare_path(block) for token, block in named})

    def feature_info(self, location: str) -> dict[str, Any]:
        """Describe the block's output as timm's blocks do; only ``bottleneck`` is supported."""
        assert location == "bottleneck"
        return {"module": "", "num_chs": self.bn3.num_features}

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised sum of the paths, plus the input if there is a shortcut."""
        y: Tensor = self.bn3(summed(self.paths, self.paths, x))
        return self.drop_path(y) + x if self.has_skip else y


class PathSets(nn.Module):
    """A layer of a supernet whose tokens are sets of paths.

    Args:
        choices: the plain network's module for each token that is not a set.
        most: largest number of parallel paths, and number of shadow batch norms.

    Attributes:
        paths: the blocks by token, without last norm and shortcut; all sets share them.
        norms: SBN_1 to SBN_m.
        skips: the skip's module, by its token; empty if the layer cannot be skipped.
        has_skip: whether the blocks have a shortcut.
    """

    def __init__(self, choices: Mapping[str, nn.Module], most: int) -> None:
        super().__init__()
        blocks: dict[str, Any] = {t: m for t, m in choices.items() if isinstance(m, timm_blocks.InvertedResidual)}
        first = next(iter(blocks.values()))
        self.has_skip = bool(first.has_skip)
        self.norms = nn.ModuleList(copy.deepcopy(first.bn3) for _ in range(most))
        self.paths = nn.ModuleDict({token: bare_path(block) for token, block in blocks.items()})
        self.skips = nn.ModuleDict({token: module for token, module in choices.items() if token not in blocks})

    def forward(self, x: Tensor, token: str) -> Tensor:
        """Return the output of a token's paths: their sum through the batch norm for their number."""
        if token in self.skips:
            skipped: Tensor = self.skips[token](x)
            return skipped
        members = members_of(token)
        y: Tensor = self.norms[len(members) - 1](summed(self.paths, members, x))
        return y + x if self.has_skip else y

    def names_in(self, block: str, token: str) -> dict[str, str]:
        """Map the names of a token's modules here to those in a plain network, where its block is named ``block``."""
        if token in self.skips:
            return {f"skips.{token}": block}
        members = members_of(token)
        single = len(members) == 1
        inside = {f"paths.{member}": block if single else f"{block}.paths.{member}" for member in members}
        return {**inside, f"norms.{len(members) - 1}": f"{block}.bn3"}


def summed(paths: nn.ModuleDict, members: Iterable[str], x: Tensor) -> Tensor:
    """Return the sum of the members' outputs, added in the order of the set's token."""
    first, *others = members
    y: Tensor = paths[first](x)
    for token in others:
        y = y + paths[token](x)
    return y


def bare_path(block: Any) -> nn.Module:
    """Remove a block's last batch norm and shortcut, in place, and return the block."""
    block.bn3, block.drop_path, block.has_skip = nn.Identity(), nn.Identity(), False
    bare: nn.Module = block
    return bare


def _block(choice: Choice, plan: LayerPlan, activation: str, **factory: Any) -> nn.Module:
    block = timm_blocks.InvertedResidual(**mbconv_arguments(plan, choice, activation), **factory)
    efficientnet_init_weights(block)
    return block
