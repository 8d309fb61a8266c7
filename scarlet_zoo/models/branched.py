"""Networks with branches: a chain in which feature maps also go, through a block of their own, to later ones.

ST-NAS (arXiv 2005.10511) draws such branches; a branch's output is added to the feature map that it leads to. What its
authors put on a branch and how they merge is not known to us: one MBConv without shortcut, and a sum, are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from timm.models import _efficientnet_blocks as timm_blocks
from timm.models._efficientnet_builder import efficientnet_init_weights
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from scarlet_zoo.arch.architecture import Arch, BranchPlan
from scarlet_zoo.arch.branches import Edge, edge_name
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.models.blocks import mbconv_arguments
from scarlet_zoo.models.scarlet_net import ScarletFeatures, ScarletNet


class Branch(timm_blocks.InvertedResidual):
    """A feature map plus what a block makes of an earlier one: (N, C, H, W) and (N, C', H', W') to (N, C, H, W).

    Args:
        plan: channels, stride and block.
        activation: inside the block, by timm's name.
        factory: device and dtype.
    """

    def __init__(self, plan: BranchPlan, activation: str, **factory: Any) -> None:
        super().__init__(**mbconv_arguments(plan, plan.choice, activation), **factory)
        # timm pads by stride as well, one pixel too many at stride 4; with k // 2 it is ceil(side / stride), as
        # it is for the layers of the chain together.
        side = plan.choice.kernel_size // 2
        self.conv_dw.padding = (side, side)
        efficientnet_init_weights(self)

    def forward(self, x: Tensor, earlier: Tensor) -> Tensor:  # type: ignore[override]
        """The feature map ``x`` and this block's view of the earlier one, added."""
        made: Tensor = x + super().forward(earlier)  # type: ignore[no-untyped-call]
        return made


def make_branches(plans: Iterable[BranchPlan], activation: str, **factory: Any) -> nn.ModuleDict:
    """The modules of some branches, by source and target: that of edge ``0.2`` is the submodule of this name."""
    branches = nn.ModuleDict()
    for plan in plans:
        if str(plan.source) not in branches:
            branches[str(plan.source)] = nn.ModuleDict()
        leaving = branches[str(plan.source)]
        assert isinstance(leaving, nn.ModuleDict)
        leaving[str(plan.target)] = Branch(plan, activation, **factory)
    return branches


class FeatureMaps:
    """The feature maps of one forward pass, as far as branches that are on read them.

    Args:
        branches: modules of at least these edges.
        edges: that are on.
    """

    def __init__(self, branches: nn.ModuleDict, edges: Iterable[Edge]) -> None:
        self._branches, self._edges = branches, tuple(edges)
        self._read = {source for source, _ in self._edges}
        self._held: dict[int, Tensor] = {}

    def at(self, node: int, x: Tensor) -> Tensor:
        """Feature map ``node``: what the chain gives there, plus the branches that lead to it."""
        for source, target in self._edges:
            if target == node:
                x = self._branches.get_submodule(edge_name((source, target)))(x, self._held[source])
        if node in self._read:
            self._held[node] = x
        return x


def nodes_after(arch: Arch, stabilized: bool) -> list[list[tuple[int, ...]]]:
    """For each module of each stage of the plain network the feature maps that are complete behind it.

    The first stage is the block before feature map 0. A skipped layer without a stabilizer has no module, so the
    feature map behind it follows the module before.
    """
    stages: list[list[tuple[int, ...]]] = [[(0,)]]
    for plan in arch.layers:
        if plan.stage == len(stages) - 1:
            stages.append([])
        node = plan.index + 1
        if plan.choice.is_skip and not stabilized:
            stages[-1][-1] += (node,)
        else:
            stages[-1].append((node,))
    return stages


class _WithBranches(nn.Module):
    """What both kinds of network have: the branches, and the backbone's walk past them.

    Attributes:
        branches: a module for each branch that is on.
        nodes: :func:`nodes_after` of the architecture.
    """

    blocks: nn.Sequential
    branches: nn.ModuleDict
    conv_stem: nn.Module
    bn1: nn.Module
    arch: Arch

    def _add_branches(self, stabilized: bool, kwargs: dict[str, Any]) -> None:
        factory = {key: kwargs[key] for key in ("device", "dtype") if key in kwargs}
        self.branches = make_branches(self.arch.branch_plans, self.arch.space.activation, **factory)
        self.nodes = nodes_after(self.arch, stabilized)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The branches that are there: all that are on, unless stages were cut off."""
        reached = {node for stage in self.nodes[: len(self.blocks)] for nodes in stage for node in nodes}
        return tuple(edge for edge in self.arch.branches if edge[1] in reached)

    def _stage_outputs(self, images: Tensor) -> Iterator[Tensor]:
        """What the stem gives, then what each stage gives, branches added."""
        x = self.bn1(self.conv_stem(images))
        yield x
        maps = FeatureMaps(self.branches, self.edges)
        for stage, places in zip(self.blocks, self.nodes, strict=False):
            assert isinstance(stage, nn.Sequential)
            for module, nodes in zip(stage, places, strict=True):
                x = module(x)
                for node in nodes:
                    x = maps.at(node, x)
            yield x

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Not with branches: timm checkpoints whole stages, which know nothing of them.

        Raises:
            ScarletError: when it is to be enabled.
        """
        if enable:
            raise ScarletError(f"{self.arch}: gradient checkpointing, wanted a network without branches for that")


class BranchedNet(_WithBranches, ScarletNet):
    """A SCARLET network with branches: images (N, C, H, W) to logits (N, classes); see :class:`ScarletNet`."""

    def __init__(self, arch: Arch, stabilized: bool = False, **kwargs: Any) -> None:
        ScarletNet.__init__(self, arch, stabilized, **kwargs)
        self._add_branches(stabilized, kwargs)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last convolution's output (N, C, H, W)."""
        *_, x = self._stage_outputs(x)
        made: Tensor = self.bn2(self.conv_head(x))
        return made

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,  # noqa: ARG002 - timm's networks of this kind do not look at it either
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        extra_blocks: bool = False,
    ) -> Any:
        """As timm's: feature levels, and the last output unless ``intermediates_only``."""
        assert output_fmt == "NCHW", "Output shape must be NCHW."
        ends = list(range(len(self.blocks) + 1)) if extra_blocks else self.stage_ends
        taken, last = feature_take_indices(len(ends), indices)
        wanted, found = {ends[index] for index in taken}, []
        for number, made in enumerate(self._stage_outputs(x)):
            if number in wanted:
                found.append(made)
            if stop_early and number == ends[last]:
                break
        if intermediates_only:
            return found
        return (self.bn2(self.conv_head(made)) if number == self.stage_ends[-1] else made), found

    def prune_intermediate_layers(self, *args: Any, **kwargs: Any) -> Any:
        """As timm's; branches that lead to stages that are cut off go with them."""
        taken = super().prune_intermediate_layers(*args, **kwargs)
        left = [plan for plan in self.arch.branch_plans if (plan.source, plan.target) not in self.edges]
        for plan in left:
            leaving = self.branches[str(plan.source)]
            assert isinstance(leaving, nn.ModuleDict)
            del leaving[str(plan.target)]
        return taken

    def as_sequential(self) -> nn.Sequential:
        """Not with branches.

        Raises:
            ScarletError: always.
        """
        raise ScarletError(f"{self.arch}: as one sequence of layers, wanted a network without branches for that")


class BranchedFeatures(_WithBranches, ScarletFeatures):
    """The feature pyramid of a network with branches: images (N, C, H, W) to a list of maps, one a level."""

    def __init__(self, arch: Arch, stabilized: bool = False, **kwargs: Any) -> None:
        if kwargs.get("feature_location", "bottleneck") != "bottleneck":
            raise ScarletError(f"{arch}: features inside blocks, wanted a network without branches for that")
        ScarletFeatures.__init__(self, arch, stabilized, **kwargs)
        self._add_branches(stabilized, kwargs)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The levels that were asked for."""
        return [made for number, made in enumerate(self._stage_outputs(x)) if number in self._stage_out_idx]
