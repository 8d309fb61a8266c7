"""What learning by comparison needs beside a supernet: a neck, a teacher, a queue of negatives, the loss.

Momentum contrast (He et al., arXiv 1911.05722): a query shall be near its key, which a slowly following teacher makes
of another view of the same image, and far from keys of other images, which a queue remembers.
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
    """Cross-entropy of finding each query's key among the negatives: the mean over the images.

    With s = q . k: ``-log(exp(s+ / t) / (exp(s+ / t) + sum exp(s- / t)))`` (arXiv 1911.05722, equation 1).

    Args:
        queries, keys: of the same images, (N, D).
        negatives: keys of others, (K, D).
        temperature: t.
    """
    found = (queries * keys).sum(1, keepdim=True)
    logits = torch.cat((found, queries @ negatives.T), 1) / temperature  # (N, 1 + K)
    return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def unit(vectors: Tensor) -> Tensor:
    """Vectors (N, D) of length 1, in float32 at least whatever the precision of the network."""
    return functional.normalize(vectors if vectors.dtype == torch.float64 else vectors.float(), dim=1)


class Necked(nn.Module):
    """A supernet with a neck beside its classifier: pooled features through two layers to a vector to compare.

    Its tensors carry the supernet's own names, and ``neck.`` those of the neck.

    Args:
        supernet: shares its modules.
        hidden: width of the neck's hidden layer; that of the features when 0.
        dim: length of the vector.
    """

    def __init__(self, supernet: Supernet, hidden: int, dim: int) -> None:
        super().__init__()
        # In a tuple, so that it is no module of this one a second time.
        self._supernet = (supernet,)
        for name, child in supernet.named_children():
            self.add_module(name, child)
        assert isinstance(supernet.classifier, nn.Linear)
        features = supernet.classifier.in_features
        width = hidden or features
        self.neck = nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, dim))

    def forward(self, images: Tensor, arch: Arch, classified: bool = False) -> Tensor:
        """Of one path the neck's vectors (N, dim), or logits (N, classes)."""
        (supernet,) = self._supernet
        out: Tensor = supernet(images, arch) if classified else self.neck(supernet.features(images, arch))
        return out

    def compared(self, arch: Arch) -> Iterator[nn.Parameter]:
        """Every parameter that makes a path's vectors: shared parts, the path's blocks, the neck."""
        for name in (*self._supernet[0].on_path(arch), NECK):
            if name != "classifier":
                yield from self.get_submodule(name).parameters()


class Teacher:
    """A copy that follows the student by exponential moving average and makes keys.

    Its weights never have gradients. Its batch norms are in train mode, as the authors' are, and their running
    statistics are its own: only parameters follow.

    Args:
        student: whose equal it is at first.
        momentum: share of its own weights that it keeps at each update.
    """

    def __init__(self, student: Necked, momentum: float) -> None:
        self.momentum = momentum
        self.net = copy.deepcopy(student).requires_grad_(False).train()

    @torch.no_grad()
    def follow(self, student: Necked, arch: Arch) -> None:
        """Take in what a path's vectors are made of: t = m t + (1 - m) s; all else stays as it is."""
        for mine, theirs in zip(self.net.compared(arch), student.compared(arch), strict=True):
            mine.mul_(self.momentum).add_(theirs, alpha=1 - self.momentum)

    @torch.no_grad()
    def keys(self, images: Tensor, arch: Arch) -> Tensor:
        """Vectors (N, dim) of length 1."""
        return unit(self.net(images, arch))


class KeyQueue:
    """The last keys of other images, the oldest replaced first; random directions to begin with.

    Args:
        size: how many.
        dim: length of a key.
        seed: of the first ones.
        device: where they are.

    Attributes:
        keys: (size, dim), never with a gradient.
        pointer: where the next ones go.
    """

    def __init__(self, size: int, dim: int, seed: int, device: Any) -> None:
        drawn = torch.randn(size, dim, generator=torch.Generator().manual_seed(seed))
        self.keys, self.pointer = unit(drawn).to(device), 0

    def check(self, batch: int) -> None:
        """Raise unless a whole number of batches fits.

        Raises:
            TrainingError: it does not.
        """
        if len(self.keys) % batch:
            raise TrainingError(
                f"queue of negatives: got {len(self.keys)} keys for batches of {batch}, wanted a multiple of the batch"
            )

    @torch.no_grad()
    def put(self, keys: Tensor) -> None:
        """Take in the keys of a step (N, dim), those of all processes.

        Raises:
            TrainingError: the queue does not hold a whole number of such steps.
        """
        self.check(len(keys))
        # A new tensor: the old one may still be part of a graph whose gradient is to be taken.
        self.keys = self.keys.clone()
        self.keys[self.pointer : self.pointer + len(keys)] = keys
        self.pointer = (self.pointer + len(keys)) % len(self.keys)

    def state_dict(self) -> dict[str, Any]:
        """Keys and pointer."""
        return {"keys": self.keys, "pointer": self.pointer}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.keys, self.pointer = state["keys"].to(self.keys.device), int(state["pointer"])
