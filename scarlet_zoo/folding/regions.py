"""Find the convolutions that write and read the residual stream around each stabilizer.

A *region* is the set of tensors that share one basis. A block with a shortcut adds its output to
its input, so both are in one region. A block without a shortcut starts a new region, and so does a
stabilizer. Replacing every tensor x of a region by T x (T invertible) does not change the network's
function if each convolution that writes into the region becomes T W and each that reads from it
becomes R T^-1.

A branch (:mod:`scarlet_zoo.models.branched`) reads the region of the feature map where it begins, and
writes the region of the feature map to which it is added. Activations stand between its two ends, so
the bases of the two regions are independent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from timm.models import EfficientNet, EfficientNetFeatures
from timm.models import _efficientnet_blocks as timm_blocks
from timm.models._features import FeatureGetterNet
from torch import nn

from scarlet_zoo.arch.branches import edge_name
from scarlet_zoo.models.blocks import Stabilizer
from scarlet_zoo.models.branched import Branch
from scarlet_zoo.models.path_sets import ParallelBlock


@dataclass
class Region:
    """Tensors that share one basis.

    Attributes:
        writers, readers: names of the convolutions that write and read the tensors.
        pinned: why the basis must not change; empty where it may change.
    """

    writers: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    pinned: str = ""


@dataclass
class Chain:
    """Consecutive regions with a stabilizer between each two: ``len(regions) == len(sites) + 1``."""

    regions: list[Region]
    sites: list[str]


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of the backbone: its first and last layers, and whether it has a shortcut.

    A block of parallel paths has one first and one last layer for each path. ``activated`` says that an
    activation follows the last layers inside the block.
    """

    readers: tuple[str, ...]
    writers: tuple[str, ...]
    residual: bool
    activated: bool = False


def find_chains(model: nn.Module, taps: frozenset[int]) -> tuple[list[Chain], list[str]]:
    """Find the chains of a model that hold stabilizers, and the stabilizers outside of any chain.

    Args:
        model: a network whose batch norms are folded.
        taps: feature levels that are also read from outside the network.
    """
    backbone, prefix, tapped = _backbone(model, taps)
    everywhere = [name for name, module in model.named_modules() if isinstance(module, Stabilizer)]
    if backbone is None:
        return [], everywhere
    chains = [chain for chain in _walk(backbone, prefix, tapped) if chain.sites]
    for region in (region for chain in chains for region in chain.regions):
        for name in (*region.writers, *region.readers):
            layer = model.get_submodule(name)
            if not region.pinned and not (isinstance(layer, nn.Conv2d) and layer.groups == 1):
                region.pinned = f"{name} does not mix all channels"
    inside = {site for chain in chains for site in chain.sites}
    return chains, [name for name in everywhere if name not in inside]


def _backbone(model: nn.Module, taps: frozenset[int]) -> tuple[nn.Module | None, str, frozenset[int]]:
    """The timm EfficientNet inside a model, its name prefix, and the stages (from 1) whose outputs are tapped."""
    if isinstance(model, EfficientNetFeatures):
        return model, "", frozenset(model._stage_out_idx)
    if isinstance(model, FeatureGetterNet) and isinstance(model.model, EfficientNet):
        ends = model.model.stage_ends
        levels: Any = model.out_indices
        return model.model, "model.", frozenset(ends[index] for index in levels)
    if isinstance(model, EfficientNet):
        return model, "", frozenset(model.stage_ends[level] for level in taps)
    return None, "", frozenset()


def _walk(backbone: Any, prefix: str, tapped: frozenset[int]) -> Iterator[Chain]:
    """Yield the chains from stem to head; a block without a shortcut ends one chain and begins the next."""
    chain = Chain([Region(pinned="the stem's activation writes it")], [])
    for number, stage in enumerate(backbone.blocks, start=1):
        for position, module in enumerate(stage):
            name = f"{prefix}blocks.{number - 1}.{position}"
            if isinstance(module, Stabilizer):
                chain.sites.append(name)
                chain.regions.append(Region())
            elif not isinstance(module, nn.Identity):  # an identity is a stabilizer that an earlier step has folded
                block = _describe(module, name)
                chain.regions[-1].readers += block.readers
                if not block.residual:
                    yield chain
                    chain = Chain([Region()], [])
                _write_into(chain.regions[-1], block)
            _branch_off(chain.regions[-1], backbone, prefix, _nodes_after(backbone, number - 1, position))
        if number in tapped:
            chain.regions[-1].pinned = f"the feature level after stage {number - 1} is tapped"
    head = getattr(backbone, "conv_head", None)
    if isinstance(head, nn.Conv2d):
        chain.regions[-1].readers.append(f"{prefix}conv_head")
    elif not chain.regions[-1].pinned:
        chain.regions[-1].pinned = "it is the network's output"
    yield chain


def _write_into(region: Region, block: _Block) -> None:
    region.writers += block.writers
    if block.activated:
        region.pinned = f"an activation follows {block.writers[0]}"


def _nodes_after(backbone: Any, stage: int, position: int) -> tuple[int, ...]:
    """Feature maps that are complete after a module; none where the network has no branches."""
    nodes: list[list[tuple[int, ...]]] = getattr(backbone, "nodes", [])
    return nodes[stage][position] if nodes else ()


def _branch_off(region: Region, backbone: Any, prefix: str, nodes: tuple[int, ...]) -> None:
    """Add the branches that begin or end at these feature maps to the region."""
    for edge in getattr(backbone, "edges", ()):
        name = f"branches.{edge_name(edge)}"
        block = _describe(backbone.get_submodule(name), prefix + name)
        if edge[1] in nodes:
            _write_into(region, block)
        if edge[0] in nodes:
            region.readers += block.readers


def branched_sites(backbone: nn.Module, prefix: str = "") -> set[str]:
    """Names of the modules after which a branch begins or ends."""
    touched = {node for edge in getattr(backbone, "edges", ()) for node in edge}
    nodes: Any = getattr(backbone, "nodes", ())
    return {
        f"{prefix}blocks.{stage}.{position}"
        for stage, places in enumerate(nodes)
        for position, behind in enumerate(places)
        if touched.intersection(behind)
    }


def _describe(module: nn.Module, name: str) -> _Block:
    plain = getattr(module, "conv_s2d", None) is None
    if type(module) in (timm_blocks.InvertedResidual, Branch) and plain:
        activated = not isinstance(module.bn3, nn.Identity)
        return _Block((f"{name}.conv_pw",), (f"{name}.conv_pwl",), bool(module.has_skip), activated)
    if type(module) is timm_blocks.DepthwiseSeparableConv and plain:
        activated = not isinstance(module.bn2, nn.Identity)
        return _Block((f"{name}.conv_dw",), (f"{name}.conv_pw",), bool(module.has_skip), activated)
    if type(module) is ParallelBlock:
        paths = [_describe(path, f"{name}.paths.{token}") for token, path in module.paths.items()]
        activated = not isinstance(module.bn3, nn.Identity) or any(path.activated for path in paths)
        readers = tuple(reader for path in paths for reader in path.readers)
        writers = tuple(writer for path in paths for writer in path.writers)
        return _Block(readers, writers, module.has_skip, activated)
    # An unknown block is not a convolution, so the regions at both of its ends become pinned.
    return _Block((name,), (name,), residual=False)
