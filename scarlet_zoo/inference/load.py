"""Load a classifier from an ONNX file of any exporter, another runtime's file, or a network's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scarlet_zoo.data.held_out import stated_training
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.stated import stated_labels
from scarlet_zoo.deployment.image_feed import AnyPreprocessing, feed_of, settings_of
from scarlet_zoo.errors import ArtifactError, ScarletError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.provider import ProviderError, as_provider
from scarlet_zoo.graph.quantization.exact import warn_if_inexact
from scarlet_zoo.graph.session import OnnxNetwork
from scarlet_zoo.inference.answers import Array, Logits, are_probabilities
from scarlet_zoo.inference.classifier import Classifier
from scarlet_zoo.latency import Provider
from scarlet_zoo.models.weights.cards import RANDOM_WEIGHTS


class UntrainedError(ScarletError):
    """A network with random weights was asked for predictions."""


def load(
    source: str | Path,
    weights: str = "auto",
    *,
    preprocessing: AnyPreprocessing | None = None,
    labels: Sequence[str] | None = None,
    trained_only: bool = False,
    num_classes: int | None = None,
    in_chans: int | None = None,
    provider: Provider | str | None = None,
) -> Classifier:
    """Load a network that labels images, from a file or by name.

    Args:
        source: an ONNX file of any exporter, a file that ``export`` wrote for another runtime (with its description
            beside it), or a name as for :func:`scarlet_zoo.create_model`.
        weights: for a name, as for :func:`scarlet_zoo.models.loading.load_network`; a file holds its own.
        preprocessing: how images are prepared, as a value or in one of the forms of
            :func:`scarlet_zoo.data.given_preprocessing.read_preprocessing`, such as timm's data configuration or
            ``imagenet``. What it leaves out, or all of it, is the file's or the network's own.
        labels: names of the classes in the order of the logits; the file's or the network's own when left out.
        trained_only: whether to refuse random weights.
        num_classes, in_chans: for a name, as for :func:`scarlet_zoo.models.loading.load_network`.
        provider: for an ONNX file, the execution provider of ONNX Runtime that it runs on, such as ``XNNPACK`` or
            ``CUDA:device_id=1``; the CPU when left out.

    Raises:
        UntrainedError: the weights are random and ``trained_only`` is set.
        ArtifactError: no such file, or it does not describe its preprocessing and none is given.
        ScarletError: no such network, or it does not take images or give logits; or the provider is not there, runs no
            node of the file, or is given for something else than an ONNX file.
    """
    if provider is not None and not is_onnx(source):
        raise ProviderError(f"{source}: got the provider {provider}, which only applies to ONNX files")
    if is_onnx(source):
        found = _open_onnx(Path(source), preprocessing, trained_only, as_provider(provider))
    elif is_other_file(source):
        found = _open_other(Path(source), preprocessing, trained_only)
    else:
        counts = {"num_classes": num_classes, "in_chans": in_chans}
        found = _open_name(str(source), weights, preprocessing, trained_only, counts)
    return found if labels is None else replace(found, given_labels=tuple(labels))


# The former name of load.
open_classifier = load


def is_onnx(source: str | Path) -> bool:
    """Whether a source is the path of an ONNX file and not a network's name."""
    return str(source).lower().endswith(".onnx")


def is_other_file(source: str | Path) -> bool:
    """Whether a source is the path of a file for a runtime other than ONNX Runtime."""
    from scarlet_zoo.deployment.runtimes.registry import runtime_of

    return runtime_of(Path(source)) is not None


def _open_onnx(
    path: Path, preprocessing: AnyPreprocessing | None, trained_only: bool, provider: Provider
) -> Classifier:
    artifact = read_artifact(path)
    trained = _is_trained(path, artifact.weights, trained_only)
    if preprocessing is None and artifact.preprocessing is None:
        raise ArtifactError(
            f"{path}: does not describe its preprocessing, wanted a file of scarlet-zoo export, --preprocessing such "
            "as imagenet, or the argument preprocessing of scarlet_zoo.load"
        )
    network = OnnxNetwork(path, provider=provider)
    if provider.is_cpu:
        warn_if_inexact(path)
    if len(network.outputs) != 1:
        names = " ".join(network.outputs)
        raise ArtifactError(f"{path}: got outputs {names}, wanted a classifier with one output (N, classes)")
    described = artifact.preprocessing
    if described is not None and network.channels != described.channels:
        raise ArtifactError(
            f"{path}: takes {network.channels} channels, but its preprocessing gives {described.channels}"
        )
    feed = feed_of(network, described, preprocessing).preprocessing

    def run(images: Array, size: int) -> Logits:
        (output,) = network.run(feed.restore(images) if network.takes_pixels else images, size)
        # Some exporters leave the sides of a pooled map, (N, classes, 1, 1).
        return output.reshape(output.shape[:2]) if output.shape[2:] in ((1,), (1, 1)) else output

    batch = None if network.dynamic_batch else network.batch
    found = _checked(str(path), artifact.weights, trained, feed, _carried_labels(artifact), batch, run)
    return replace(found, training=stated_training(artifact.metadata), provider=str(provider),
                   provider_nodes=dict(network.provider_nodes))  # fmt: skip


