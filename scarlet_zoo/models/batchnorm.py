"""Precise BN: batch norm statistics computed anew from the network and the data alone.

The batch norms of a supernet have seen the features of all paths, so a path needs statistics of its own
before it is scored (SPOS, arXiv 1904.00420, section 3.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from scarlet_zoo.errors import TrainingError
from scarlet_zoo.utils.memory import kept_memory

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def precise_bn(model: nn.Module, images: Iterable[Tensor]) -> None:
    """Set the running statistics of every batch norm to the plain average over batches, in place (precise BN).

    The previous statistics have no influence, and the weights do not change. The model is left in eval mode.

    Args:
        model: any network.
        images: batches of normalised training images (N, C, H, W), in the model's dtype.
    """
    norms = [module for module in model.modules() if isinstance(module, _NORMS) and module.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # None is the plain average over batches
        norm.train()
    with kept_memory(), torch.inference_mode(), several_values("batch norm statistics"):
        for batch in images:
            model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@contextmanager
def several_values(where: str) -> Iterator[None]:
    """Say in one line what torch says about a batch of one image whose feature maps are 1 x 1.

    Args:
        where: what runs the network, for the message.

    Raises:
        TrainingError: a batch norm got one value for each channel, which has no deviation.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError(
            f"{where}: got a batch of one image, whose feature maps shrink to 1 x 1 pixel and so have no deviation for "
            "batch norm, wanted two images or more in a batch, or a larger input_size"
        ) from error


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Let batch norms use each batch's own statistics without storing them; all other layers are in eval mode."""
    norms = [module for module in model.modules() if isinstance(module, _NORMS) and module.track_running_stats]
    trained = model.training
    model.eval()
    for norm in norms:
        norm.train()
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        model.train(trained)
