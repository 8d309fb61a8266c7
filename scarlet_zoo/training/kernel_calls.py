"""When a tensor is one for our kernels, and how a layer calls them."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_VALUES = 65_536  # Torch is done with fewer before a kernel has been called.


def suits(x: Tensor, weight: Tensor | None) -> bool:
    """Whether an input (N, C, H, W) and the layer's weight are what the kernels take."""
    return (
        weight is not None
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.dim() == 4
        and x.numel() >= LEAST_VALUES
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def rows_of(x: Tensor) -> int:
    """The number of values of a channel in (N, C, H, W)."""
    return x.numel() // x.shape[1]


def run_kernel(name: str, *given: int | Tensor) -> None:
    """Run a kernel with numbers and with tensors, which it gets the addresses of."""
    from scarlet_zoo.training import kernel_tools, kernels, kernels_gate  # numba is imported for the first layer

    numbers = [value.data_ptr() if isinstance(value, Tensor) else value for value in given]
    kernel = getattr(kernels, name, None) or getattr(kernels_gate, name)
    kernel_tools.run(kernel, numbers, torch.get_num_threads())
