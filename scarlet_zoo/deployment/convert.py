"""Convert a network with the converter of a runtime other than ONNX Runtime, and verify the file there."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.deployment.exported import Exported
from scarlet_zoo.deployment.half_range import check_range
from scarlet_zoo.deployment.judged_integers import judge_integers
from scarlet_zoo.deployment.parity import Parity, ParityError, Tolerance
from scarlet_zoo.deployment.runtimes.registry import RUNTIMES, Source, get_runtime, versions
from scarlet_zoo.deployment.runtimes.runner import Described, OtherNetwork, description_path
from scarlet_zoo.deployment.targets import Target
from scarlet_zoo.deployment.to_onnx import export_onnx, output_names
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.deployment.verify import compare_networks
from scarlet_zoo.errors import ExportError, ScarletWarning
from scarlet_zoo.folding.fold import fold
from scarlet_zoo.graph.quantization.quantize import set_aside
from scarlet_zoo.models.loading import Network
from scarlet_zoo.utils.files import file_sha256, json_text, write_text
from scarlet_zoo.utils.ownership import folder_beside
from scarlet_zoo.utils.silence import silence

Images = NDArray[np.float32]


def convert_network(
    network: Network,
    path: Path,
    target: str,
    wanted: Target,
    recipe: Recipe,
    calibration: Callable[[], Images] | None = None,
) -> Exported:
    """Convert with the runtime's own converter into a temporary folder, verify there, then move the files.

    Args:
        network: the network.
        path: path of the file.
        target, wanted: name of the target, and the target.
        recipe: settings of the export, with the target's graph variant.
        calibration: a function that gives prepared images, for int8; of float16 it tells more of the values' range.

    Raises:
        ExportError: the converter fails, or cannot do what the recipe asks for.
        MissingRuntimeError: the target's packages are not installed.
        CheckFailedError: a value does not fit into float16.
        ParityError: the file does not compute what the network computes.
    """
    entry, precision = RUNTIMES[wanted.runtime], wanted.precision
    with silence():
        runtime = get_runtime(wanted.runtime, precision)
    if recipe.pixels:
        raise ExportError(f"target {target}: got uint8 pixels, wanted float32 input, the only kind that it takes")
    images = calibration() if calibration is not None and precision in ("int8", "float16") else None
    used, judged = (None, None) if images is None or precision != "int8" else set_aside(images)
    folded, described = fold(network.model), _described(network, wanted, recipe)
    facts: dict[str, Any] = {}
    with folder_beside(path) as temporary:
        converted, onnx_file = temporary / path.name, temporary / "source.onnx"
        export_onnx(folded, onnx_file, replace(recipe, batch=described.shape[0]), weights=network.weights,
                    preprocessing=network.preprocessing)  # fmt: skip
        if precision == "float16":
            facts["float16"] = check_range(onnx_file, path, network.preprocessing, images).to_dict()
        with silence(), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            runtime.convert(Source(folded.model, onnx_file, described.shape, precision, used), converted)
        for warning in told:
            # Ours would be lost in the silence that is meant for those of the converters.
            if issubclass(warning.category, ScarletWarning):
                warnings.warn(str(warning.message), ScarletWarning, stacklevel=3)
        onnx_file.unlink()
        write_text(description_path(converted), json_text(described.to_dict(), indent=1) + "\n")
        parity, integers = None, None
        if entry.runs:
            parity = _verify(network, converted, path, entry.tolerance_for(precision))
        if entry.runs and used is not None and judged is not None:
            integers = judge_integers(network.model, OtherNetwork(converted), used, judged)
        for file in sorted(temporary.iterdir(), key=lambda file: file == converted):
            _move(file, path.parent / file.name)
    if precision != "float32":
        facts["computes_in"] = runtime.computes_in(precision)
    digest = file_sha256(path) if path.is_file() else None
    fields = {**described.to_dict(), "sha256": digest, "weights": network.weights, "precision": precision, **facts}
    return Exported(path, target, fields, parity, judged=integers)


def _described(network: Network, wanted: Target, recipe: Recipe) -> Described:
    feed = network.preprocessing
    return Described(
        wanted.runtime,
        (recipe.batch or 1, feed.channels, *feed.size),
        tuple(output_names(network.model)),
        feed,
        {"weights": network.weights, "weights_sha256": network.weights_sha256, "model": network.name,
         **({"precision": wanted.precision} if wanted.precision != "float32" else {}),
         **({"arch": str(network.arch)} if network.arch is not None else {}),
         **({"labels": json.dumps(network.labels)} if network.labels is not None else {}),
         **{key: network.training[key] for key in ("split",) if key in network.training},
         **versions(wanted.runtime, wanted.precision)},
    )  # fmt: skip


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
