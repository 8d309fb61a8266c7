"""Batch norm statistics taken anew, as a function of network and data alone.

The norms of a supernet have seen every path's features mixed, so a path is scored only after its
statistics are its own (SPOS, arXiv 1904.00420, section 3.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def recalibrate(model: nn.Module, images: Iterable[Tensor]) -> None:
    """Set the running statistics of every batch norm to the plain average over batches, in place.

    What they were before does not matter, so doing it twice changes nothing; weights are not touched.
    The model is left in eval mode.

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
    with torch.inference_mode():
        for batch in images:
            model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Batch norms take each batch's own statistics and keep nothing of them; all else is in eval mode."""
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
