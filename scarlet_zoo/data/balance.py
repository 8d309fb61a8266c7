"""Classes of uneven size: weights of the loss, or an order of the images in which all classes are as frequent."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scarlet_zoo.errors import TrainingError

NONE, LOSS, SAMPLING = "none", "loss", "sampling"
BALANCES = (NONE, LOSS, SAMPLING)


def check_balance(balance: str) -> None:
    """Check what is asked for.

    Raises:
        TrainingError: it is none of :data:`BALANCES`.
    """
    if balance not in BALANCES:
        raise TrainingError(f"balance: got {balance!r}, wanted one of {' '.join(BALANCES)}")


def class_weights(targets: Tensor, classes: int) -> Tensor:
    """Return the weight of each class in the loss: the mean number of images of a class over its own number.

    Args:
        targets: class index of each training image (N,).
        classes: number of classes; one without images has the weight 0.
    """
    counts = torch.bincount(targets, minlength=classes).double()
    present = counts > 0
    return torch.where(present, counts.sum() / (present.sum() * counts.clamp(min=1)), 0.0).float()


def balanced_order(targets: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """Draw as many positions as there are images, equally many of each class, in a random order.

    The images of a small class appear several times, each as often as the others or once more; of a large class only
    some appear. Numbers of images that are not a multiple of the classes give some classes one more.

    Args:
        targets: class index of each image (N,).
        random: source of what is drawn.
    """
    present = np.unique(targets)
    shares = np.full(len(present), len(targets) // len(present))
    shares[random.permutation(len(present))[: len(targets) % len(present)]] += 1
    drawn = []
    for target, share in zip(present, shares, strict=True):
        members = np.flatnonzero(targets == target)
        rounds = [random.permutation(members) for _ in range(-(-share // len(members)))]
        drawn.append(np.concatenate(rounds)[:share] if rounds else members[:0])
    return random.permutation(np.concatenate(drawn))
