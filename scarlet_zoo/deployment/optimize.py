"""Rewrite an ONNX file of any exporter into the graph variant that a target runs fastest, and verify the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from scarlet_zoo.deployment.image_feed import assumed_preprocessing
from scarlet_zoo.deployment.parity import Parity, ParityError
from scarlet_zoo.deployment.targets import float_variant
from scarlet_zoo.deployment.tune import Tuning
from scarlet_zoo.deployment.tune import tune as try_variants
from scarlet_zoo.deployment.verify import verify
from scarlet_zoo.errors import ArtifactError, ExportError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.load import check_size, open_graph
from scarlet_zoo.graph.passes.lower import Lowering, lower, tidy
from scarlet_zoo.graph.session import OnnxNetwork
from scarlet_zoo.utils.files import replacing


@dataclass(frozen=True)
class Optimized:
    """An ONNX file that was rewritten into another graph variant.

    Attributes:
        artifact: the new file.
        lowering: the rewrites that were applied, and those that were refused.
        parity: how well the new file agrees with the old one.
    """

    artifact: Artifact
    lowering: Lowering
    parity: Parity

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the artifact's fields, ``rewrites``, ``refused`` and ``parity``."""
        return {
            **self.artifact.to_dict(),
            "rewrites": {name: count for name, count in self.lowering.applied.items() if count},
            "refused": [{"rewrite": r.rewrite, "node": r.node, "reason": r.reason} for r in self.lowering.refused],
            "parity": self.parity.to_dict(),
        }


def optimize(
    source: str | Path,
    path: str | Path,
    target: str = "native",
    *,
    tune: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Optimized:
    """Rewrite an ONNX file of any exporter into the graph variant of a target, and verify it against the source.

    Args:
        source: the ONNX file, a float network with one image input.
        path: where to write the new file.
        target: a target of ONNX Runtime in float32, see :data:`scarlet_zoo.deployment.targets.TARGETS`.
        tune: try every graph variant on this machine and write the fastest that verifies; the target is then ignored.
        progress: called with (done, expected) during that measurement.

    Raises:
        ArtifactError: the source is not a valid graph, or has another kind of input.
        ExportError: the target is not one of ONNX Runtime in float32, or ONNX's checker refuses the new graph.
        ParityError: the new file does not compute what the source computes; nothing is written.
        CheckFailedError: tuning found no graph variant that verifies.
    """
    variant = float_variant(target)
    if tune:
        return tune_file(Path(source), Path(path), progress)[0]
    return optimize_file(Path(source), Path(path), variant)


def optimize_file(source: Path, path: Path, form: str) -> Optimized:
    """Rewrite an ONNX file into a graph variant, and verify it against the source on ONNX Runtime.

    Args:
        source: the ONNX file, a float network with one image input, of any exporter.
        path: where to write the new file.
        form: the graph variant, one of :data:`scarlet_zoo.graph.passes.lower.FORMS`.

    Raises:
        ArtifactError: the source is not a valid graph, or has another kind of input.
        ParityError: the new file does not compute what the source computes; nothing is written.
    """
    proto = open_graph(source)
    network = OnnxNetwork(source)
    try:
        model = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto))
    except (onnx.shape_inference.InferenceError, ValueError, TypeError, RuntimeError) as error:
        raise ArtifactError(f"{source}: not a valid ONNX graph: {str(error).strip().splitlines()[0]}") from error
    common.InlinePass()(model)
    tidy(model)
    lowering = lower(model, form)
    model.metadata_props["form"] = form
    result = ir.serde.serialize_model(model)
    check_size(result, path)
    try:
        onnx.checker.check_model(result, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{path}: ONNX's checker refuses the graph: {str(error).splitlines()[0]}") from error
    with replacing(path) as temporary:
        temporary.write_bytes(result.SerializeToString(deterministic=True))
        parity = _compare(network, source, temporary, path)
    return Optimized(read_artifact(path), lowering, parity)


def tune_file(source: Path, path: Path, progress: Callable[[int, int], None] | None = None) -> tuple[Optimized, Tuning]:
    """Rewrite an ONNX file into the graph variant that is the fastest on this machine.

    Args:
        source, path: as for :func:`optimize_file`.
        progress: called with (done, expected) during the measurement.

    Raises:
        CheckFailedError: no graph variant computes what the source computes.
    """
    optimized: dict[str, Optimized] = {}

    def make(form: str, file: Path) -> Parity:
        optimized[form] = optimize_file(source, file, form)
        return optimized[form].parity

    tuning = try_variants(make, path, progress=progress)
    best = optimized[tuning.artifact.form]
    return replace(best, artifact=tuning.artifact), tuning


def _compare(network: OnnxNetwork, source: Path, written: Path, path: Path) -> Parity:
    def reference(images: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        return network.run(feed.restore(images) if network.takes_pixels else images, network.batch)

    feed = read_artifact(source).preprocessing or assumed_preprocessing(network)
    try:
        return verify(reference, read_artifact(written), preprocessing=feed)
    except ParityError as error:
        raise ParityError(path, error.parity) from error
