"""A network to the file of a target: the target's form, numbers and converter, verified against the network."""

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
from scarlet_zoo.deployment.runtimes.runner import Described, OtherNetwork, description_path, silence
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
from scarlet_zoo.utils.files import file_sha256, json_text, make_folder, write_text


@dataclass(frozen=True)
class Exported:
    """A file for a target.

    Attributes:
        path: of the file.
        target: its name.
        described: what the file, or its description, says, as JSON values.
        parity: against the network; None where the file cannot be run here, and for integers.
        quantized: how well integers follow the float file.
    """

    path: Path
    target: str
    described: dict[str, Any]
    parity: Parity | None = None
    quantized: Quantized | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        told = {**self.described, "path": str(self.path), "target": self.target}
        if self.parity is not None:
            told["parity"] = self.parity.to_dict()
        if self.quantized is not None:
            told |= {key: value for key, value in self.quantized.to_dict().items() if key not in told}
        return told


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
        out: folder of the file.
        target: one of :data:`scarlet_zoo.deployment.targets.TARGETS`.
        recipe: how to export; its form is the target's.
        calibration: gives images as the network takes them, for targets with integers.
        int8: how to quantise for them.
        progress: told (done, expected) of the calibration.
        file: its path; in ``out`` under the network's name when left out.

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
    if wanted.precision == "int8":
        if calibration is None:
            raise ExportError(f"target {target}: got no calibration pictures, wanted a folder, or random by that name")
        return _quantize(network, path, target, recipe, calibration(), int8, progress)
    artifact = _onnx(network, path, recipe)
    # A float32 file is exact, which verify shows; halves are not, so what they cost is said at once.
    parity = verify(network.model, artifact, preprocessing=network.preprocessing) if recipe.float16_weights else None
    return Exported(path, target, artifact.to_dict(), parity)


def tune_export(
    network: Network,
    out: Path,
    recipe: Recipe,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Exported, Tuning]:
    """Write a network's ONNX file in the form that is the fastest here.

    Args:
        network, out, recipe: as for :func:`export_network`.
        settings: how to measure.
        progress: told (done, expected) of the measurement.

    Raises:
        CheckFailedError: no form verifies.
    """

    def make(form: str, path: Path) -> Parity:
        return verify(network.model, _onnx(network, path, replace(recipe, form=form)), preprocessing=feed)

    feed = network.preprocessing
    path = out / f"{safe_name(network.name)}.onnx"
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
        raise ExportError(f"target {target}: with uint8 pixels it is not built, wanted normalised float32 input")
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / path.name
        _onnx(network, source, replace(recipe, form="native"))
        quantized = quantize_int8(source, path, images, int8, progress)
    return Exported(path, target, read_artifact(path).to_dict(), quantized=quantized)


def _convert(network: Network, path: Path, target: str, wanted: Target, recipe: Recipe) -> Exported:
    """By the runtime's own converter, into a folder beside, verified there, then moved."""
    entry = RUNTIMES[wanted.runtime]
    with silence():
        runtime = get_runtime(wanted.runtime)
    if recipe.pixels:
        raise ExportError(f"target {target}: does not take uint8 pixels, wanted normalised float32 input")
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
         **({"labels": json.dumps(network.labels)} if network.labels is not None else {}), **versions(wanted.runtime)},
    )  # fmt: skip
    make_folder(path.parent)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        made = Path(temporary) / path.name
        onnx_file = Path(temporary) / "source.onnx"
        export_onnx(folded, onnx_file, replace(recipe, batch=shape[0]), weights=network.weights, preprocessing=feed)
        with silence():
            runtime.convert(Source(folded.model, onnx_file, described.shape), made)
        onnx_file.unlink()
        write_text(description_path(made), json_text(described.to_dict(), indent=1) + "\n")
        parity = None
        if entry.runs:
            parity = _verify(network, made, path, entry.tolerance)
        for file in sorted(Path(temporary).iterdir(), key=lambda file: file == made):
            _move(file, path.parent / file.name)
    digest = file_sha256(path) if path.is_file() else None
    told = {**described.to_dict(), "sha256": digest, "weights": network.weights, "precision": "float32"}
    return Exported(path, target, told, parity)


def _verify(network: Network, made: Path, path: Path, tolerance: Tolerance) -> Parity:
    feed = network.preprocessing
    try:
        return compare_networks(network.model, OtherNetwork(made), None, tolerance, described=feed, preprocessing=feed)
    except ParityError as error:
        raise ParityError(path, error.parity) from error


def _move(made: Path, path: Path) -> None:
    """Into its place; a package of Core ML is a folder, which no rename replaces."""
    if made.is_dir() and path.is_dir():
        shutil.rmtree(path)
    made.replace(path)
