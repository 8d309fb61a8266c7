"""Parallel blocks: several MBConv on one input, their outputs summed, and one batch norm after the sum.

MixPath (arXiv 2001.05887) sums the outputs of the active paths and applies a shadow batch norm (SBN) that depends only
on their number: the features of paths are nearly parallel, so the mean of a sum of k grows like k and its variance like
k^2, whichever the paths are, and m norms suffice for the 2^n - 1 sets. In the authors' code all paths of a layer have
one expansion, which has m norms of its own, and the SBN follows a projection that the paths share. Our sets may hold
blocks of several expansions, so there is one norm for each combination of expansions that a set can have: ``e3``,
``e3+e3``, ``e3+e6`` and so on. Our paths share no projection, so the position of the SBN is our decision too: the last
norm of each block (``bn3``) is left out, the layer's SBN follows the sum, and the shortcut, if there is one, is added
once after it. A single path is the plain block, with the SBN of its expansion as its last norm.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from timm.models import _efficientnet_blocks as timm_blocks
from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn

from scarlet_zoo.arch.architecture import LayerPlan
from scarlet_zoo.arch.choices import JOIN, Choice, members_of
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
        expansions: the expansion ratio of each token that is no skip.
        most: largest number of parallel paths.

    Attributes:
        paths: the blocks by token, without last norm and shortcut; all sets share them.
        norms: the shadow batch norms by :meth:`norm_of`.
        skips: the skip's module, by its token; empty if the layer cannot be skipped.
        has_skip: whether the blocks have a shortcut.
    """

    def __init__(self, choices: Mapping[str, nn.Module], expansions: Mapping[str, int], most: int) -> None:
        super().__init__()
        self._expansions = expansions
        blocks: dict[str, Any] = {t: m for t, m in choices.items() if isinstance(m, timm_blocks.InvertedResidual)}
        first = next(iter(blocks.values()))
        self.has_skip = bool(first.has_skip)
        sets = (members for count in range(1, most + 1) for members in combinations(blocks, count))
        self.norms = nn.ModuleDict({name: copy.deepcopy(first.bn3) for name in dict.fromkeys(map(self.norm_of, sets))})
        self.paths = nn.ModuleDict({token: bare_path(block) for token, block in blocks.items()})
        self.skips = nn.ModuleDict({token: module for token, module in choices.items() if token not in blocks})

    def forward(self, x: Tensor, token: str) -> Tensor:
        """Return the output of a token's paths: their sum through the batch norm of their number and expansions."""
        if token in self.skips:
            skipped: Tensor = self.skips[token](x)
            return skipped
        members = members_of(token)
        y: Tensor = self.norms[self.norm_of(members)](summed(self.paths, members, x))
        return y + x if self.has_skip else y

    def norm_of(self, members: Iterable[str]) -> str:
        """Return the name of the norm of a set: the expansions of its blocks in increasing order, such as ``e3+e6``."""
        return JOIN.join(f"e{ratio}" for ratio in sorted(self._expansions[member] for member in members))

    def names_in(self, block: str, token: str) -> dict[str, str]:
        """Map the names of a token's modules here to those in a plain network, where its block is named ``block``."""
        if token in self.skips:
            return {f"skips.{token}": block}
        members = members_of(token)
        single = len(members) == 1
        inside = {f"paths.{member}": block if single else f"{block}.paths.{member}" for member in members}
        return {**inside, f"norms.{self.norm_of(members)}": f"{block}.bn3"}


def with_norms_of_expansions(state: Mapping[str, Tensor], layers: Iterable[nn.Module]) -> dict[str, Tensor]:
    """Return a supernet's tensors with a norm for each combination of expansions, which files before 0.2 lack.

    They have one for each number of paths, which all combinations of that number then share: the supernet computes
    what it did.

    Args:
        state: the tensors by their names in the supernet.
        layers: the layers of the supernet.
    """
    named = dict(enumerate(layers))
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        former = re.fullmatch(r"layers\.(\d+)\.norms\.(\d+)\.(\w+)", key)
        layer = named.get(int(former[1])) if former else None
        if former is None or not isinstance(layer, PathSets):
            found[key] = value
            continue
        names = [name for name in layer.norms if name.count(JOIN) == int(former[2])]
        found |= {f"layers.{former[1]}.norms.{name}.{former[3]}": value for name in names}
    return found


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
