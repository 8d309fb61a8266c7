"""Load a network by name with weights from a given source, and record where the weights come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm.data
import torch
from torch import nn

from scarlet_zoo.arch.architecture import Arch, is_identity_string
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.data.labels import labels_of
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import extremes, photos
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.models.random_weights import RANDOM_WEIGHTS, randomize
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.models.weights.checkpoint import read_metadata, state_sha256
from scarlet_zoo.models.weights.store import local_weights

_CALIBRATION_PHOTOS = 12


@dataclass(frozen=True)
class Network:
    """A network in eval mode with its description.

    Attributes:
        name: the name that the user gave.
        model: the torch model.
        arch: its architecture; None for networks of other search spaces than ours.
        weights: where the weights come from, in words that every report repeats.
        weights_sha256: digest of its state dict.
        preprocessing: how an image becomes its input.
        labels: class names in the order of the logits; None for random weights or unknown names.
    """

    name: str
    model: nn.Module
    arch: Arch | None
    weights: str
    weights_sha256: str
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None = None

    @property
    def trained(self) -> bool:
        """Whether the weights are trained, rather than random."""
        return self.weights != RANDOM_WEIGHTS


def load_network(
    name: str | Arch,
    weights: str = "auto",
    *,
    input_size: int | None = None,
    features: tuple[int, ...] | None = None,
    **kwargs: Any,
) -> Network:
    """Create a network and load its weights.

    Args:
        name: a registered name, an identity string, any timm name, or an architecture, of your own space too.
        weights: ``random`` (seed 0, the same in every process); the path of a weights file; ``pretrained``; or
            ``auto``, which uses random weights if this machine has no others. The rule for the last two is that of
            :func:`scarlet_zoo.models.weights.store.local_weights`.
        input_size: side of the square input in pixels; that of the model when left out.
        features: feature levels; the network is then a feature extractor instead of a classifier.
        kwargs: further arguments of ``timm.create_model``.

    Raises:
        ScarletError: an unknown name, or a weights file that cannot be used.
    """
    if features is not None:
        kwargs |= {"features_only": True, "out_indices": features}
    model, origin, metadata = _with_weights(name, weights, kwargs)
    name = str(name)
    preprocessing = _preprocessing(model, metadata, input_size)
    if origin == RANDOM_WEIGHTS:
        _randomize(model, preprocessing, name)
    model.eval()
    classes = 0 if features is not None else int(getattr(model, "num_classes", 0))
    return Network(
        name=name,
        model=model,
        arch=getattr(model, "arch", None),
        weights=origin,
        weights_sha256=state_sha256(model.state_dict()),
        preprocessing=preprocessing,
        labels=_labels(metadata, classes, name) if origin != RANDOM_WEIGHTS else None,
    )


def network_of(
    model: nn.Module,
    *,
    name: str | None = None,
    weights: str = "not stated",
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
    input_size: int | None = None,
) -> Network:
    """Describe any torch model as a :class:`Network`, so that it can be exported, verified and measured.

    Args:
        model: a model in eval mode, from images (N, C, H, W) to logits (N, classes).
        name: name for its files; when left out, timm's name of the architecture, else the name of its class.
        weights: where its weights come from, for reports and files.
        preprocessing: how an image becomes its input; timm's configuration of the model when left out.
        labels: class names in the order of the logits.
        input_size: side of the square input in pixels; that of the preprocessing when left out.
    """
    feed = preprocessing or preprocessing_of(model)
    registered = (getattr(model, "pretrained_cfg", None) or {}).get("architecture")
    return Network(
        name=name or registered or type(model).__name__.lower(),
        model=model,
        arch=getattr(model, "arch", None),
        weights=weights,
        weights_sha256=state_sha256(model.state_dict()),
        preprocessing=replace(feed, size=(input_size, input_size)) if input_size else feed,
        labels=tuple(labels) if labels is not None else None,
    )


def _with_weights(network: str | Arch, weights: str, kwargs: dict[str, Any]) -> tuple[nn.Module, str, dict[str, str]]:
    """Return the network, the origin of its weights, and the metadata of the weights file."""
    name = str(network)
    local = local_weights(name) if weights in ("auto", "pretrained") else None
    if local is not None:
        return _from_file(network, local.path, kwargs), local.origin, read_metadata(local.path)
    if weights in ("auto", "random"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return create_model(network, **kwargs), RANDOM_WEIGHTS, {}
    if weights == "pretrained":
        return _pretrained(name, kwargs), f"pretrained {name}", {}
    path = Path(weights)
    return _from_file(network, path, kwargs), f"file {path.name}", read_metadata(path)


def _from_file(network: str | Arch, path: Path, kwargs: dict[str, Any]) -> nn.Module:
    """Create the network with the search space, classes and stabilizers in its weights file's metadata."""
    metadata = read_metadata(path)
    arguments: dict[str, Any] = {}
    if "labels" in metadata:
        arguments["num_classes"] = len(json.loads(metadata["labels"]))
    if "preprocessing" in metadata:
        arguments["in_chans"] = Preprocessing.from_json(metadata["preprocessing"]).channels
    if metadata.get("stabilized") == "True":
        arguments["stabilized"] = True
    if isinstance(network, str) and is_identity_string(network) and "space" in metadata:
        space = SearchSpace.from_json(metadata["space"])
        network = Arch.parse(network, space) if network.startswith(f"{space.name}:") else network
    return create_model(network, checkpoint_path=path, **{**arguments, **kwargs})


