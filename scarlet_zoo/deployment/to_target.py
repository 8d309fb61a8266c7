"""Write a network's file for a target, in its graph variant and precision and with its converter, and verify it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.arch.zoo import safe_name
from scarlet_zoo.deployment.convert import convert_network
from scarlet_zoo.deployment.exported import Exported as Exported
from scarlet_zoo.deployment.half_file import computes_in, write_half
from scarlet_zoo.deployment.half_range import check_range
from scarlet_zoo.deployment.parity import Parity, ParityError
from scarlet_zoo.deployment.targets import get_target
from scarlet_zoo.deployment.to_onnx import export_onnx
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.deployment.tune import Tuning, tune
from scarlet_zoo.deployment.verify import verify
from scarlet_zoo.errors import ExportError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.quantization.quantize import Int8, quantize_int8
from scarlet_zoo.latency import Settings
from scarlet_zoo.models.loading import Network
from scarlet_zoo.utils.files import replacing
from scarlet_zoo.utils.ownership import owned_file


def export_network(
    network: Network,
    out: Path,
    target: str,
    recipe: Recipe,
    calibration: Callable[[], NDArray[np.float32]] | None = None,
    int8: Int8 | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    file: Path | None = None,
) -> Exported:
    """Write a network's file for a target.

    Args:
        network: from :func:`scarlet_zoo.models.loading.load_network`.
        out: folder for the file.
        target: one of :data:`scarlet_zoo.deployment.targets.TARGETS`.
        recipe: settings of the export; its graph variant is replaced by the target's.
        calibration: for int8 targets, a function that gives prepared images, float32 (N, C, H, W); of float16 targets
            the images tell more of the range of the network's values.
        int8: for int8 targets of ONNX Runtime, settings of the quantisation.
        progress: called with (done, expected) during the calibration.
        file: path of the file; in ``out`` under the network's name when left out.

    Raises:
        ExportError: the target needs calibration images, or cannot do what the recipe asks for.
        MissingRuntimeError: the target's packages are not installed.
        CheckFailedError: a value of the network does not fit into float16; the message names the layers.
        ParityError: the file does not compute what the network computes.
    """
    wanted = get_target(target)
    path = file or out / f"{safe_name(network.name)}{wanted.suffix}"
    recipe = replace(recipe, form=wanted.form)
    if recipe.float16_weights and wanted.precision != "float32":
        raise ExportError(f"target {target}: got float16_weights, which is for float32 files, wanted it left out")
    if recipe.keep_io and (wanted.runtime, wanted.precision) != ("ort", "float16"):
        raise ExportError(f"target {target}: got keep_io, whose input and output are float32, wanted it left out")
    if wanted.precision == "int8" and calibration is None:
        raise ExportError(f"target {target}: got no calibration images, wanted a folder of images, or random")
    if wanted.runtime != "ort":
        return convert_network(network, path, target, wanted, recipe, calibration)
    with owned_file(path):
        if calibration is not None and wanted.precision == "int8":
            return _quantize(network, path, target, recipe, calibration(), int8, progress)
        if wanted.precision == "float16":
            return _half(network, path, target, recipe, calibration)
        artifact = _onnx(network, path, recipe)
        # float16 weights cost accuracy, so their parity is reported at once; a float32 file is left to the verb verify.
        told = verify(network.model, artifact, preprocessing=network.preprocessing) if recipe.float16_weights else None
        return Exported(path, target, artifact.to_dict(), told)


def tune_export(
    network: Network,
    out: Path,
    recipe: Recipe,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    file: Path | None = None,
) -> tuple[Exported, Tuning]:
    """Write a network's ONNX file in the graph variant that is the fastest on this machine.

    Args:
        network, out, recipe: as for :func:`export_network`.
        settings: how to measure.
        progress: called with (done, expected) during the measurement.
        file: path of the file; in ``out`` under the network's name when left out.

    Raises:
        CheckFailedError: no graph variant verifies.
    """

    def make(form: str, path: Path) -> Parity:
        return verify(network.model, _onnx(network, path, replace(recipe, form=form)), preprocessing=feed)

    feed = network.preprocessing
    path = file or out / f"{safe_name(network.name)}.onnx"
    tuning = tune(make, path, settings, progress)
    return Exported(path, "tuned", tuning.artifact.to_dict()), tuning


def _onnx(network: Network, path: Path, recipe: Recipe) -> Artifact:
    return export_onnx(
        network.model,
        path,
        recipe,
        weights=network.weights,
        labels=network.labels,
        preprocessing=network.preprocessing,
        source=network.source,
        split=network.training.get("split"),
        preprocessing_given=network.preprocessing_given,
    )


def _quantize(
    network: Network,
    path: Path,
    target: str,
    recipe: Recipe,
    images: NDArray[np.float32],
    int8: Int8 | None,
    progress: Callable[[int, int], None] | None,
) -> Exported:
    if recipe.pixels:
        raise ExportError(
            f"target {target}: got uint8 pixels, wanted float32 input, the only kind that can be quantised"
        )
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / path.name
        _onnx(network, source, replace(recipe, form="native"))
        quantized = quantize_int8(source, path, images, int8, progress)
    return Exported(path, target, read_artifact(path).to_dict(), quantized=quantized)


def _half(
    network: Network, path: Path, target: str, recipe: Recipe, calibration: Callable[[], NDArray[np.float32]] | None
) -> Exported:
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / path.name
        _onnx(network, source, replace(recipe, keep_io=False))
        images = None if calibration is None or recipe.pixels else calibration()
        fits = check_range(source, path, network.preprocessing, images, sums_kept=True)
        with replacing(path) as half:
            write_half(source, half, path, keep_io=recipe.keep_io, keep_float=fits.sums)
            try:
                parity = verify(network.model, half, preprocessing=network.preprocessing)
            except ParityError as error:
                raise ParityError(path, error.parity) from error
    facts = {"float16": fits.to_dict(), "computes_in": computes_in()}
    return Exported(path, target, read_artifact(path).to_dict() | facts, parity)
