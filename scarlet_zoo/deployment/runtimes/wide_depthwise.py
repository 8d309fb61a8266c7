"""Depthwise convolutions that are wider than XNNPACK has kernels for, as exact sums of narrower ones.

XNNPACK's depthwise kernels have at most 25 taps. It runs a wider one, such as 7 x 7, as a grouped convolution with one
channel in each group, which takes several times as long. A kernel is a sum of kernels that are zero except in some of
its rows, and rows in equal steps around the middle are a dilated convolution of their own, with the same channels,
stride and centre. So a 7 x 7 kernel is its rows 1, 3, 5, its rows 0, 6 and its rows 2, 4, of 21, 14 and 14 taps. Every
product is the same; only their sums are rounded in another order.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

MOST_TAPS = 25


class SummedConvolutions(nn.Module):
    """The sum of convolutions of the same input.

    Args:
        parts: the convolutions; one of them may have the bias.
    """

    def __init__(self, parts: list[nn.Conv2d]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum for images (N, C, H, W)."""
        first, *others = (part(x) for part in self.parts)
        total: Tensor = first
        for other in others:
            total = total + other
        return total


def split_wide_depthwise(model: nn.Module) -> nn.Module:
    """Return a copy of a network in which no depthwise kernel has more than 25 taps, where it can be split.

    It can if its height is odd, the rows of each part are within the padding, and two of its rows have at most 25 taps;
    other convolutions are left as they are. The network itself is not changed.
    """
    split = copy.deepcopy(model)
    for parent in list(split.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d):
                parts = [_part(child, rows, number == 0) for number, rows in enumerate(row_groups(child))]
                if parts:
                    setattr(parent, name, SummedConvolutions(parts))
    return split


def row_groups(conv: nn.Conv2d) -> Iterator[tuple[int, ...]]:
    """Yield the rows of each narrower convolution of a wide depthwise one; nothing where it is not split."""
    height, width = conv.kernel_size
    wide = type(conv) is nn.Conv2d and conv.groups == conv.in_channels and height * width > MOST_TAPS
    usual = conv.dilation == (1, 1) and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    most, middle = MOST_TAPS // width, height // 2
    if not (wide and usual and height % 2) or most < 2 or int(conv.padding[0]) < middle:
        return
    central = (middle - 2, middle, middle + 2) if most >= 3 and middle >= 2 else (middle,)
    yield central
    for row in range(middle):
        if row not in central:
            yield row, height - 1 - row


def _part(conv: nn.Conv2d, rows: tuple[int, ...], with_bias: bool) -> nn.Conv2d:
    step = rows[1] - rows[0] if len(rows) > 1 else 1
    padding = (int(conv.padding[0]) - rows[0], int(conv.padding[1]))
    size, stride = (len(rows), conv.kernel_size[1]), (conv.stride[0], conv.stride[1])
    part = nn.Conv2d(conv.in_channels, conv.out_channels, size, stride, padding, dilation=(step, 1), groups=conv.groups,
                     bias=with_bias and conv.bias is not None, device=conv.weight.device,
                     dtype=conv.weight.dtype)  # fmt: skip
    with torch.no_grad():
        part.weight.copy_(conv.weight[:, :, list(rows)])
        if part.bias is not None and conv.bias is not None:
            part.bias.copy_(conv.bias)
    return part
