"""Contrastive learning of a supernet: a neck, a momentum teacher, a queue of negatives and the InfoNCE loss.

In momentum contrast (MoCo, He et al., arXiv 1911.05722) a query is pulled to its key, which a slowly following teacher
computes from another view of the same image, and pushed away from the keys of other images, which a queue stores.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.models.supernet import Supernet

NECK = "neck"


def info_nce(queries: Tensor, keys: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Return the InfoNCE loss: the mean cross-entropy of finding each query's key among the negatives.

    With s = q . k it is ``-log(exp(s+ / t) / (exp(s+ / t) + sum exp(s- / t)))`` (arXiv 1911.05722, equation 1).

    Args:
        queries: vectors of N images, (N, D).
        keys: vectors of the same images, (N, D).
        negatives: keys of other images, (K, D).
        temperature: the divisor t of the similarities.
    """
    found = (queries * keys).sum(1, keepdim=True)
    logits = torch.cat((found, queries @ negatives.T), 1) / temperature  # (N, 1 + K)
    return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def unit(vectors: Tensor) -> Tensor:
    """Scale vectors (N, D) to length 1, in float32 or float64 whatever the precision of the network."""
    return functional.normalize(vectors if vectors.dtype == torch.float64 else vectors.float(), dim=1)


class Necked(nn.Module):
    """A supernet with a neck beside its classifier, which maps pooled features by two layers to a vector.

    Its tensors have the names of the supernet's tensors; the neck's names begin with ``neck.``.

    Args:
        supernet: the supernet, whose modules are shared.
        hidden: width of the neck's hidden layer; 0 for the width of the features.
        dim: length of the vector.
    """

    def __init__(self, supernet: Supernet, hidden: int, dim: int) -> None:
        super().__init__()
        # A tuple hides the supernet from torch, which would register its modules a second time.
        self._supernet = (supernet,)
        for name, child in supernet.named_children():
            self.add_module(name, child)
        assert isinstance(supernet.classifier, nn.Linear)
        features = supernet.classifier.in_features
        width = hidden or features
        self.neck = nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, dim))

    def forward(self, images: Tensor, arch: Arch, classified: bool = False) -> Tensor:
        """Run one path on images (N, C, H, W); return the neck's vectors (N, dim), or logits (N, classes)."""
        (supernet,) = self._supernet
        out: Tensor = supernet(images, arch) if classified else self.neck(supernet.features(images, arch))
        return out

    def compared(self, arch: Arch) -> Iterator[nn.Parameter]:
        """Yield every parameter that a path's vectors depend on: shared parts, the path's blocks and the neck."""
        for name in (*self._supernet[0].on_path(arch), NECK):
            if name != "classifier":
                yield from self.get_submodule(name).parameters()


class Teacher:
    """A copy of the student that follows it by exponential moving average and computes the keys.

    Its weights have no gradients. Its batch norms are in train mode, as in the authors' code, and have their own
    running statistics: only parameters follow the student.

    Args:
        student: the network to copy.
        momentum: share of the teacher's own weights in each update.
    """

    def __init__(self, student: Necked, momentum: float) -> None:
        self.momentum = momentum
        self.net = copy.deepcopy(student).requires_grad_(False).train()

    @torch.no_grad()
    def follow(self, student: Necked, arch: Arch) -> None:
        """Update the parameters that a path's vectors depend on, t = m t + (1 - m) s; the others are unchanged."""
        for own, other in zip(self.net.compared(arch), student.compared(arch), strict=True):
            own.mul_(self.momentum).add_(other, alpha=1 - self.momentum)

    @torch.no_grad()
    def keys(self, images: Tensor, arch: Arch) -> Tensor:
        """Return the keys of images (N, C, H, W) by one path: vectors (N, dim) of length 1."""
        return unit(self.net(images, arch))


class KeyQueue:
    """A queue of the latest keys of other images, first filled with random directions.

    Args:
        size: number of keys.
        dim: length of a key.
        seed: seed of the random directions.
        device: device of the keys.

    Attributes:
        keys: (size, dim), without gradients.
        pointer: index of the oldest key, which is replaced next.
    """

    def __init__(self, size: int, dim: int, seed: int, device: Any) -> None:
        drawn = torch.randn(size, dim, generator=torch.Generator().manual_seed(seed))
        self.keys, self.pointer = unit(drawn).to(device), 0

    def check(self, batch: int) -> None:
        """Check that the queue holds a whole number of batches.

        Raises:
            TrainingError: the size of the queue is not a multiple of the batch.
        """
        if len(self.keys) % batch:
            raise TrainingError(
                f"queue of negatives: got {len(self.keys)} keys for batches of {batch}, wanted a multiple of the batch"
            )

    @torch.no_grad()
    def put(self, keys: Tensor) -> None:
        """Replace the oldest keys by the keys (N, dim) of a step, from all processes.

        Raises:
            TrainingError: the size of the queue is not a multiple of N.
        """
        self.check(len(keys))
        # The old tensor may be part of a graph whose gradient has not been taken yet, so it must not change.
        self.keys = self.keys.clone()
        self.keys[self.pointer : self.pointer + len(keys)] = keys
        self.pointer = (self.pointer + len(keys)) % len(self.keys)

    def state_dict(self) -> dict[str, Any]:
        """Return keys and pointer."""
        return {"keys": self.keys, "pointer": self.pointer}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a :meth:`state_dict`."""
        self.keys, self.pointer = state["keys"].to(self.keys.device), int(state["pointer"])
