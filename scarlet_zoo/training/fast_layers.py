"""Layers that train faster on CPUs than torch's, with the same parameters and the same results within rounding.

A depthwise convolution larger than 3x3 gets its weights' gradient, batch norm with its activation its output and
gradient, and squeeze and excitation its gradient, from :mod:`scarlet_zoo.training.kernels`. Where an input does not
suit the kernels (another device, dtype or order in memory) and where numba or GNU's OpenMP is missing, a layer is
torch's. docs/training.md has what this gains.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from math import inf
from typing import Any, NamedTuple, cast

import torch
from timm.layers import BatchNormAct2d
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import Tensor, nn

from scarlet_zoo.training.fast_gate import FastSqueezeExcite
from scarlet_zoo.training.kernel_calls import rows_of, run_kernel, suits
from scarlet_zoo.training.settings import TORCH, TrainSettings
from scarlet_zoo.training.team import PARTS, team


class Curve(NamedTuple):
    """An activation: 0 up to ``low``, ``square y^2 + slope y`` above, ``top_slope y + top_value`` from ``high`` on."""

    low: float = -inf
    high: float = inf
    square: float = 0.0
    slope: float = 1.0
    top_slope: float = 0.0
    top_value: float = 0.0


_CURVES = {
    nn.Identity: Curve(),
    nn.ReLU: Curve(low=0.0),
    nn.ReLU6: Curve(low=0.0, high=6.0, top_value=6.0),
    nn.Hardswish: Curve(low=-3.0, high=3.0, square=1 / 6, slope=0.5, top_slope=1.0),
}
_LARGEST_OF_ONEDNN = 3  # The largest depthwise kernel for which oneDNN has a weight gradient of its own.


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution without bias whose weights' gradient is ours."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, OH, OW)."""
        if not (suits(x, self.weight) and torch.is_grad_enabled()):
            return super().forward(x)
        padding = cast("tuple[int, int]", self.padding)
        return cast(Tensor, _Depthwise.apply(x, self.weight, self.stride[0], padding))


class FastBatchNormAct2d(BatchNormAct2d):
    """timm's batch norm with an activation, both in one pass each way while it is trained."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        y = _trained(self, x)
        return cast(Tensor, super().forward(x)) if y is None else y  # type: ignore[no-untyped-call]


class FastBatchNorm2d(nn.BatchNorm2d):
    """torch's batch norm, with a gradient in two passes."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        y = _trained(self, x)
        return super().forward(x) if y is None else y


_FAST: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: DepthwiseConv2d,
    BatchNormAct2d: FastBatchNormAct2d,
    nn.BatchNorm2d: FastBatchNorm2d,
    SqueezeExcite: FastSqueezeExcite,
}


def with_layers(settings: TrainSettings, model: nn.Module) -> TrainSettings:
    """Return the settings with the layers that a model has: torch's on an accelerator, and where ours cannot run."""
    there = canrun_kernel() and any(_has_faster(module) for module in model.modules())
    return settings if there and not torch.accelerator.is_available() else replace(settings, layers=TORCH)


def canrun_kernel() -> bool:
    """Whether the kernels run here: numba compiles them, and torch has a team of threads for them."""
    return bool(find_spec("numba")) and team() is not None


@contextmanager
def fast_layers(model: nn.Module | None) -> Iterator[int]:
    """Let the layers of a model that have a faster form use it; yield their number, and undo it at the end.

    The modules stay what they are to everybody who holds them: only their class changes, for a subclass.
    """
    modules = model.modules() if model is not None and canrun_kernel() else ()
    changed = [module for module in modules if _has_faster(module)]
    former = [type(module) for module in changed]
    for module in changed:
        module.__class__ = _FAST[type(module)]
    try:
        yield len(changed)
    finally:
        for module, own in zip(changed, former, strict=True):
            module.__class__ = own


def curve_of(norm: nn.Module) -> Curve | None:
    """The curve of a norm's activation; None if the kernels have none for it, or if the norm drops values."""
    if not isinstance(getattr(norm, "drop", nn.Identity()), nn.Identity):
        return None
    return _CURVES.get(type(getattr(norm, "act", nn.Identity())))


