"""Blocks side by side: several MBConv on one input, their outputs summed, one batch norm behind the sum.

MixPath (arXiv 2001.05887) sums the outputs of the active paths and gives the sum to a shadow batch norm (SBN) that is
chosen by how many they are: paths give nearly parallel features, so the mean of a sum of k grows like k and its
variance like k^2, whichever the paths, and m norms stand for the 2^n - 1 sets. The authors' code has it behind a
projection that the paths share. Ours share none, so where the SBN goes is our decision: the last norm of each block
(``bn3``) is left out and the layer's SBN stands in its place behind the sum, then the shortcut is added, once, where
there is one. A single path is the plain block, with SBN_1 as its last norm.
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
        first: the block of the set's first member, as timm builds it; it gives norm, shortcut and drop path.
        plan: the layer.
        activation: inside the blocks, by timm's name.
        factory: device and dtype.

    Attributes:
        paths: the blocks by token, without last norm and shortcut.
        bn3: the norm of the sum.
        has_skip: whether the input is added.
    """

    def __init__(self, first: Any, plan: LayerPlan, activation: str, **factory: Any) -> None:
        super().__init__()
        self.has_skip = bool(first.has_skip)
        self.bn3, self.drop_path = first.bn3, first.drop_path
        others = [_block(choice, plan, activation, **factory) for choice in plan.choice.beside]
        named = zip(members_of(plan.token), [first, *others], strict=True)
        self.paths = nn.ModuleDict({token: bare_path(block) for token, block in named})

    def feature_info(self, location: str) -> dict[str, Any]:
        """As timm's blocks; there is a bottleneck only."""
        assert location == "bottleneck"
        return {"module": "", "num_chs": self.bn3.num_features}

    def forward(self, x: Tensor) -> Tensor:
        """The normalised sum, and the input where there is a shortcut."""
        made: Tensor = self.bn3(summed(self.paths, self.paths, x))
        return self.drop_path(made) + x if self.has_skip else made


class PathSets(nn.Module):
    """A layer of a supernet whose tokens are sets of paths.

    Args:
        choices: a module for each token that is no set, as a plain network has it.
        most: paths at once, which is the number of shadow batch norms.

    Attributes:
        paths: the blocks by token, without last norm and shortcut, whatever set they are in.
        norms: SBN_1 to SBN_m.
        skips: what stands for the skip, by its token; empty where there is none.
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
        """What the paths of a token give together, through the norm of their number."""
        if token in self.skips:
            skipped: Tensor = self.skips[token](x)
            return skipped
        members = members_of(token)
        made: Tensor = self.norms[len(members) - 1](summed(self.paths, members, x))
        return made + x if self.has_skip else made

    def names_in(self, block: str, token: str) -> dict[str, str]:
        """Names of the modules of a token: here, and in a plain network where the token's is called ``block``."""
        if token in self.skips:
            return {f"skips.{token}": block}
        members = members_of(token)
        single = len(members) == 1
        inside = {f"paths.{member}": block if single else f"{block}.paths.{member}" for member in members}
        return {**inside, f"norms.{len(members) - 1}": f"{block}.bn3"}


def summed(paths: nn.ModuleDict, members: Iterable[str], x: Tensor) -> Tensor:
    """The sum of some paths' outputs, in the order of the set's token."""
    first, *others = members
    y: Tensor = paths[first](x)
    for token in others:
        y = y + paths[token](x)
    return y


def bare_path(block: Any) -> nn.Module:
    """A block without its last norm and its shortcut; the block itself is changed."""
    block.bn3, block.drop_path, block.has_skip = nn.Identity(), nn.Identity(), False
    bare: nn.Module = block
    return bare


def _block(choice: Choice, plan: LayerPlan, activation: str, **factory: Any) -> nn.Module:
    block = timm_blocks.InvertedResidual(**mbconv_arguments(plan, choice, activation), **factory)
    efficientnet_init_weights(block)
    return block
