"""A fixed batch of images and the unfolded network's outputs, against which every step of a fold is compared."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call

ROUNDING_FACTOR = 10.0
FLOAT64_FLOOR = 1e-9
_BATCH, _LARGEST_SIZE = 4, 96


def flat_outputs(output: object) -> Tensor:
    """All tensors of a model's output (logits, or a list or dict of feature maps) as one float64 vector."""
    if isinstance(output, Tensor):
        return output.detach().reshape(-1).to(torch.float64)
    if isinstance(output, dict):
        output = output.values()
    assert isinstance(output, Iterable)
    return torch.cat([flat_outputs(item) for item in output])


class Probe:
    """The reference of a fold: the unfolded network's outputs in float64, and its own rounding error.

    Args:
        model: the unfolded network, in eval mode and in its own dtype.
        truth: the same network in float64.

    Attributes:
        scale: largest absolute output.
        tolerance: allowed error of the folded network in its own dtype: 10 times the unfolded
            network's rounding error, and at least 1e-9 of the largest output, which decides in
            float64. Errors are root mean squares over the outputs of four images, because a
            largest error varies much from image to image.
        tolerance_source: which of the two bounds the tolerance is, in words.
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
        error = self._run(model, self._dtype) - self._truth
        return float(error.square().mean().sqrt().nan_to_num(nan=torch.inf))

    def _run(self, model: nn.Module, dtype: torch.dtype | None = None) -> Tensor:
        """The model's outputs, with its tensors cast to another dtype if one is given."""
        own = model_dtype(model)
        with torch.inference_mode():
            if dtype in (None, own):
                return flat_outputs(model(self._images.to(own)))
            tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                       for name, tensor in (*model.named_parameters(), *model.named_buffers())}  # fmt: skip
            return flat_outputs(functional_call(model, tensors, self._images.to(dtype)))


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
