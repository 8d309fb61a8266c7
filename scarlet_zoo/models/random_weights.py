"""Random weights for networks without trained weights, suited to verification and timing.

With timm's plain initialisation a SCARLET network's logits are about 3e-3 and all its biases are
zero, so no check could detect a dropped bias or a swapped channel. Here the biases are random, and
the batch norm statistics are those of real photographs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scarlet_zoo.models.batchnorm import precise_bn

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# Statistics are rounded to this many bits: the last bits of a sum over pixels depend on the number
# of threads and must not reach the file.
_STATISTIC_BITS = 12


def randomize(model: nn.Module, images: Tensor, seed: int = 0) -> None:
    """Give a newly created model random biases and batch norms, with statistics computed on images, in place.

    Norm weights are uniform in [0.2, 0.6] and norm biases normal around 0.5 with deviation 0.5, as in trained
    networks. With weights around 1 and biases around 0 every layer would centre and stretch the output of the
    one before, and rounding errors would grow with depth, a hundredfold in SCARLET-C, unlike in trained
    networks. Other biases are normal with deviation 0.1; the convolutions' weights do not change. The
    statistics are those of one batch, computed in float64 layer after layer.

    Args:
        model: any network.
        images: normalised images, shape (N, C, H, W), at least two.
        seed: seed of the random values.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = isinstance(model.get_submodule(name.rpartition(".")[0]), _NORMS)
            if name.endswith("bias"):
                normal = torch.randn(parameter.shape, generator=random)
                parameter.copy_(0.5 + 0.5 * normal if norm else 0.1 * normal)
            elif norm and name.endswith("weight"):
                parameter.copy_(0.2 + 0.4 * torch.rand(parameter.shape, generator=random))
    calibrate_batch_norms(model, images)


def calibrate_batch_norms(model: nn.Module, images: Tensor) -> None:
    """Set the running statistics of every batch norm to those of one batch, in place.

    The model is left in eval mode, with its dtype unchanged.

    Args:
        model: any network.
        images: normalised images, shape (N, C, H, W), at least two.
    """
    dtype = next(parameter.dtype for parameter in model.parameters())
    precise_bn(model.double(), [images.double()])
    with torch.no_grad():
        for name, statistic in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                statistic.copy_(_round_bits(statistic))
    model.to(dtype)


def _round_bits(values: Tensor) -> Tensor:
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp(torch.round(mantissa * 2**_STATISTIC_BITS) / 2**_STATISTIC_BITS, exponent)
