"""SCARLET networks as torch modules: timm's ``EfficientNet``, built from an :class:`Arch`.

All features of timm's class work here. The classes below add the architecture that they were built
from and, if requested, the stabilizers of skipped layers.
"""

from __future__ import annotations

from typing import Any

from timm.layers import get_act_layer
from timm.models import EfficientNet, EfficientNetFeatures
from torch import nn

from scarlet_zoo.arch.architecture import Arch, LayerPlan, block_names
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.models.blocks import SE_LAYER, Stabilizer
from scarlet_zoo.models.path_sets import ParallelBlock


def _first_block(space: SearchSpace) -> dict[str, Any]:
    return {
        "block_type": "ds",
        "out_chs": space.first_width,
        "stride": 1,
        "act_layer": get_act_layer(space.edge_activation),
        "dw_kernel_size": 3,
        "pw_kernel_size": 1,
        "se_ratio": 0.0,
        "pw_act": False,
        "noskip": True,
    }


def _block(plan: LayerPlan, activation: str) -> dict[str, Any]:
    choice = plan.choice
    return {
        "block_type": "ir",
        "out_chs": plan.out_chs,
        "stride": plan.stride,
        "act_layer": get_act_layer(activation),
        "dw_kernel_size": choice.kernel_size,
        "exp_kernel_size": 1,
        "pw_kernel_size": 1,
        "exp_ratio": float(choice.expand_ratio),
        # timm divides this ratio by the expansion ratio; the product gives a quarter of the hidden channels.
        "se_ratio": 0.25 * choice.expand_ratio if choice.squeeze_excite else 0.0,
        "noskip": False,
    }


def timm_block_args(arch: Arch) -> list[list[dict[str, Any]]]:
    """Return the arguments of timm's block builder, one list for each stage; skipped layers are left out."""
    stages: list[list[dict[str, Any]]] = [[_first_block(arch.space)]]
    for plan in arch.layers:
        if plan.stage == len(stages) - 1:
            stages.append([])
        if not plan.choice.is_skip:
            stages[-1].append(_block(plan, arch.space.activation))
    return stages


def _place_path_sets(stages: nn.Sequential, arch: Arch, **factory: Any) -> None:
    """Replace timm's block by a set of parallel blocks; call it before stabilizers are added."""
    names = block_names(arch, stabilized=False)
    for plan in arch.layers:
        if plan.choice.beside:
            _, number, position = names[plan.index].split(".")
            stage = stages[int(number)]
            assert isinstance(stage, nn.Sequential)
            stage[int(position)] = ParallelBlock(stage[int(position)], plan, arch.space.activation, **factory)


def _place_stabilizers(stages: nn.Sequential, arch: Arch, **factory: Any) -> None:
    """Insert a stabilizer for each skipped layer; ``stages`` is the model's ``blocks``."""
    for plan in arch.layers:
        if plan.choice.is_skip:
            stage = stages[plan.stage + 1]
            assert isinstance(stage, nn.Sequential)
            opening = next(p.index for p in arch.layers if p.stage == plan.stage)
            stage.insert(plan.index - opening, Stabilizer(plan.in_chs, **factory))


def _complete(stages: nn.Sequential, arch: Arch, stabilized: bool, kwargs: dict[str, Any]) -> None:
    """Add the modules that timm's builder does not know: sets of paths, and stabilizers if requested."""
    factory = {key: kwargs.get(key) for key in ("device", "dtype")}
    _place_path_sets(stages, arch, **factory)
    if stabilized:
        _place_stabilizers(stages, arch, **factory)


def _set_stem_stride(model: nn.Module, space: SearchSpace) -> None:
    """Set the stem's stride to the space's; timm builds stride 2, and stride 1 halves every level's reduction."""
    if space.stem_stride == 1:
        model.get_submodule("conv_stem").stride = (1, 1)  # type: ignore[assignment]
        info: Any = model.feature_info
        for level in getattr(info, "info", info):
            level["reduction"] //= 2


def _timm_arguments(arch: Arch, kwargs: dict[str, Any]) -> dict[str, Any]:
    space = arch.space
    return {
        "block_args": timm_block_args(arch),
        "stem_size": space.stem_width,
        "act_layer": get_act_layer(space.edge_activation),
        "se_layer": SE_LAYER,
        "round_chs_fn": int,
        **kwargs,
    }


class ScarletNet(EfficientNet):
    """A SCARLET network, a timm ``EfficientNet``: images (N, C, H, W) to logits (N, classes).

    Args:
        arch: the architecture.
        stabilized: whether every skipped layer gets a :class:`Stabilizer`, as in the supernet.
        kwargs: further arguments of timm's ``EfficientNet``.

    Attributes:
        arch: the architecture that the network was built from.
    """

    def __init__(self, arch: Arch, stabilized: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("num_features", arch.space.head_width)
        super().__init__(**_timm_arguments(arch, kwargs))
        _set_stem_stride(self, arch.space)
        self.arch = arch
        _complete(self.blocks, arch, stabilized, kwargs)


class ScarletFeatures(EfficientNetFeatures):
    """The feature pyramid of a SCARLET network: images (N, C, H, W) to a list of maps, one for each level."""

    def __init__(self, arch: Arch, stabilized: bool = False, **kwargs: Any) -> None:
        super().__init__(**_timm_arguments(arch, kwargs))
        _set_stem_stride(self, arch.space)
        self.arch = arch
        _complete(self.blocks, arch, stabilized, kwargs)
