"""How good a network is: its accuracy on a split of labelled pictures."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from scarlet_zoo.data.splits import Split, in_order
from scarlet_zoo.errors import ScarletError


def accuracy(model: nn.Module, split: Split, device: Any = "cpu", batch: int = 500, limit: int | None = None) -> float:
    """Top-1 of a network on a split, in percent; the network is left in eval mode."""
    model.eval()
    right = count = 0
    with torch.inference_mode():
        for images, targets in in_order(split, batch, limit):
            right += int((model(images.to(device)).argmax(1).cpu() == targets).sum())
            count += len(targets)
    if not count:
        raise ScarletError("accuracy: no pictures")
    return 100 * right / count