def _has_faster(module: nn.Module) -> bool:
    if type(module) is nn.Conv2d:
        alone = module.groups == module.in_channels == module.out_channels and module.bias is None
        plain = module.padding_mode == "zeros" and module.dilation == (1, 1) and not isinstance(module.padding, str)
        return alone and plain and module.stride[0] == module.stride[1] and max(module.kernel_size) > _LARGEST_OF_ONEDNN
    if type(module) is SqueezeExcite:
        return True
    if type(module) is nn.BatchNorm2d:
        return module.affine
    return type(module) is BatchNormAct2d and module.affine and curve_of(module) is not None


def _trained(norm: nn.BatchNorm2d, x: Tensor) -> Tensor | None:
    """The output of a norm in training and of its activation; None if that is torch's to compute."""
    curve = curve_of(norm)
    if curve is None or not (norm.training and suits(x, norm.weight) and rows_of(x) > 1):
        return None
    y, mean, variance = _NormAct.apply(x, norm.weight, norm.bias, _fixed(norm.eps, curve))
    _track(norm, mean, variance, rows_of(x))
    return cast(Tensor, y)


@cache
def _fixed(eps: float, curve: Curve) -> Tensor:
    with torch.inference_mode(False):  # kept for trainings, whoever asks first
        return torch.tensor([eps, *curve])


def _track(norm: nn.Module, mean: Tensor, variance: Tensor, rows: int) -> None:
    """Update the running statistics as torch does."""
    batches, running_mean, running_var = norm.num_batches_tracked, norm.running_mean, norm.running_var
    if not norm.track_running_stats or running_mean is None:
        return
    cast(Tensor, batches).add_(1)
    share = 1.0 / float(cast(Tensor, batches)) if norm.momentum is None else norm.momentum
    with torch.no_grad():
        cast(Tensor, running_mean).lerp_(mean, share)  # type: ignore[arg-type]
        cast(Tensor, running_var).lerp_(variance * (rows / (rows - 1)), share)  # type: ignore[arg-type]


def _sums_of(channels: int) -> Tensor:
    return torch.empty(PARTS, 2, channels, dtype=torch.float64)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution: output and the input's gradient are torch's, the weight's gradient is ours."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return torch.conv2d(x, weight, None, stride, padding, 1, x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        by_input = by_weight = None
        if ctx.needs_input_grad[0]:
            by_input = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, [ctx.stride] * 2, ctx.padding, [1, 1], False, [0, 0], x.shape[1],
                [True, False, False],
            )[0]  # fmt: skip
        if ctx.needs_input_grad[1]:
            (count, channels, height, width), (rows, columns) = x.shape, gradient.shape[2:]
            kernel = weight.shape[2:]
            parts, result = torch.zeros(PARTS, *kernel, channels), torch.empty(*kernel, channels)
            run_kernel("depthwise_weight_gradient", count, height, width, channels, rows, columns, *kernel, ctx.stride,
                 *ctx.padding, x, gradient, parts, result)  # fmt: skip
            by_weight = result.permute(2, 0, 1)[:, None].contiguous()
        return by_input, by_weight, None, None


class _NormAct(torch.autograd.Function):
    """Batch norm by the batch's statistics and an activation; also returns mean and (biased) variance (C)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        channels = x.shape[1]
        affine, found, y = torch.stack([weight, bias]), torch.empty(5, channels), torch.empty_like(x)
        run_kernel("norm_and_activation", rows_of(x), channels, x, affine, fixed, _sums_of(channels), found, y)
        ctx.save_for_backward(x, affine, found, fixed)
        mean, variance = found[0], found[1]
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, affine, found, fixed = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        channels = x.shape[1]
        by_input, by_affine = torch.empty_like(x), torch.empty(2, channels)
        run_kernel("norm_and_activation_gradient", rows_of(x), channels, x, gradient, affine, fixed, found,
             _sums_of(channels), by_input, by_affine)  # fmt: skip
        return by_input, by_affine[1], by_affine[0], None
