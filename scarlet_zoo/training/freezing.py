"""Which parts of a network are trained: all, the classifier alone, or the later groups of its layers."""

from __future__ import annotations

from timm.models import group_parameters
from torch import nn

from scarlet_zoo.errors import TrainingError
from scarlet_zoo.models.weights.matching import listed
from scarlet_zoo.training.settings import BACKBONE


def head_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters of a network's classifier; empty for a network that does not say which."""
    config = getattr(model, "pretrained_cfg", None) or {}
    inside = tuple(f"{name}." for name in listed(config.get("classifier")))
    return tuple(name for name, _ in model.named_parameters() if inside and name.startswith(inside))


def freeze(model: nn.Module, what: int | str | None, label: str) -> None:
    """Take the gradient from a part of a network, in place.

    Args:
        model: the network.
        what: as :attr:`scarlet_zoo.training.settings.TrainSettings.freeze`.
        label: the network's name, for errors.

    Raises:
        TrainingError: the network does not say what its classifier or its groups of layers are, or has fewer.
    """
    if what is None:
        return
    head = head_names(model)
    if not head:
        raise TrainingError(f"network {label!r}: does not say what its classifier is, so nothing of it can be frozen")
    frozen = {name for name, _ in model.named_parameters()} - set(head)
    if what != BACKBONE:
        groups = _groups_before(model, set(head), label)
        if int(what) >= len(groups):
            raise TrainingError(
                f"network {label!r}: got {what} groups of layers to freeze, wanted 0 to {len(groups) - 1}, or "
                f"{BACKBONE} for all"
            )
        frozen = {name for group in groups[: int(what) + 1] for name in group}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)


def _groups_before(model: nn.Module, head: set[str], label: str) -> list[list[str]]:
    """Names of parameters by groups of layers in timm's order: the stem, then each stage, without the classifier."""
    matcher = getattr(model, "group_matcher", None)
    if matcher is None:
        raise TrainingError(
            f"network {label!r}: does not say what its groups of layers are, wanted --freeze {BACKBONE}"
        )
    groups = group_parameters(model, matcher(coarse=True))
    return [names for _, names in sorted(groups.items()) if not head & set(names)]


def train_mode(model: nn.Module) -> None:
    """Set a network to train mode, except for its frozen modules, so that frozen batch norms keep their statistics."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()
