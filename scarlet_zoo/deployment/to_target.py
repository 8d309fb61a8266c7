"""Write a network's file for a target, in its graph variant and precision and with its converter, and verify it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.arch.zoo import safe_name
from scarlet_zoo.deployment.parity import Parity, ParityError, Tolerance
from scarlet_zoo.deployment.runtimes.registry import RUNTIMES, Source, get_runtime, versions
from scarlet_zoo.deployment.runtimes.runner import Described, OtherNetwork, description_path
from scarlet_zoo.deployment.targets import Target, get_target
from scarlet_zoo.deployment.to_onnx import export_onnx, output_names
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.deployment.tune import Tuning, tune
from scarlet_zoo.deployment.verify import compare_networks, verify
from scarlet_zoo.errors import ExportError
from scarlet_zoo.folding.fold import fold
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.quantization.quantize import Int8, Quantized, quantize_int8
from scarlet_zoo.latency import Settings
from scarlet_zoo.models.loading import Network
from scarlet_zoo.utils.files import file_sha256, json_text, write_text
from scarlet_zoo.utils.ownership import folder_beside, owned_file
from scarlet_zoo.utils.silence import silence


@dataclass(frozen=True)
class Exported:
    """A file that was exported for a target.

    Attributes:
        path: path of the file.
        target: name of the target.
        described: the file's metadata, or those of the description beside it, as JSON values.
        parity: how well the file agrees with the network; None where that was not verified here.
        quantized: how well an int8 file agrees with the float32 file; None for other precisions.
    """

    path: Path
    target: str
    described: dict[str, Any]
    parity: Parity | None = None
    quantized: Quantized | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values; those of ``described`` and ``quantized`` are at the top level."""
        fields = {**self.described, "path": str(self.path), "target": self.target}
        if self.parity is not None:
            fields["parity"] = self.parity.to_dict()
        if self.quantized is not None:
            fields |= {key: value for key, value in self.quantized.to_dict().items() if key not in fields}
        return fields


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
        calibration: for int8 targets, a function that gives prepared images, float32 (N, C, H, W).
        int8: for int8 targets, settings of the quantisation.
        progress: called with (done, expected) during the calibration.
        file: path of the file; in ``out`` under the network's name when left out.

    Raises:
        ExportError: the target needs calibration images, or cannot do what the recipe asks for.
        MissingRuntimeError: the target's packages are not installed.
        ParityError: the file does not compute what the network computes.
    """
    wanted = get_target(target)
    path = file or out / f"{safe_name(network.name)}{wanted.suffix}"
    recipe = replace(recipe, form=wanted.form)
    if wanted.runtime != "ort":
        return _convert(network, path, target, wanted, recipe)
    if wanted.precision == "int8" and calibration is None:
        raise ExportError(f"target {target}: got no calibration images, wanted a folder of images, or random")
    with owned_file(path):
        if calibration is not None and wanted.precision == "int8":
            return _quantize(network, path, target, recipe, calibration(), int8, progress)
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


def _convert(network: Network, path: Path, target: str, wanted: Target, recipe: Recipe) -> Exported:
    """Convert with the runtime's own converter into a temporary folder, verify there, then move the files."""
    entry = RUNTIMES[wanted.runtime]
    with silence():
        runtime = get_runtime(wanted.runtime)
    if recipe.pixels:
        raise ExportError(f"target {target}: got uint8 pixels, wanted float32 input, the only kind that it takes")
    feed = network.preprocessing
    shape = (recipe.batch or 1, feed.channels, *feed.size)
    folded = fold(network.model)
    described = Described(
        wanted.runtime,
        (shape[0], shape[1], shape[2], shape[3]),
        tuple(output_names(folded.model)),
        feed,
        {"weights": network.weights, "weights_sha256": network.weights_sha256, "model": network.name,
         **({"arch": str(network.arch)} if network.arch is not None else {}),
         **({"labels": json.dumps(network.labels)} if network.labels is not None else {}),
         **{key: network.training[key] for key in ("split",) if key in network.training}, **versions(wanted.runtime)},
    )  # fmt: skip
    with folder_beside(path) as temporary:
        converted, onnx_file = temporary / path.name, temporary / "source.onnx"
        export_onnx(folded, onnx_file, replace(recipe, batch=shape[0]), weights=network.weights, preprocessing=feed)
        with silence():
            runtime.convert(Source(folded.model, onnx_file, described.shape), converted)
        onnx_file.unlink()
        write_text(description_path(converted), json_text(described.to_dict(), indent=1) + "\n")
        parity = None
        if entry.runs:
            parity = _verify(network, converted, path, entry.tolerance)
        for file in sorted(temporary.iterdir(), key=lambda file: file == converted):
            _move(file, path.parent / file.name)
    digest = file_sha256(path) if path.is_file() else None
    fields = {**described.to_dict(), "sha256": digest, "weights": network.weights, "precision": "float32"}
    return Exported(path, target, fields, parity)


def _verify(network: Network, converted: Path, path: Path, tolerance: Tolerance) -> Parity:
    feed = network.preprocessing
    try:
        candidate = OtherNetwork(converted)
        return compare_networks(network.model, candidate, None, tolerance, described=feed, preprocessing=feed)
    except ParityError as error:
        raise ParityError(path, error.parity) from error


def _move(source: Path, path: Path) -> None:
    """Move a file or folder to its path; an old folder (Core ML writes one) is removed, since no rename replaces it."""
    if source.is_dir() and path.is_dir():
        shutil.rmtree(path)
    source.replace(path)
