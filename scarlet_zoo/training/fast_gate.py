"""Squeeze and excitation whose gradient passes over its images twice, where torch's passes nine times."""

from __future__ import annotations

from typing import Any, cast

import torch
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import Tensor

from scarlet_zoo.training.kernel_calls import run_kernel, suits

# The gradient by the product and the gates, from one function's backward pass to the other's.
_Handed = list[tuple[Tensor, Tensor]]


class FastSqueezeExcite(SqueezeExcite):
    """timm's squeeze and excitation with a gradient of ours."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        if not (suits(x, self.conv_reduce.weight) and torch.is_grad_enabled() and x.requires_grad):
            return cast(Tensor, super().forward(x))  # type: ignore[no-untyped-call]
        handed: _Handed = []
        squeezed = self.conv_expand(self.act1(self.conv_reduce(_Mean.apply(x, handed))))
        return cast(Tensor, _Gated.apply(x, self.gate(squeezed), handed))


class _Mean(torch.autograd.Function):
    """The mean over the pixels of each channel; its backward pass is that of the product with the gates, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, handed: _Handed) -> Tensor:
        ctx.handed = handed
        return x.mean((2, 3), keepdim=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        by_product, gate = ctx.handed.pop()
        by_input = torch.empty_like(by_product)
        count, channels, height, width = by_product.shape
        run_kernel("gated_input_gradient", count, height * width, channels, by_product, gate.contiguous(),
                   gradients[0].contiguous(), by_input)  # fmt: skip
        return by_input, None


class _Gated(torch.autograd.Function):
    """An input times its gates (N, C, 1, 1), which depend on its mean: that function gives the input's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, handed: _Handed) -> Tensor:
        ctx.save_for_backward(x, gate)
        ctx.handed = handed
        return x * gate

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        x, gate = ctx.saved_tensors
        by_product = gradients[0].contiguous(memory_format=torch.channels_last)
        by_gate = torch.empty(gate.shape)
        count, channels, height, width = x.shape
        run_kernel("gate_gradient", count, height * width, channels, x, by_product, by_gate)
        ctx.handed.append((by_product, gate))
        return None, by_gate, None
