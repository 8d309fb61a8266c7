"""What the training loop trains: a supernet path by path, or one network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from scarlet_zoo.arch import Arch
from scarlet_zoo.sampling import PathSampler
from scarlet_zoo.supernet import Supernet


class Learner(Protocol):
    """What is trained: which architectures run in a step, and how."""

    @property
    def model(self) -> nn.Module:
        """The module whose parameters are trained."""

    def paths(self, step: int) -> tuple[Arch | None, ...]:
        """Every architecture that runs in a step."""

    def forward(self, model: nn.Module, images: Tensor, arch: Arch | None) -> Tensor:
        """Logits; ``model`` is :attr:`model`, wrapped where there are several processes."""


@dataclass(frozen=True)
class SupernetLearner:
    """A supernet, one path a step."""

    model: Supernet
    sampler: PathSampler

    def paths(self, step: int) -> tuple[Arch | None, ...]:
        """The step's one path."""
        return (self.sampler.draw(step),)

    def forward(self, model: nn.Module, images: Tensor, arch: Arch | None) -> Tensor:
        """Logits of the path."""
        logits: Tensor = model(images, arch)
        return logits


@dataclass(frozen=True)
class NetworkLearner:
    """One network."""

    model: nn.Module

    def paths(self, step: int) -> tuple[Arch | None, ...]:  # noqa: ARG002
        """Its architecture, in every step; None for a network of another family."""
        return (getattr(self.model, "arch", None),)

    def forward(self, model: nn.Module, images: Tensor, arch: Arch | None) -> Tensor:  # noqa: ARG002
        """Its logits."""
        logits: Tensor = model(images)
        return logits