def _open_other(path: Path, preprocessing: AnyPreprocessing | None, trained_only: bool) -> Classifier:
    """Load a file of a runtime other than ONNX Runtime, with the description beside it."""
    from scarlet_zoo.deployment.runtimes.runner import OtherNetwork
    from scarlet_zoo.utils.silence import silence

    with silence():
        network = OtherNetwork(path)
    metadata = network.described.metadata
    weights = metadata.get("weights", "unknown")
    trained = _is_trained(path, weights, trained_only)
    labels = stated_labels(metadata, path)

    def run(images: Array, size: int) -> Logits:
        return network.run(images, size)[0]

    feed = _completed(preprocessing, network.described.preprocessing)
    found = _checked(str(path), weights, trained, feed, labels, network.batch, run)
    return replace(found, training=stated_training(metadata))


def _completed(given: AnyPreprocessing | None, own: Preprocessing) -> Preprocessing:
    if given is None or isinstance(given, Preprocessing):
        return given or own
    return settings_of(given).complete(own)


def _is_trained(path: Path, weights: str, trained_only: bool) -> bool:
    if trained_only and weights == RANDOM_WEIGHTS:
        raise UntrainedError(_refusal(str(path), "a file that was exported with trained weights"))
    return weights != RANDOM_WEIGHTS


def _carried_labels(artifact: Artifact) -> list[str] | None:
    try:
        return artifact.labels
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{artifact.path}: its labels are not a list in JSON: {error}") from error


def _open_name(name: str, weights: str, preprocessing: AnyPreprocessing | None, trained_only: bool,
               counts: Mapping[str, Any]) -> Classifier:  # fmt: skip
    import torch

    from scarlet_zoo.models.loading import load_network

    network = load_network(name, weights, **counts)
    if trained_only and not network.trained:
        raise UntrainedError(_refusal(name, "--weights FILE, or weights that were imported for it"))
    model: Any = network.model
    if getattr(model, "num_classes", None) == 0:
        raise ScarletError(f"{name}: gives features and no logits, wanted a classifier")

    def run(images: Array, batch: int) -> Logits:
        with torch.inference_mode():
            parts = [model(torch.from_numpy(images[start : start + batch])) for start in range(0, len(images), batch)]
        return torch.cat(parts).double().numpy()

    feed = _completed(preprocessing, network.preprocessing)
    found = _checked(name, network.weights, network.trained, feed, network.labels, None, run)
    return replace(found, training=network.training)


def _refusal(source: str, wanted: str) -> str:
    return f"{source}: its weights are random, so its predictions mean nothing, wanted {wanted}"


def _checked(source: str, weights: str, trained: bool, feed: Preprocessing, labels: Sequence[str] | None,
             batch: int | None, run: Callable[[Array, int], Logits]) -> Classifier:  # fmt: skip
    """Create the classifier, after a test run on two images."""
    if feed.channels not in (1, 3):
        raise ScarletError(f"{source}: takes {feed.channels} channels, wanted 3, or 1 for grey images")
    shape = (feed.channels, *feed.size)
    # Black and noise: by chance, the logits of one image can be probabilities, but hardly those of two.
    probe = np.stack([np.zeros(shape), np.random.default_rng(0).standard_normal(shape)]).astype(np.float32)
    try:
        outputs = run(probe, batch or 1)
    except ProviderError:
        raise
    except Exception as error:
        # Torch and ONNX Runtime have no common class of errors for inputs that a network does not take.
        reason = str(error).strip().split("\n")[0]
        raise ScarletError(
            f"{source}: does not run on an image of {feed.size} pixels (height, width): {reason}"
        ) from error
    if outputs.ndim != 2:
        got = (1, *outputs.shape[1:])
        raise ScarletError(f"{source}: gives an output of shape {got} for one image, wanted logits (1, classes)")
    return Classifier(source, weights, trained, feed, labels, outputs.shape[1], batch, run, are_probabilities(outputs))
