"""SCARLET-NAS's stabilizer, which timm lacks, and the arguments of timm's MBConv block for a choice."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from timm.layers import get_act_layer
from timm.models import _efficientnet_blocks as timm_blocks
from torch import nn

from scarlet_zoo.arch.architecture import BlockPlan
from scarlet_zoo.arch.choices import Choice
from scarlet_zoo.errors import ScarletError

SE_LAYER: Any = partial(timm_blocks.SqueezeExcite, gate_layer=nn.Hardsigmoid, force_act_layer=nn.ReLU)


def mbconv_arguments(plan: BlockPlan, choice: Choice, activation: str) -> dict[str, Any]:
    """Return the arguments of timm's ``InvertedResidual`` for a choice in a block's plan, without a shortcut."""
    return {
        "in_chs": plan.in_chs,
        "out_chs": plan.out_chs,
        "dw_kernel_size": choice.kernel_size,
        "stride": plan.stride,
        "noskip": True,
        "exp_ratio": float(choice.expand_ratio),
        "act_layer": get_act_layer(activation),
        "se_layer": partial(SE_LAYER, rd_ratio=0.25) if choice.squeeze_excite else None,
    }


class Stabilizer(nn.Conv2d):
    """A learnable linear map in the place of a layer that an architecture skips.

    SCARLET-NAS calls it equivariant learnable stabilizer (ELS): a 1x1 convolution of stride 1
    without bias, batch norm or activation, ``y = S x`` at every pixel. Because it is linear, the
    neighbouring convolutions can absorb it exactly (:func:`scarlet_zoo.fold`).

    Args:
        channels: C; the module has exactly C * C parameters.
        init: ``identity`` (our default: a fresh stabilizer is a plain skip), ``orthogonal`` or
            ``kaiming`` (normal with variance 2 / C). The paper does not state its choice.
        device: torch device of the weight.
        dtype: torch dtype of the weight.

    Raises:
        ScarletError: an unknown initialisation.

    Shape:
        (N, C, H, W) to (N, C, H, W).
    """

    INITS = ("identity", "orthogonal", "kaiming")

    def __init__(self, channels: int, init: str = "identity", device: Any = None, dtype: Any = None) -> None:
        if init not in self.INITS:
            raise ScarletError(f"stabilizer init: got {init!r}, wanted one of {' '.join(self.INITS)}")
        self.init = init
        super().__init__(channels, channels, kernel_size=1, bias=False, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Set the matrix to its initial value."""
        matrix = self.weight.view(self.out_channels, self.in_channels)
        with torch.no_grad():
            if self.init == "identity":
                nn.init.eye_(matrix)
            elif self.init == "orthogonal":
                nn.init.orthogonal_(matrix)
            else:
                nn.init.normal_(matrix, std=math.sqrt(2 / self.in_channels))

    @property
    def matrix(self) -> torch.Tensor:
        """The matrix S, of shape (C, C)."""
        return self.weight.view(self.out_channels, self.in_channels)
