"""Where the first weights of a training come from: chance, a supernet, a trained network, or a finished run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scarlet_zoo.arch.architecture import Arch, is_identity_string
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.data.class_folders import Logits, match_folders
from scarlet_zoo.data.datasets import ImageData
from scarlet_zoo.data.held_out import TrainingImages
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.stated import stated_labels
from scarlet_zoo.errors import ArchError, DatasetError, HeadlessError, ScarletWarning, TrainingError
from scarlet_zoo.models.loading import InputSize, Network, load_network, preprocessing_of, sized
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.models.supernet import load_supernet
from scarlet_zoo.models.weights.checkpoint import read_metadata
from scarlet_zoo.training.run import NETWORK_FILE, RUN_FILE, read_run

# Opens the data for a preprocessing, and for logits that the classes are matched to.
Open = Callable[[Preprocessing, Logits | None], ImageData]


@dataclass(frozen=True)
class Start:
    """A network with the weights that its training starts from, and its data.

    Attributes:
        model: the network.
        feed: its preprocessing.
        images: the data set, prepared for it.
        words: where the weights come from, in words that are part of the run's identity.
        facts: the same as JSON values, for ``run.json``.
    """

    model: nn.Module
    feed: Preprocessing
    images: ImageData
    words: str
    facts: Mapping[str, Any]


def own_model(model: nn.Module, opened: Open, size: InputSize | None) -> Start:
    """Start from a torch model as it is."""
    feed = preprocessing_of(model, size)
    return Start(model, feed, opened(feed, None), "scratch", {"weights": "the model's own"})


def from_scratch(name: str, opened: Open, size: InputSize | None, space: SearchSpace | None, seed: int) -> Start:
    """Start from random weights, drawn from the seed.

    Raises:
        ArchError, UnknownNameError: no such network.
    """
    wanted = _network_of(name, space)
    feed = preprocessing_of(create_model(wanted), size)
    images = opened(feed, None)
    # Initialise again from the seed: the first network has drawn random numbers and may have other classes.
    torch.manual_seed(seed)
    model = create_model(wanted, num_classes=len(images.classes))
    return Start(model, feed, images, "scratch", {"weights": f"random, seed {seed}"})


def from_supernet(name: str, opened: Open, size: InputSize | None, file: Path) -> Start:
    """Start from the weights that an architecture has in a supernet.

    Raises:
        ArchError: not an architecture of the supernet's space.
        TrainingError: the supernet has other classes than the data.
    """
    supernet, described = load_supernet(file)
    arch = _network_of(name, supernet.space)
    if not isinstance(arch, Arch):
        raise ArchError(f"network {name!r}: not an architecture of a search space, wanted one of the supernet's space")
    feed = preprocessing_of(create_model(arch), size)
    labels = stated_labels(described, file)
    images = opened(feed, None if labels is None else Logits(str(file), supernet.space.num_classes, labels))
    classes = supernet.space.num_classes
    if classes != len(images.classes):
        raise TrainingError(
            f"{file}: got a supernet for {classes} classes, wanted {len(images.classes)} as in {images.name}"
        )
    warn_of_other_split(file, described, images)
    digest = described.get("sha256", "")
    facts = {"weights": f"supernet {file.name}", "sha256": digest, "data": described.get("data")}
    return Start(supernet.subnet(arch).train(), feed, images, f"supernet {digest[:12]}", facts)


def from_weights(
    name: str, opened: Open, size: InputSize | None, space: SearchSpace | None, weights: str, seed: int
) -> Start:
    """Start from trained weights, by the rule of :func:`scarlet_zoo.models.loading.load_network`.

    The preprocessing is that of the weights, except for a size that is given. The classifier is kept if its classes
    are the data's, in the same order; else, and for weights without a classifier of the network's kind, a new one is
    drawn from the seed.

    Args:
        name: the network.
        opened: opens the data for a preprocessing.
        size: size of the input; that of the weights when None.
        space: search space of an identity string.
        weights: ``pretrained``, ``auto``, ``random`` or a file.
        seed: seed of a new classifier.

    Raises:
        ScarletError: no such network or weights, weights that do not fit, or a network without a known classifier.
    """
    network = _trained(_network_of(name, space) if space else name, weights)
    if not network.trained:
        return from_scratch(name, opened, size, space, seed)
    feed = sized(network.preprocessing, size)
    images = opened(feed, None)
    described = read_metadata(Path(weights))
    warn_of_other_split(Path(weights), described, images)
    kept = is_head_of(network, images)
    if not kept:
        _replace_head(network.model, len(images.classes), seed, name)
    facts = {"weights": network.weights, "sha256": network.weights_sha256, "head": "kept" if kept else "new",
             "data": described.get("data")}  # fmt: skip
    words = f"weights {network.weights_sha256[:12]}, {facts['head']} head"
    return Start(network.model.train(), feed, images, words, facts)


def from_run(name: str, opened: Open, size: InputSize | None, space: SearchSpace | None, run: Path, seed: int) -> Start:
    """Start from the result of a finished run of the same network on the same classes.

    Raises:
        TrainingError: no finished run, another network, or other classes.
    """
    file, report = run / NETWORK_FILE, run / RUN_FILE
    if not file.is_file() or not report.is_file():
        raise TrainingError(
            f"{run}: holds no finished run, wanted {NETWORK_FILE} and {RUN_FILE} in it; the command that began a run "
            "finishes it"
        )
    before = read_run(run)
    if before.get("name") != name:
        raise TrainingError(f"{run}: got a run of network {before.get('name')!r}, wanted one of {name!r}")
    start = from_weights(name, opened, size, space, str(file), seed)
    if start.facts["head"] != "kept":
        raise TrainingError(
            f"{run}: got a run on other classes than those of {start.images.name}, wanted the same; --weights {file} "
            "starts with a new classifier"
        )
    steps = int(before.get("steps", 0)) + int((before.get("start") or {}).get("steps_before", 0))
    return replace(start, words=f"run, {start.words}", facts={**start.facts, "run": str(run), "steps_before": steps})


def _trained(network: Arch | str, weights: str) -> Network:
    """A network with trained weights; without a classifier if they have none, or one of another kind."""
    try:
        return load_network(network, weights)
    except HeadlessError:
        return load_network(network, weights, num_classes=0)


def is_head_of(network: Network, images: ImageData) -> bool:
    """Whether the logits of a network are for the classes of the data, in their order."""
    classes = int(getattr(network.model, "num_classes", 0))
    if classes != len(images.classes):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScarletWarning)
            logits = Logits(network.name, classes, network.labels)
            matched = match_folders(Path(images.name), images.classes, images.classes, logits)
    except DatasetError:
        return False
    # Labels that are known and fit none of the names are other classes.
    unlike = matched.rule == "sorted" and network.labels is not None
    return not unlike and [matched.index[name] for name in images.classes] == list(range(classes))


def warn_of_other_split(file: Path, described: Mapping[str, str], images: ImageData) -> None:
    """Warn if weights were trained on some of the validation images of this data, as far as their file tells.

    The accuracy is then too high.
    """
    trained = TrainingImages(str(file), described)
    if not trained.are_of(images.name):
        return
    try:
        trained.require(images.division, images.name, None)
    except DatasetError as error:
        warnings.warn(f"{error}; the validation accuracy is too high", ScarletWarning, stacklevel=2)


def _network_of(name: str, space: SearchSpace | None) -> Arch | str:
    """The architecture of a registered name or an identity string; any other name unchanged."""
    text = ZOO[name].arch if name in ZOO else name
    return Arch.parse(text, space) if is_identity_string(text) else name


def _replace_head(model: Any, classes: int, seed: int, name: str) -> None:
    if not hasattr(model, "reset_classifier"):
        raise TrainingError(
            f"network {name!r}: has no classifier that can be replaced, wanted one for {classes} classes"
        )
    torch.manual_seed(seed)
    model.reset_classifier(classes)
