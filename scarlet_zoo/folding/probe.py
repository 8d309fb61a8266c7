"""A fixed batch of images and the unfolded network's answers, to hold every step of a fold against."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

ROUNDING_FACTOR = 10.0
FLOAT64_FLOOR = 1e-9
_BATCH, _LARGEST_SIZE = 4, 96


def flat_outputs(output: object) -> Tensor:
    """All tensors of a model's output, a logits tensor or a list of feature maps, as one vector."""
    if isinstance(output, Tensor):
        return output.detach().reshape(-1).to(torch.float64)
    if isinstance(output, dict):
        output = output.values()
    assert isinstance(output, Iterable)
    return torch.cat([flat_outputs(item) for item in output])


class Probe:
    """The truth of a fold: what the unfolded network gives in float64, and its own rounding error.

    Args:
        model: the unfolded network, in eval mode and in its own dtype.
        truth: the same network in float64.

    Attributes:
        scale: largest absolute output.
        tolerance: how far the folded network in its own dtype may be from the truth: 10 times the
            unfolded network's rounding error (root mean square over the outputs of four images,
            since a largest error says little of the next image's), and never less than 1e-9 of
            the largest output, which is what decides in float64.
    """

    def __init__(self, model: nn.Module, truth: nn.Module) -> None:
        self._dtype = model_dtype(model)
        self._images = probe_images(model)
        self._truth = self._run(truth)
        self.scale = float(self._truth.abs().max())
        own = ROUNDING_FACTOR * self.rounding_error(model)
        floor = FLOAT64_FLOOR * self.scale
        self.tolerance = max(own, floor)
        self.tolerance_source = (
            f"{ROUNDING_FACTOR:g} times the unfolded network's rounding error"
            if own > floor
            else f"{FLOAT64_FLOOR:g} of the largest output"
        )

    def difference(self, model: nn.Module) -> float:
        """Largest absolute difference between a float64 model's outputs and the truth."""
        return float((self._run(model) - self._truth).abs().max())

    def rounding_error(self, model: nn.Module) -> float:
        """Root mean square error of a model cast to the network's own dtype; infinite if it overflows there."""
        cast = model if model_dtype(model) == self._dtype else copy.deepcopy(model).to(self._dtype)
        error = self._run(cast) - self._truth
        return float(error.square().mean().sqrt().nan_to_num(nan=torch.inf))

    def _run(self, model: nn.Module) -> Tensor:
        with torch.inference_mode():
            return flat_outputs(model(self._images.to(model_dtype(model))))


def model_dtype(model: nn.Module) -> torch.dtype:
    """The dtype of a model's floating-point parameters."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def probe_images(model: nn.Module) -> Tensor:
    """Four standard normal images of the model's channels, at most 96 pixels a side unless its size is fixed."""
    config = getattr(model, "pretrained_cfg", None) or {}
    channels, height, width = config.get("input_size", (3, 224, 224))
    channels = getattr(model, "in_chans", channels)
    if not config.get("fixed_input_size", False):
        height, width = min(height, _LARGEST_SIZE), min(width, _LARGEST_SIZE)
    random = torch.Generator().manual_seed(0)
    images = torch.randn((_BATCH, channels, height, width), generator=random, dtype=torch.float64)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return images.to(device)
