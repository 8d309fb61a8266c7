"""Bring the tensors of a checkpoint under the names of a network."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scarlet_zoo.errors import CheckpointError
from scarlet_zoo.models.weights.checkpoint import from_released, looks_released, read_tensors
from scarlet_zoo.models.weights.unwrap import averaged

# Torch's compiler wraps a module in one with this name; it may stand anywhere in a name.
_COMPILED = "_orig_mod."
# What profilers (thop) and averages (torch.optim.swa_utils) keep among the weights.
_NOT_WEIGHTS = ("total_ops", "total_params", "n_averaged", "num_updates")
_COUNTER = "num_batches_tracked"
# A prefix names an average if it holds one of these words between its dots and underscores.
_AVERAGES = {"ema", "averaged", "swa"}
# Names that timm gives to the functions that translate the weights of former or other implementations.
_FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained", "checkpoint_filter_fn_classifier")
# A prefix is taken off if at least this share of the network's tensors is behind it.
_SHARE = 0.5


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's tensors under the names of a network.

    Attributes:
        path: path of the file.
        state: tensors by name.
        taken: what was taken where the file holds averaged weights; empty where there was nothing to choose.
    """

    path: Path
    state: dict[str, Tensor]
    taken: str = ""

    @property
    def note(self) -> str:
        """What was taken, in brackets, for the words that say where weights come from."""
        return f" ({self.taken})" if self.taken else ""


def read_for(model: nn.Module, path: Path) -> Checkpoint:
    """Read a checkpoint and bring its tensors under a model's names; nothing is loaded or checked yet.

    Wrappers' prefixes are taken off, what is no weight is left out, counters of batch norms that old files lack are
    added, and weights of former implementations are renamed by the model's own function in timm.

    Args:
        model: the model; its values are not changed.
        path: a safetensors file, a state dict, or a training checkpoint.

    Raises:
        CheckpointError: the file cannot be read, holds several networks that fit, or a released SCARLET network
            that does not fit.
    """
    tensors = read_tensors(path)
    wanted = dict(model.state_dict())
    state = {key.replace(_COMPILED, ""): tensor for key, tensor in tensors.state.items()}
    state = {key: tensor for key, tensor in state.items() if _leaf(key) not in _NOT_WEIGHTS or key in wanted}
    found = Checkpoint(path, state, tensors.taken)
    found = _unreleased(model, _without_prefix(found, wanted))
    if wanted.keys() - found.state.keys():
        found = _filtered(model, found, wanted)
    state = {key: tensor for key, tensor in found.state.items() if _leaf(key) != _COUNTER or key in wanted}
    for key, value in wanted.items():
        if _leaf(key) == _COUNTER:
            state.setdefault(key, value)
    if hasattr(getattr(model, "feature_info", None), "out_indices") and not hasattr(model, "classifier"):
        # A feature extractor has only a part of the network's tensors.
        state = {key: tensor for key, tensor in state.items() if key in wanted}
    return replace(found, state=state)


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _without_prefix(found: Checkpoint, wanted: Mapping[str, Tensor]) -> Checkpoint:
    """Take off the prefix behind which the network's tensors stand, whatever wrapped them."""
    cover = {prefix: sum(f"{prefix}{key}" in found.state for key in wanted) for prefix in _prefixes(found, wanted)}
    most = max(cover.values(), default=0)
    best = [prefix for prefix, count in cover.items() if count == most]
    if most < _SHARE * len(wanted) or best == [""]:
        return found
    means = [prefix for prefix in best if _AVERAGES & set(prefix.replace(".", "_").split("_"))]
    chosen = means or best
    if len(chosen) > 1:
        names = " and ".join(repr(prefix.rstrip(".")) if prefix else "one without a prefix" for prefix in chosen)
        raise CheckpointError(f"{found.path}: holds several networks that fit, {names}, wanted a file with one of them")
    (prefix,) = chosen
    state = {key.removeprefix(prefix): tensor for key, tensor in found.state.items() if key.startswith(prefix)}
    choice = averaged(prefix.rstrip(".")) if means and len(best) > 1 else ""
    return Checkpoint(found.path, state, found.taken or choice)


