"""Load a network by name with weights from a given source, and record where the weights come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import timm.data
import torch
from torch import nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.held_out import stated_training
from scarlet_zoo.data.labels import labels_of
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import extremes, photos
from scarlet_zoo.data.stated import stated_labels
from scarlet_zoo.errors import PretrainedError, ScarletError
from scarlet_zoo.models.origins import Loaded, with_weights
from scarlet_zoo.models.random_weights import randomize
from scarlet_zoo.models.weights.cards import RANDOM_WEIGHTS
from scarlet_zoo.models.weights.checkpoint import state_sha256

_CALIBRATION_PHOTOS = 12
_CALIBRATION_PIXELS = 16 * 3 * 1024**2  # of all calibration images: of larger ones there are fewer
# A side of a square input in pixels, or (height, width).
InputSize = int | tuple[int, int]


@dataclass(frozen=True)
class Network:
    """A network in eval mode with its description.

    Attributes:
        name: the name that the user gave, or that the user's weights file states.
        model: the torch model.
        arch: its architecture; None for networks of other search spaces than ours.
        weights: where the weights come from, in words that every report repeats.
        weights_sha256: digest of its state dict.
        preprocessing: how an image becomes its input.
        preprocessing_given: whether someone gave the preprocessing, in the place of the network's own.
        labels: class names in the order of the logits; None for random weights or unknown names.
        source: for a network of a folder or of the hub the name that creates it again, from any working folder.
        training: what the weights file states about the images of the training: ``data``, ``validation`` and ``split``.
    """

    name: str
    model: nn.Module
    arch: Arch | None
    weights: str
    weights_sha256: str
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None = None
    source: str | None = None
    training: Mapping[str, str] = field(default_factory=dict)
    preprocessing_given: bool = False

    @property
    def trained(self) -> bool:
        """Whether the weights are trained, rather than random."""
        return self.weights != RANDOM_WEIGHTS


def load_network(
    name: str | Arch,
    weights: str = "auto",
    *,
    input_size: InputSize | None = None,
    features: tuple[int, ...] | None = None,
    labels: Sequence[str] | None = None,
    **kwargs: Any,
) -> Network:
    """Create a network and load its weights.

    Args:
        name: a registered name, an identity string, any timm name, ``local-dir:FOLDER``, ``hf-hub:OWNER/NAME``, a
            safetensors file that states its network, or an architecture, of your own space too.
        weights: ``random`` (seed 0, the same in every process); the path of a weights file; ``pretrained``: the
            weights imported for the name, else those that this package ships, else those that timm has registered,
            which are downloaded, or those in the folder or repository; or ``auto``, the same, but a network that
            has no pretrained weights anywhere gets random ones.
        input_size: side of the input in pixels, or (height, width); that of the model when left out.
        features: feature levels; the network is then a feature extractor instead of a classifier.
        labels: class names in the order of the logits; those that belong to the weights when left out.
        kwargs: further arguments of ``timm.create_model``; ``num_classes`` and ``in_chans`` are those of a weights
            file when left out.

    Raises:
        PretrainedError: there are pretrained weights, but they cannot be got.
        ScarletError: an unknown name, or a weights file that cannot be used.
    """
    arguments = {key: value for key, value in kwargs.items() if value is not None}
    if features is not None:
        arguments |= {"features_only": True, "out_indices": features}
    loaded = with_weights(name, weights, arguments)
    model, name = loaded.model, loaded.name or str(name)
    preprocessing = _preprocessing(model, loaded.metadata, input_size)
    if loaded.origin == RANDOM_WEIGHTS:
        _randomize(model, preprocessing, name)
    model.eval()
    classes = 0 if features is not None else int(getattr(model, "num_classes", 0))
    return Network(
        name=name,
        model=model,
        arch=getattr(model, "arch", None),
        weights=loaded.origin,
        weights_sha256=state_sha256(model.state_dict()),
        preprocessing=preprocessing,
        labels=_labels(loaded, labels, classes, name),
        source=loaded.source,
        training=stated_training(loaded.metadata),
    )


def load_to_time(
    name: str | Arch, weights: str = "auto", *, say: Callable[[str], None] = lambda _: None, **kwargs: Any
) -> Network:
    """Load a network whose speed alone matters: with random weights where its pretrained ones cannot be got.

    Args:
        name, weights, kwargs: as for :func:`load_network`. Only ``auto`` falls back to random weights.
        say: called with a line that says so.

    Raises:
        ScarletError: as for :func:`load_network`.
    """
    try:
        return load_network(name, weights, **kwargs)
    except PretrainedError as error:
        if weights != "auto":
            raise
        reason = str(error).partition("; wanted")[0].partition(", wanted")[0]
        say(f"{reason}; timed with random weights, which take as long")
        return load_network(name, "random", **kwargs)


def network_of(
    model: nn.Module,
    *,
    name: str | None = None,
    weights: str = "not stated",
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
    input_size: InputSize | None = None,
) -> Network:
    """Describe any torch model as a :class:`Network`, so that it can be exported, verified and measured.

    Args:
        model: a model in eval mode, from images (N, C, H, W) to logits (N, classes).
        name: name for its files; when left out, timm's name of the architecture, else the name of its class.
        weights: where its weights come from, for reports and files.
        preprocessing: how an image becomes its input; timm's configuration of the model when left out.
        labels: class names in the order of the logits.
        input_size: side of the input in pixels, or (height, width); that of the preprocessing when left out.
    """
    feed = preprocessing or preprocessing_of(model)
    registered = (getattr(model, "pretrained_cfg", None) or {}).get("architecture")
    return Network(
        name=name or registered or type(model).__name__.lower(),
        model=model,
        arch=getattr(model, "arch", None),
        weights=weights,
        weights_sha256=state_sha256(model.state_dict()),
        preprocessing=sized(feed, input_size),
        labels=tuple(labels) if labels is not None else None,
    )


def _preprocessing(model: nn.Module, metadata: Mapping[str, str], input_size: InputSize | None) -> Preprocessing:
    if "preprocessing" not in metadata:
        return preprocessing_of(model, input_size)
    return sized(Preprocessing.from_json(metadata["preprocessing"]), input_size)


def sized(preprocessing: Preprocessing, input_size: InputSize | None) -> Preprocessing:
    """Return a preprocessing with another size of the input; None leaves it as it is."""
    if input_size is None:
        return preprocessing
    return replace(preprocessing, size=(input_size, input_size) if isinstance(input_size, int) else input_size)


def _labels(loaded: Loaded, given: Sequence[str] | None, classes: int, name: str) -> tuple[str, ...] | None:
    if given is not None:
        return labels_of(given, classes, name)
    if loaded.origin == RANDOM_WEIGHTS:
        return None
    stored = stated_labels(loaded.metadata, name)
    return labels_of(stored if stored and classes else loaded.labels, classes, name)


def _randomize(model: nn.Module, preprocessing: Preprocessing, name: str) -> None:
    try:
        randomize(model, calibration_images(preprocessing))
    except (RuntimeError, ValueError, AssertionError) as error:
        if isinstance(error, ScarletError):
            raise
        reason = str(error).strip().split("\n")[0]
        height, width = preprocessing.size
        raise ScarletError(f"model {name!r}: fails on an image of {height} x {width} pixels: {reason}") from error


def preprocessing_of(model: nn.Module, input_size: InputSize | None = None) -> Preprocessing:
    """Return a model's preprocessing, from its timm configuration.

    Args:
        model: the model.
        input_size: side of the input in pixels, or (height, width); that of the configuration when left out.
    """
    config = timm.data.resolve_model_data_config(model)
    channels = getattr(model, "in_chans", config["input_size"][0])
    own = Preprocessing.from_config({**config, "input_size": (channels, *config["input_size"][1:])})
    return sized(own, input_size)


def calibration_images(preprocessing: Preprocessing) -> torch.Tensor:
    """Return the images that random weights are calibrated on, (N, C, H, W): photographs and four extreme images.

    There are twelve photographs, and fewer where images are larger than 1024 x 1024 in three channels.
    Without the extreme images an untrained network amplifies the rounding errors of a white image a
    thousandfold. Networks with neither 1 nor 3 input channels get noise instead of photographs.
    """
    edge = torch.from_numpy(extremes(preprocessing.channels, *preprocessing.size))
    count = max(1, min(_CALIBRATION_PHOTOS, _CALIBRATION_PIXELS // math.prod(edge.shape[1:]) - len(edge)))
    if preprocessing.channels in (1, 3):
        return torch.cat([torch.from_numpy(preprocessing.batch(photos(count))), edge])
    random = torch.Generator().manual_seed(0)
    return torch.cat([torch.randn((count, *edge.shape[1:]), generator=random), edge])
