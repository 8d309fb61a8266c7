"""A network that labels images, on either backend: a torch model by name, or an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.data.labels import labels_of
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ArtifactError, ScarletError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.session import OnnxClassifier

Array = NDArray[np.float32]
Logits = NDArray[np.float64]
Progress = Callable[[int, int], None]


class UntrainedError(ScarletError):
    """A network whose weights are random was asked what it sees."""


@dataclass(frozen=True)
class Classifier:
    """A network on either backend.

    Attributes:
        source: the name or the file that it came from.
        weights: where the weights come from.
        trained: whether its answers mean anything.
        preprocessing: what it wants to be fed.
        given_labels: class names that it brings along, not checked.
        classes: how many logits it gives.
        batch: the only batch size that it takes; any when None.
        run: images (N, C, H, W) and a batch size to logits (N, classes).
    """

    source: str
    weights: str
    trained: bool
    preprocessing: Preprocessing
    given_labels: Sequence[str] | None
    classes: int
    batch: int | None
    run: Callable[[Array, int], Logits]

    def logits(self, images: Array) -> Logits:
        """Logits (N, classes) of images (N, C, H, W)."""
        return self.run(images, self.batch or len(images))

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Its class names, where they are known and the weights are trained."""
        return labels_of(self.given_labels, self.classes, self.source) if self.trained else None


def is_onnx(source: str) -> bool:
    """Whether this is a file's path rather than a network's name."""
    return source.lower().endswith(".onnx")


def open_classifier(source: str, weights: str, *, trained_only: bool = False) -> Classifier:
    """Open an ONNX file, or create a network by name.

    Args:
        source: a path that ends in ``.onnx``, else a name as for ``load_network``.
        weights: of a name; an ONNX file holds its own.
        trained_only: refuse random weights.

    Raises:
        UntrainedError: they are random.
        ScarletError: no such network or file, or it takes no pictures or gives no logits.
    """
    return _open_file(Path(source), trained_only) if is_onnx(source) else _open_name(source, weights, trained_only)


def _open_file(path: Path, trained_only: bool) -> Classifier:
    from scarlet_zoo.models.random_weights import RANDOM_WEIGHTS

    artifact = read_artifact(path)
    trained = artifact.weights != RANDOM_WEIGHTS
    if trained_only and not trained:
        raise UntrainedError(_refusal(str(path), "an export with --weights FILE"))
    described = artifact.preprocessing
    if described is None:
        raise ArtifactError(f"{path}: says nothing of its preprocessing, wanted a file of scarlet-zoo export")
    network = OnnxClassifier(path)
    if network.channels != described.channels:
        raise ArtifactError(f"{path}: takes {network.channels} channels, its preprocessing gives {described.channels}")
    feed = replace(described, size=network.size or described.size)

    def run(images: Array, size: int) -> Logits:
        return network.logits(feed.restore(images) if network.takes_pixels else images, size)

    batch = None if network.dynamic_batch else network.batch
    return _checked(str(path), artifact.weights, trained, feed, _carried_labels(artifact), batch, run)


def _carried_labels(artifact: Artifact) -> list[str] | None:
    try:
        return artifact.labels
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{artifact.path}: its labels are not a list in JSON: {error}") from error


def _open_name(name: str, weights: str, trained_only: bool) -> Classifier:
    import torch

    from scarlet_zoo.models.loading import load_network

    network = load_network(name, weights)
    if trained_only and not network.trained:
        raise UntrainedError(_refusal(name, "--weights FILE, or weights that were imported for it"))
    model: Any = network.model
    if getattr(model, "num_classes", None) == 0:
        raise ScarletError(f"{name}: gives features, wanted a network with classes")

    def run(images: Array, batch: int) -> Logits:
        with torch.inference_mode():
            parts = [model(torch.from_numpy(images[start : start + batch])) for start in range(0, len(images), batch)]
        return torch.cat(parts).double().numpy()

    return _checked(name, network.weights, network.trained, network.preprocessing, network.labels, None, run)


def _refusal(source: str, wanted: str) -> str:
    return f"{source}: its weights are random, so what it sees in a picture means nothing; wanted {wanted}"


def _checked(source: str, weights: str, trained: bool, feed: Preprocessing, labels: Sequence[str] | None,
             batch: int | None, run: Callable[[Array, int], Logits]) -> Classifier:  # fmt: skip
    """The classifier, after it has been seen to take a picture and to give logits."""
    if feed.channels not in (1, 3):
        raise ScarletError(f"{source}: takes {feed.channels} channels, a picture has 3, or 1 when grey")
    try:
        shape = run(np.zeros((1, feed.channels, *feed.size), dtype=np.float32), batch or 1).shape
    except Exception as error:
        # Torch and ONNX Runtime have no common base for what a network does not take.
        reason = str(error).strip().split("\n")[0]
        raise ScarletError(f"{source}: does not run on {feed.size} pixels: {reason}") from error
    if len(shape) != 2:
        raise ScarletError(f"{source}: gives {shape} for one picture, wanted logits (1, classes)")
    return Classifier(source, weights, trained, feed, labels, shape[1], batch, run)