def _prefixes(found: Checkpoint, wanted: Mapping[str, Tensor]) -> list[str]:
    """Everything that stands before the name of one of a few of the network's tensors."""
    weights = [key for key in wanted if _leaf(key) != _COUNTER]
    samples = weights[:: max(1, len(weights) // 8)]
    ends = {
        key.removesuffix(sample)
        for key in found.state
        for sample in samples
        if key == sample or key.endswith(f".{sample}")
    }
    return sorted(ends)


def _unreleased(model: nn.Module, found: Checkpoint) -> Checkpoint:
    """Rename the released SCARLET code's tensors."""
    bare = {key.removeprefix("module."): tensor for key, tensor in found.state.items()}
    if not looks_released(bare):
        return found
    arch: Any = getattr(model, "arch", None)
    if arch is None:
        raise CheckpointError(
            f"{found.path}: got a released SCARLET checkpoint, wanted weights of a {type(model).__name__}"
        )
    return replace(found, state=from_released(bare, arch, found.path))


def _filtered(model: nn.Module, found: Checkpoint, wanted: Mapping[str, Tensor]) -> Checkpoint:
    """Rename weights of a former or another implementation by the model's own function in timm, if that helps."""
    translate = _timm_filter(model)
    if translate is None:
        return found
    for state in _unwrapped(found.state):
        try:
            renamed = translate(dict(state), model)
        except Exception:
            # The functions are written for certain files and fail in many ways on others.
            continue
        if isinstance(renamed, Mapping) and len(wanted.keys() & renamed.keys()) > len(wanted.keys() & found.state):
            return replace(found, state=dict(renamed))
    return found


def _unwrapped(state: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors as they are, and without each first part of the names that all of them share."""
    yield state
    while len(first := {key.partition(".")[0] for key in state}) == 1 and all("." in key for key in state):
        state = {key.removeprefix(f"{next(iter(first))}."): tensor for key, tensor in state.items()}
        yield state


def _timm_filter(model: nn.Module) -> Callable[[dict[str, Tensor], nn.Module], Any] | None:
    # Not imported at the top: importing timm may import this module.
    import timm

    name = (getattr(model, "pretrained_cfg", None) or {}).get("architecture")
    if not name or not timm.is_model(name):
        return None
    module = sys.modules[timm.model_entrypoint(name).__module__]
    translate = next((getattr(module, known) for known in _FILTERS if hasattr(module, known)), None)
    if translate is None:
        return None

    def filtered(state: dict[str, Tensor], target: nn.Module) -> Any:
        try:
            return translate(state, target)
        except TypeError:
            return translate(state)

    return filtered


def arguments_in(model: nn.Module, found: Checkpoint) -> dict[str, int]:
    """Return the arguments ``num_classes`` and ``in_chans`` of the network in a file, where they differ from a model's.

    The classifier and the first convolution are those that timm's configuration of the model names.
    """
    config, wanted = getattr(model, "pretrained_cfg", None) or {}, model.state_dict()
    arguments: dict[str, int] = {}
    for name, key in (("num_classes", "classifier"), ("in_chans", "first_conv")):
        for module in listed(config.get(key)):
            got, own = found.state.get(f"{module}.weight"), wanted.get(f"{module}.weight")
            if got is None or own is None or got.ndim != own.ndim or got.ndim < 2:
                continue
            axis = 0 if name == "num_classes" else 1
            now = int(getattr(model, name, own.shape[axis]))
            count = now * got.shape[axis] // own.shape[axis]
            if count > 0 and count != now:
                arguments.setdefault(name, count)
    return arguments


def listed(names: object) -> tuple[str, ...]:
    """The modules that an entry of timm's configuration names: none, one or several."""
    return (names,) if isinstance(names, str) else tuple(names) if isinstance(names, (list, tuple)) else ()
