"""Export a network, by name or as a torch model, to the verified file of a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.calibration_sets import any_calibration_images
from scarlet_zoo.deployment.image_feed import AnyPreprocessing
from scarlet_zoo.deployment.prepared import load_prepared, prepared_model, with_preprocessing
from scarlet_zoo.deployment.targets import get_target
from scarlet_zoo.deployment.to_target import Exported, export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.graph.quantization.quantize import Int8
from scarlet_zoo.models.loading import Network
from scarlet_zoo.utils.names import check_file_name

_CALIBRATION_IMAGES = 128


def export(
    model: str | Arch | nn.Module | Network,
    *,
    out: str | Path,
    target: str = "native",
    weights: str = "auto",
    recipe: Recipe | None = None,
    calibration: str | Path | NDArray[np.float32] | None = None,
    int8: Int8 | None = None,
    features: tuple[int, ...] | None = None,
    name: str | None = None,
    preprocessing: AnyPreprocessing | None = None,
    labels: Sequence[str] | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Export a network to the file of a target: folded, in the graph variant that is fastest there, and verified.

    Args:
        model: a registered name, an identity string, any timm name, an architecture, or a torch model in eval mode.
        out: folder for the file, which is named after the network; or the file's path, with the target's suffix.
        target: one of :data:`scarlet_zoo.deployment.targets.TARGETS`.
        weights: for a name, as for :func:`scarlet_zoo.models.loading.load_network`; for a torch model, a text
            that says where its weights come from.
        recipe: opset, batch size, input size and the like; its graph variant is the target's.
        calibration: for int8 targets: a folder of images, ``random``, or prepared images, float32 (N, C, H, W).
        int8: settings of the quantisation, for int8 targets.
        features: feature levels, to export a feature extractor and no classifier; for a name only.
        name: name of the file without its ending; the network's when left out.
        labels: class names in the order of the logits; for a name, those of its weights when left out.
        preprocessing: how images are prepared, such as ``size=128,crop=1``; what is left out is the network's own.
        num_classes, in_chans: for a name only, as for :func:`scarlet_zoo.models.loading.load_network`.
        progress: called with (done, expected) during the calibration.

    Returns:
        The file's path, its metadata, and how well it agrees with the network.

    Raises:
        UnknownNameError: no such network or target; the message lists similar names.
        ExportError: the target needs calibration images, or cannot do what the recipe asks for.
        MissingRuntimeError: the target's packages are not installed.
        ParityError: the file does not compute what the network computes.
    """
    recipe, wanted, path = recipe or Recipe(), get_target(target), Path(out)
    if isinstance(model, nn.Module):
        stated = "not stated" if weights == "auto" else weights
        network = prepared_model(model, preprocessing, name=name, weights=stated, labels=labels,
                                 input_size=recipe.input_size)  # fmt: skip
    elif isinstance(model, Network):
        network = with_preprocessing(model if labels is None else replace(model, labels=tuple(labels)), preprocessing)
    else:
        network = load_prepared(model, weights, preprocessing, input_size=recipe.input_size, features=features,
                                labels=labels, num_classes=num_classes, in_chans=in_chans)  # fmt: skip
    images = None
    if isinstance(calibration, np.ndarray):
        images = lambda: calibration  # noqa: E731
    elif calibration is not None:
        images = lambda: any_calibration_images(str(calibration), network.preprocessing, _CALIBRATION_IMAGES)  # noqa: E731
    file = path if path.name.endswith(wanted.suffix) else None
    if file is None and name is not None:
        file = path / f"{check_file_name(name.removesuffix(wanted.suffix), 'name')}{wanted.suffix}"
    return export_network(network, path, target, recipe, images, int8, progress, file=file)
