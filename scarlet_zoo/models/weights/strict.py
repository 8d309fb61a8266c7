"""Load tensors into a model in which every one must match, or say what does not and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from scarlet_zoo.errors import CheckpointError, HeadlessError
from scarlet_zoo.models.weights.matching import Checkpoint, listed, read_for


def load_tensors(model: nn.Module, found: Checkpoint) -> None:
    """Load a checkpoint's tensors into a model; every tensor must match.

    A model without a classifier (``num_classes=0``) takes a file with one and leaves it out, whatever its name.

    Raises:
        HeadlessError: the file has no classifier, or one of another kind, and else all of the model.
        CheckpointError: a tensor is missing, unknown, of another shape, no floating point or not finite; the message
            names it, and says what to type for a network of another number of classes or channels.
    """
    config = getattr(model, "pretrained_cfg", None) or {}
    heads, stems = listed(config.get("classifier")), listed(config.get("first_conv"))
    if getattr(model, "num_classes", None) == 0:
        found = _without_head(model, found, heads)
    _check_names(model, found, heads)
    for key, value in model.state_dict().items():
        got = found.state[key]
        if got.shape != value.shape:
            raise CheckpointError(_other_shape(found.path, key, got, value, heads, stems))
        if value.is_floating_point() and not got.is_floating_point():
            raise CheckpointError(f"{found.path}: tensor {key!r} is {got.dtype}, wanted {value.dtype}")
    check_finite(found.state, str(found.path), model.state_dict())
    model.load_state_dict(found.state)


def _without_head(model: nn.Module, found: Checkpoint, heads: tuple[str, ...]) -> Checkpoint:
    own = {key.partition(".")[0] for key in model.state_dict()}
    behind = tuple(f"{name}." for name in heads)
    state = {key: tensor for key, tensor in found.state.items()
             if key.partition(".")[0] in own and not key.startswith(behind)}  # fmt: skip
    return replace(found, state=state)


def _check_names(model: nn.Module, found: Checkpoint, heads: tuple[str, ...]) -> None:
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in found.state]
    unknown = [key for key in found.state if key not in wanted]
    if not missing and not unknown:
        return
    first = f"lacks tensor {missing[0]!r}" if missing else f"holds tensor {unknown[0]!r}"
    counts = f"({len(missing)} missing, {len(unknown)} unknown of {len(wanted)})"
    behind = tuple(f"{name.partition('.')[0]}." for name in heads)
    if behind and all(key.startswith(behind) for key in missing or unknown):
        # The body is this network's, to the last tensor.
        if unknown:
            advice = "build it in torch and give it to scarlet_zoo.export"
            raise HeadlessError(
                f"{found.path}: has a classifier of its own, {unknown[0]!r}: {first} {counts}; {advice}"
            )
        advice = "give --num-classes 0 for its features"
        raise HeadlessError(f"{found.path}: has no classifier: {first} {counts}; {advice}")
    raise CheckpointError(f"{found.path}: for another network: {first} {counts}")


def _other_shape(
    path: Path, key: str, got: Tensor, wanted: Tensor, heads: tuple[str, ...], stems: tuple[str, ...]
) -> str:
    """The error for a tensor of another shape: of a head or a stem, of another image size, or of another network."""
    module, shapes = (
        key.rpartition(".")[0],
        f"tensor {key!r} has shape {tuple(got.shape)}, wanted {tuple(wanted.shape)}",
    )
    if module in heads and got.ndim == wanted.ndim and got.ndim > 0 and got.shape[1:] == wanted.shape[1:]:
        return f"{path}: has {len(got)} classes, wanted {len(wanted)}: {shapes}; give --num-classes {len(got)}"
    if (
        module in stems
        and got.ndim == wanted.ndim > 1
        and len(got) == len(wanted)
        and got.shape[2:] == wanted.shape[2:]
    ):
        channels, own = got.shape[1], wanted.shape[1]
        return f"{path}: takes {channels} channels, wanted {own}: {shapes}; give --in-chans {channels}"
    if "pos" in key.rpartition(".")[2]:
        return f"{path}: for another network or another image size: {shapes}"
    return f"{path}: for another network: {shapes}"


def check_finite(state: Mapping[str, Tensor], where: str, own: Mapping[str, Tensor] | None = None) -> None:
    """Refuse tensors with values that are not finite.

    Args:
        state: the tensors by name.
        where: what holds them, for the error message.
        own: tensors that the model has without weights; those that are not finite may stay so.

    Raises:
        CheckpointError: the message names the first such tensor.
    """
    broken = [key for key, tensor in state.items() if not torch.isfinite(_readable(tensor)).all()]
    broken = [key for key in broken if own is None or torch.isfinite(own[key]).all()]
    if broken:
        raise CheckpointError(
            f"{where}: tensor {broken[0]!r} holds values that are not finite ({len(broken)} such tensors), "
            "wanted finite values"
        )


def _readable(tensor: Tensor) -> Tensor:
    """A tensor in a type that torch computes with; it only stores floats of eight bits."""
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor


def load_checkpoint(model: nn.Module, path: Path) -> Checkpoint:
    """Load weights from a file into a model; every tensor must match. Returns what was loaded.

    Raises:
        CheckpointError: the file cannot be read, or is for another network; the message names the
            first tensor that does not match.
    """
    found = read_for(model, path)
    load_tensors(model, found)
    return found


def load_state(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors into a model; every tensor must match.

    Args:
        model: the model.
        state: the tensors by name.
        path: path of the file that they were read from, for the error message.

    Raises:
        CheckpointError: a tensor is missing, unknown, of another shape or not finite; the message names it.
    """
    load_tensors(model, Checkpoint(path, dict(state)))
