"""A name and a source of weights to a network that is ready to deploy, with its provenance."""

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
    """A network in eval mode and what must be said of it.

    Attributes:
        name: as the user gave it.
        arch: its architecture, for networks of our spaces.
        weights: where the weights come from, in the words that every report repeats.
        weights_sha256: digest of its state dict.
        labels: class names in the order of the logits, where the weights are trained and known.
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
        """Whether its answers mean anything."""
        return self.weights != RANDOM_WEIGHTS


def load_network(
    name: str,
    weights: str = "auto",
    *,
    input_size: int | None = None,
    features: tuple[int, ...] | None = None,
    **kwargs: Any,
) -> Network:
    """Create a network with weights.

    Args:
        name: a registered name, an identity string, or any timm name.
        weights: ``random`` (seed 0, the same in every process), a file, or by the rule of
            :func:`scarlet_zoo.models.weights.store.local_weights`: ``pretrained``, or ``auto``, which takes random ones
            where there are none on this machine.
        input_size: side of the square input in pixels; the model's own when left out.
        features: feature levels for a feature extractor in the classifier's place.
        kwargs: for ``timm.create_model``.

    Raises:
        ScarletError: an unknown name or an unusable file, each with its reason.
    """
    if features is not None:
        kwargs |= {"features_only": True, "out_indices": features}
    model, said, told = _with_weights(name, weights, kwargs)
    preprocessing = _preprocessing(model, told, input_size)
    if said == RANDOM_WEIGHTS:
        _randomize(model, preprocessing, name)
    model.eval()
    classes = 0 if features is not None else int(getattr(model, "num_classes", 0))
    return Network(
        name=name,
        model=model,
        arch=getattr(model, "arch", None),
        weights=said,
        weights_sha256=state_sha256(model.state_dict()),
        preprocessing=preprocessing,
        labels=_labels(told, classes, name) if said != RANDOM_WEIGHTS else None,
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
    """A torch model of one's own with what must be said of it.

    Args:
        model: in eval mode; images (N, C, H, W) to logits (N, classes).
        name: of its file; timm's name of its architecture, or its class's, when left out.
        weights: where its weights come from, for reports and files.
        preprocessing: how it is fed; timm's configuration of it when left out.
        labels: names of its classes in the order of the logits.
        input_size: side of the square input in pixels; the preprocessing's when left out.
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


def _with_weights(name: str, weights: str, kwargs: dict[str, Any]) -> tuple[nn.Module, str, dict[str, str]]:
    """The network, where its weights come from, and what their file says of itself."""
    local = local_weights(name) if weights in ("auto", "pretrained") else None
    if local is not None:
        return _from_file(name, local.path, kwargs), local.origin, read_metadata(local.path)
    if weights in ("auto", "random"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return create_model(name, **kwargs), RANDOM_WEIGHTS, {}
    if weights == "pretrained":
        return _pretrained(name, kwargs), f"pretrained {name}", {}
    path = Path(weights)
    return _from_file(name, path, kwargs), f"file {path.name}", read_metadata(path)


def _from_file(name: str, path: Path, kwargs: dict[str, Any]) -> nn.Module:
    """The network as its weights file says that it was trained: its space, its classes, its stabilizers."""
    told = read_metadata(path)
    arguments: dict[str, Any] = {}
    if "labels" in told:
        arguments["num_classes"] = len(json.loads(told["labels"]))
    if "preprocessing" in told:
        arguments["in_chans"] = Preprocessing.from_json(told["preprocessing"]).channels
    if told.get("stabilized") == "True":
        arguments["stabilized"] = True
    network: str | Arch = name
    if is_identity_string(name) and "space" in told:
        space = SearchSpace.from_json(told["space"])
        network = Arch.parse(name, space) if name.startswith(f"{space.name}:") else name
    return create_model(network, checkpoint_path=path, **{**arguments, **kwargs})


def _preprocessing(model: nn.Module, told: Mapping[str, str], input_size: int | None) -> Preprocessing:
    if "preprocessing" not in told:
        return preprocessing_of(model, input_size)
    said = Preprocessing.from_json(told["preprocessing"])
    return replace(said, size=(input_size, input_size)) if input_size else said


def _labels(told: Mapping[str, str], classes: int, name: str) -> tuple[str, ...] | None:
    given = tuple(json.loads(told["labels"])) if "labels" in told and classes else None
    return labels_of(given, classes, name)


def _randomize(model: nn.Module, preprocessing: Preprocessing, name: str) -> None:
    try:
        randomize(model, calibration_images(preprocessing))
    except (RuntimeError, ValueError, AssertionError) as error:
        if isinstance(error, ScarletError):
            raise
        reason = str(error).strip().split("\n")[0]
        height, width = preprocessing.size
        raise ScarletError(f"model {name!r}: does not run on {height} x {width} pixels: {reason}") from error


def _pretrained(name: str, kwargs: dict[str, Any]) -> nn.Module:
    try:
        return create_model(name, pretrained=True, **kwargs)
    except ScarletError as error:
        raise ScarletError(f"pretrained weights of {name!r}: not to be had here: {error}") from error


def preprocessing_of(model: nn.Module, input_size: int | None = None) -> Preprocessing:
    """How a model wants its images, from timm's configuration of it."""
    config = timm.data.resolve_model_data_config(model)
    channels = getattr(model, "in_chans", config["input_size"][0])
    height, width = (input_size, input_size) if input_size else config["input_size"][1:]
    return Preprocessing.from_config({**config, "input_size": (channels, height, width)})


def calibration_images(preprocessing: Preprocessing) -> torch.Tensor:
    """What random weights are calibrated on, (16, C, H, W): photographs and four extreme images.

    Without the extreme ones an untrained network amplifies a white image's rounding a
    thousandfold. A network that takes no images gets noise in their place.
    """
    edge = torch.from_numpy(extremes(preprocessing.channels, *preprocessing.size))
    if preprocessing.channels in (1, 3):
        return torch.cat([torch.from_numpy(preprocessing.batch(photos(_CALIBRATION_PHOTOS))), edge])
    random = torch.Generator().manual_seed(0)
    return torch.cat([torch.randn((_CALIBRATION_PHOTOS, *edge.shape[1:]), generator=random), edge])
