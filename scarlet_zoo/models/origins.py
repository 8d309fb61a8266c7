"""Create a network with weights from where they were asked for: a file, this machine, a folder, timm, or at random."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from scarlet_zoo.arch.architecture import Arch, is_identity_string
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.data.labels import names_in
from scarlet_zoo.errors import CheckpointError, PretrainedError, ScarletError
from scarlet_zoo.models.scarlet import check_digest, check_loaded, create_from_file, create_model
from scarlet_zoo.models.weights.cards import RANDOM_WEIGHTS
from scarlet_zoo.models.weights.checkpoint import read_metadata, read_tensors
from scarlet_zoo.models.weights.download import fetch_repository, fetch_weights
from scarlet_zoo.models.weights.stated import arguments_stated, is_weights_file, stated_network
from scarlet_zoo.models.weights.store import local_weights
from scarlet_zoo.models.weights.strict import check_finite

_FOLDER, _HUB = "local-dir:", ("hf-hub:", "hf_hub:")
# Names of weights in a folder in timm's order, then endings.
_USUAL_FILES = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
_ENDINGS = (".safetensors", ".pth", ".pth.tar", ".bin")


@dataclass(frozen=True)
class Loaded:
    """A network with its weights.

    Attributes:
        model: the torch model; random weights are those of torch's initialisation.
        origin: where the weights come from, in words.
        metadata: the metadata of the weights file.
        source: the folder or repository that the network comes from, as a name; None for a registered network.
        labels: class names in the configuration that belongs to the weights, if it has any.
        name: the network's name as a weights file states it, where the caller gave only the file.
    """

    model: nn.Module
    origin: str
    metadata: dict[str, str] = field(default_factory=dict)
    source: str | None = None
    labels: tuple[str, ...] | None = None
    name: str | None = None


def with_weights(network: str | Arch, weights: str, arguments: dict[str, Any]) -> Loaded:
    """Create a network with weights, by the rule of :func:`scarlet_zoo.models.loading.load_network`.

    Args:
        network: a name, an identity string or an architecture.
        weights: ``auto``, ``pretrained``, ``random`` or the path of a file.
        arguments: further arguments of ``timm.create_model``.

    Raises:
        PretrainedError: there are pretrained weights, but they cannot be got.
        ScarletError: an unknown name, or weights that do not fit.
    """
    name, asked = str(network), weights in ("auto", "pretrained")
    if is_weights_file(name):
        return _of_stated(Path(name), weights, arguments)
    if name.startswith((_FOLDER, *_HUB)):
        return _of_repository(name, weights, arguments)
    local = local_weights(name) if asked else None
    if local is not None:
        model, _ = from_file(network, local.path, arguments)
        return Loaded(model, local.origin, read_metadata(local.path))
    if weights == "pretrained" or (asked and has_pretrained(name)):
        return _pretrained(name, arguments)
    if asked or weights == "random":
        return _random(network, arguments)
    path = Path(weights)
    model, note = from_file(network, path, arguments)
    return Loaded(model, f"file {path.name}{note}", read_metadata(path))


def _of_stated(file: Path, weights: str, arguments: dict[str, Any]) -> Loaded:
    """Create the network that a weights file states, with its weights unless others are given."""
    network, metadata = stated_network(file), read_metadata(file)
    name = metadata.get("name") or str(network)
    if weights == "random":
        return replace(_random(network, {**arguments_stated(metadata), **arguments}), name=name)
    own = weights in ("auto", "pretrained")
    path = file if own else Path(weights)
    model, note = from_file(network, path, arguments)
    source = str(file.resolve()) if own else None
    return Loaded(model, f"file {path.name}{note}", read_metadata(path), source, name=name)


def has_pretrained(name: str) -> bool:
    """Whether timm has registered pretrained weights for a name, or the name is that of a folder or a repository."""
    if name.startswith((_FOLDER, *_HUB)):
        return True
    if is_identity_string(name):
        return False
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:
        # An unknown name or tag, which the creation of the network says better.
        return False
    return bool(config is not None and config.has_weights)


def _random(network: str | Arch, arguments: dict[str, Any]) -> Loaded:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Loaded(create_model(network, **arguments), RANDOM_WEIGHTS)


def from_file(network: str | Arch, path: Path, given: dict[str, Any]) -> tuple[nn.Module, str]:
    """Create a network with the search space, classes and stabilizers that its weights file states.

    Args:
        network: a name, an identity string or an architecture.
        path: the weights file.
        given: arguments of ``timm.create_model`` that replace the stated ones.

    Returns:
        The network, and in brackets what was taken of a file that holds averaged weights; empty for other files.

    Raises:
        CheckpointError: the weights file does not hold this network's weights.
    """
    metadata = read_metadata(path)
    if isinstance(network, str) and is_identity_string(network) and "space" in metadata:
        space = SearchSpace.from_json(metadata["space"], path)
        network = Arch.parse(network, space) if network.startswith(f"{space.name}:") else network
    return create_from_file(network, path, **{**arguments_stated(metadata), **given})


def _of_repository(name: str, weights: str, arguments: dict[str, Any]) -> Loaded:
    """Create the network of a folder or a repository of the hub, with the weights in it unless others are given."""
    kind, _, place = name.partition(":")
    asked = weights in ("auto", "pretrained")
    folder = Path(place) if f"{kind}:" == _FOLDER else fetch_repository(place, weights=asked)
    source = f"{_FOLDER}{folder.resolve()}" if f"{kind}:" == _FOLDER else name
    # The hub's client keeps a repository's files in a folder, so it is a folder from here on.
    network = f"{_FOLDER}{folder}"
    if weights == "random":
        loaded = _random(network, arguments)
        return Loaded(loaded.model, loaded.origin, source=source)
    path = _weights_in(folder) if asked else Path(weights)
    model, note = from_file(network, path, arguments)
    if asked:
        read = check_digest(read_tensors(path).state, model)
        check_loaded(read, model)
    origin = f"pretrained {name}{note}" if asked else f"file {path.name}{note}"
    return Loaded(model, origin, read_metadata(path), source, _labels(model))


def _weights_in(folder: Path) -> Path:
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder, wanted one with config.json and weights")
    usual = [folder / name for name in _USUAL_FILES if (folder / name).is_file()]
    if usual:
        return usual[0]
    for ending in _ENDINGS:
        found = sorted(folder.glob(f"*{ending}"))
        if len(found) > 1:
            names = " ".join(path.name for path in found)
            raise CheckpointError(f"{folder}: holds several weights files, {names}, wanted --weights with one of them")
        if found:
            return found[0]
    raise PretrainedError(f"{folder}: holds no weights, wanted {_USUAL_FILES[0]} in it, --weights FILE, or "
                          "--weights random")  # fmt: skip


def _pretrained(name: str, arguments: dict[str, Any]) -> Loaded:
    """Create a network with the weights that timm has registered for its name."""
    config = timm.get_pretrained_cfg(name) if has_pretrained(name) else None
    if config is None:
        try:
            return Loaded(create_model(name, pretrained=True, **arguments), f"pretrained {name}")
        except ScarletError as error:
            raise ScarletError(f"pretrained weights of {name!r}: cannot be loaded: {error}") from error
    adapted = _adapted(name, config, arguments)
    overlay = {"file": str(fetch_weights(name, config.to_dict())), "custom_load": bool(config.custom_load)}
    try:
        model = create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **arguments)
    except ScarletError as error:
        raise ScarletError(f"pretrained weights of {name!r}: cannot be loaded: {error}") from error
    check_finite(dict(model.named_parameters()), f"pretrained weights of {name!r}")
    return Loaded(model, f"pretrained {name}{adapted}", labels=_labels(model))


def _adapted(name: str, config: Any, arguments: dict[str, Any]) -> str:
    """Refuse a head that timm would make at random; return the words that say which channels it adapts."""
    classes, channels = arguments.get("num_classes"), arguments.get("in_chans")
    own = config.input_size[0]
    if classes not in (None, 0, config.num_classes):
        raise CheckpointError(
            f"pretrained weights of {name!r}: have {config.num_classes} classes, got {classes}; wanted --weights FILE "
            "of a network that was trained for them, or --weights random"
        )
    if channels in (None, own):
        return ""
    if own != 3:
        raise CheckpointError(
            f"pretrained weights of {name!r}: take {own} channels, got {channels}; wanted --weights FILE of a network "
            "that was trained for them, or --weights random"
        )
    return f" (first convolution adapted to {channels} channels)"


def _labels(model: nn.Module) -> tuple[str, ...] | None:
    """The class names in a model's configuration, if it has one for each class."""
    names = names_in((getattr(model, "pretrained_cfg", None) or {}).get("label_names"))
    return names if names is not None and len(names) == getattr(model, "num_classes", 0) else None
