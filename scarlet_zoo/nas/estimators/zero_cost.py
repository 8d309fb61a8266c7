"""Zero-cost scores: what an untrained network says of itself on one batch of images.

Each network is initialised with the same seed. Larger is said to be better for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import unknown_name
from scarlet_zoo.models.scarlet import create_model

_JITTER = 1e-5


def naswot(model: nn.Module, images: Tensor, labels: Tensor) -> float:  # noqa: ARG001
    """Return log |det K| of the kernel of equal activation signs (NASWOT, arXiv 2006.04647 version 3, section 4).

    K_ij is the number of activations whose sign is the same for images i and j. Ours: an activation is what a batch
    norm with an activation function gives, which is positive where its input is, for ReLU6 and hard swish alike.
    """
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64)

    def see(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        nonlocal kernel
        code = (output.flatten(1) > 0).float()
        kernel += (code @ code.T + (1 - code) @ (1 - code).T).double()

    norms = [module for module in model.modules() if isinstance(module, BatchNormAct2d)]
    watched = [norm.register_forward_hook(see) for norm in norms if not isinstance(norm.act, nn.Identity)]
    with torch.no_grad():
        model(images)
    for handle in watched:
        handle.remove()
    return float(torch.linalg.slogdet(kernel).logabsdet)


def jacov(model: nn.Module, images: Tensor, labels: Tensor) -> float:  # noqa: ARG001
    """Return minus the sum of log(v + k) + 1 / (v + k) over the eigenvalues v of the correlations of the Jacobians.

    The Jacobian is that of the summed logits by the images (arXiv 2006.04647 version 1, section 3); k is 1e-5.
    """
    images = images.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(model(images).sum(), images)
    values = torch.linalg.eigvalsh(torch.corrcoef(slopes.flatten(1).double())) + _JITTER
    return -float((values.clamp_min(_JITTER).log() + 1 / values.clamp_min(_JITTER)).sum())


def snip(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the sum of |weight x gradient| over convolutions and linear layers (SNIP, arXiv 1810.02340, equation 6).

    Ours: its logarithm, since the sums of networks of different sizes differ by orders of magnitude.
    """
    weights = [module.weight for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    slopes = torch.autograd.grad(cross_entropy(model(images), labels), weights)
    return float(torch.stack([(w * s).abs().sum() for w, s in zip(weights, slopes, strict=True)]).sum().log().detach())


Score = Callable[[nn.Module, Tensor, Tensor], float]
ZERO_COST: Mapping[str, Score] = MappingProxyType({"naswot": naswot, "jacov": jacov, "snip": snip})


def find_score(name: str) -> Score:
    """Return a zero-cost score by its name.

    Raises:
        UnknownNameError: there is no such score.
    """
    if name not in ZERO_COST:
        raise unknown_name("zero-cost score", name, ZERO_COST)
    return ZERO_COST[name]


def zero_cost(arch: Arch, names: tuple[str, ...], images: Tensor, labels: Tensor, seed: int = 0) -> dict[str, float]:
    """Return zero-cost scores of an architecture by name.

    Args:
        arch: the architecture.
        names: names among :data:`ZERO_COST`.
        images: a batch (N, C, H, W).
        labels: the classes of the images (N).
        seed: seed of the network's initial weights.

    Raises:
        UnknownNameError: there is no such score.
    """
    found = {}
    for name in names:
        score = find_score(name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = create_model(arch).train()
        found[name] = score(model, images, labels)
    return found
