"""Networks with branches: a chain whose feature maps are also added, through further blocks, to later feature maps.

ST-NAS (arXiv 2005.10511) describes such branches. We do not know which block its authors use for a branch and how they
merge its output; one MBConv without shortcut and a sum are our choice.
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
    """Add a block's output for an earlier feature map to a feature map.

    Shape:
        (N, C, H, W) and (N, C', H', W') to (N, C, H, W).

    Args:
        plan: the branch's channels, stride and block.
        activation: activation inside the block, by timm's name.
        factory: torch ``device`` and ``dtype``.
    """

    def __init__(self, plan: BranchPlan, activation: str, **factory: Any) -> None:
        super().__init__(**mbconv_arguments(plan, plan.choice, activation), **factory)
        # timm's padding grows with the stride, which gives one pixel too many at stride 4. With k // 2 the output has
        # ceil(side / stride) pixels, as behind the layers of the chain that the branch spans.
        side = plan.choice.kernel_size // 2
        self.conv_dw.padding = (side, side)
        efficientnet_init_weights(self)

    def forward(self, x: Tensor, earlier: Tensor) -> Tensor:  # type: ignore[override]
        """Return the feature map ``x`` plus the block's output for the earlier one."""
        y: Tensor = x + super().forward(earlier)  # type: ignore[no-untyped-call]
        return y


def make_branches(plans: Iterable[BranchPlan], activation: str, **factory: Any) -> nn.ModuleDict:
    """Build the modules of some branches; the module of edge ``0.2`` is the submodule ``0.2`` of the result."""
    branches = nn.ModuleDict()
    for plan in plans:
        if str(plan.source) not in branches:
            branches[str(plan.source)] = nn.ModuleDict()
        leaving = branches[str(plan.source)]
        assert isinstance(leaving, nn.ModuleDict)
        leaving[str(plan.target)] = Branch(plan, activation, **factory)
    return branches


class FeatureMaps:
    """The feature maps of one forward pass that branches read.

    Args:
        branches: the branches' modules, from :func:`make_branches`; further ones are ignored.
        edges: the branches that are on.
    """

    def __init__(self, branches: nn.ModuleDict, edges: Iterable[Edge]) -> None:
        self._branches, self._edges = branches, tuple(edges)
        self._read = {source for source, _ in self._edges}
        self._held: dict[int, Tensor] = {}

    def at(self, node: int, x: Tensor) -> Tensor:
        """Return feature map ``node``: the chain's output ``x`` plus the outputs of the branches that lead to it."""
        for source, target in self._edges:
            if target == node:
                x = self._branches.get_submodule(edge_name((source, target)))(x, self._held[source])
        if node in self._read:
            self._held[node] = x
        return x


def nodes_after(arch: Arch, stabilized: bool) -> list[list[tuple[int, ...]]]:
    """Return, for each module of each stage of the plain network, the feature maps that are complete after it.

    The first stage is the block before feature map 0. A skipped layer without a stabilizer has no module, so its
    feature map is complete after the module before it.
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
    """The branches of a network, and its forward pass through them; the base of classifier and feature extractor.

    Attributes:
        branches: a module for each branch that is on.
        nodes: the result of :func:`nodes_after` for the architecture.
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
        """The branches of this network: all that are on, except those that lead to stages that were cut off."""
        reached = {node for stage in self.nodes[: len(self.blocks)] for nodes in stage for node in nodes}
        return tuple(edge for edge in self.arch.branches if edge[1] in reached)

    def _stage_outputs(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the stem's output, then each stage's output with its branches added."""
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
        """Refuse gradient checkpointing: timm checkpoints whole stages, without the branches between them.

        Raises:
            ScarletError: ``enable`` is true.
        """
        if enable:
            raise ScarletError(
                f"{self.arch}: got branches, wanted a network without branches for gradient checkpointing"
            )


class BranchedNet(_WithBranches, ScarletNet):
    """A SCARLET network with branches: images (N, C, H, W) to logits (N, classes), as :class:`ScarletNet`."""

    def __init__(self, arch: Arch, stabilized: bool = False, **kwargs: Any) -> None:
        ScarletNet.__init__(self, arch, stabilized, **kwargs)
        self._add_branches(stabilized, kwargs)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the output of the last convolution and its batch norm (N, C, H, W)."""
        *_, x = self._stage_outputs(x)
        y: Tensor = self.bn2(self.conv_head(x))
        return y

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,  # noqa: ARG002 - timm's EfficientNet ignores it too
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        extra_blocks: bool = False,
    ) -> Any:
        """Return feature levels, and the last output unless ``intermediates_only``; arguments are those of timm."""
        assert output_fmt == "NCHW", "Output shape must be NCHW."
        ends = list(range(len(self.blocks) + 1)) if extra_blocks else self.stage_ends
        taken, last = feature_take_indices(len(ends), indices)
        wanted, found = {ends[index] for index in taken}, []
        for number, y in enumerate(self._stage_outputs(x)):
            if number in wanted:
                found.append(y)
            if stop_early and number == ends[last]:
                break
        if intermediates_only:
            return found
        return (self.bn2(self.conv_head(y)) if number == self.stage_ends[-1] else y), found

    def prune_intermediate_layers(self, *args: Any, **kwargs: Any) -> Any:
        """Remove layers as timm does, and the branches that lead to removed stages."""
        taken = super().prune_intermediate_layers(*args, **kwargs)
        left = [plan for plan in self.arch.branch_plans if (plan.source, plan.target) not in self.edges]
        for plan in left:
            leaving = self.branches[str(plan.source)]
            assert isinstance(leaving, nn.ModuleDict)
            del leaving[str(plan.target)]
        return taken

    def as_sequential(self) -> nn.Sequential:
        """Refuse the conversion to one sequence of layers, which cannot hold branches.

        Raises:
            ScarletError: always.
        """
        raise ScarletError(f"{self.arch}: got branches, wanted a network without branches for one sequence of layers")


class BranchedFeatures(_WithBranches, ScarletFeatures):
    """The feature pyramid of a network with branches: images (N, C, H, W) to a list of maps, one for each level."""

    def __init__(self, arch: Arch, stabilized: bool = False, **kwargs: Any) -> None:
        if kwargs.get("feature_location", "bottleneck") != "bottleneck":
            raise ScarletError(f"{arch}: got branches, wanted a network without branches for features inside blocks")
        ScarletFeatures.__init__(self, arch, stabilized, **kwargs)
        self._add_branches(stabilized, kwargs)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps of the requested levels."""
        return [y for number, y in enumerate(self._stage_outputs(x)) if number in self._stage_out_idx]