def _preprocessing(model: nn.Module, metadata: Mapping[str, str], input_size: int | None) -> Preprocessing:
    if "preprocessing" not in metadata:
        return preprocessing_of(model, input_size)
    feed = Preprocessing.from_json(metadata["preprocessing"])
    return replace(feed, size=(input_size, input_size)) if input_size else feed


def _labels(metadata: Mapping[str, str], classes: int, name: str) -> tuple[str, ...] | None:
    given = tuple(json.loads(metadata["labels"])) if "labels" in metadata and classes else None
    return labels_of(given, classes, name)


def _randomize(model: nn.Module, preprocessing: Preprocessing, name: str) -> None:
    try:
        randomize(model, calibration_images(preprocessing))
    except (RuntimeError, ValueError, AssertionError) as error:
        if isinstance(error, ScarletError):
            raise
        reason = str(error).strip().split("\n")[0]
        height, width = preprocessing.size
        raise ScarletError(f"model {name!r}: fails on an image of {height} x {width} pixels: {reason}") from error


def _pretrained(name: str, kwargs: dict[str, Any]) -> nn.Module:
    try:
        return create_model(name, pretrained=True, **kwargs)
    except ScarletError as error:
        raise ScarletError(f"pretrained weights of {name!r}: cannot be loaded: {error}") from error


def preprocessing_of(model: nn.Module, input_size: int | None = None) -> Preprocessing:
    """Return a model's preprocessing, from its timm configuration.

    Args:
        model: the model.
        input_size: side of the square input in pixels; that of the configuration when left out.
    """
    config = timm.data.resolve_model_data_config(model)
    channels = getattr(model, "in_chans", config["input_size"][0])
    height, width = (input_size, input_size) if input_size else config["input_size"][1:]
    return Preprocessing.from_config({**config, "input_size": (channels, height, width)})


def calibration_images(preprocessing: Preprocessing) -> torch.Tensor:
    """Return the images that random weights are calibrated on, (16, C, H, W): photographs and four extreme images.

    Without the extreme images an untrained network amplifies the rounding errors of a white image a
    thousandfold. Networks with neither 1 nor 3 input channels get noise instead of photographs.
    """
    edge = torch.from_numpy(extremes(preprocessing.channels, *preprocessing.size))
    if preprocessing.channels in (1, 3):
        return torch.cat([torch.from_numpy(preprocessing.batch(photos(_CALIBRATION_PHOTOS))), edge])
    random = torch.Generator().manual_seed(0)
    return torch.cat([torch.randn((_CALIBRATION_PHOTOS, *edge.shape[1:]), generator=random), edge])
