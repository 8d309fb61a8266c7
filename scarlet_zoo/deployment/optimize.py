"""Rewrite an ONNX file of any exporter into the graph variant that a target runs fastest, and verify the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from scarlet_zoo.deployment.compare_files import compare_files
from scarlet_zoo.deployment.parity import Parity
from scarlet_zoo.deployment.targets import float_variant
from scarlet_zoo.deployment.tune import Tuning
from scarlet_zoo.deployment.tune import tune as try_variants
from scarlet_zoo.errors import ArtifactError, ExportError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.denormals import flush_denormals
from scarlet_zoo.graph.load import check_size, data_files, open_graph
from scarlet_zoo.graph.onnx_file import OnnxFile
from scarlet_zoo.graph.passes.lower import Lowering, constants_inside, lower, tidy
from scarlet_zoo.graph.strange import of_strange_file
from scarlet_zoo.latency import Settings
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
    shapes: Sequence[str] = (),
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Optimized:
    """Rewrite an ONNX file of any exporter into the graph variant of a target, and verify it against the source.

    Args:
        source: the ONNX file, a float network.
        path: where to write the new file.
        target: a target of ONNX Runtime in float32, see :data:`scarlet_zoo.deployment.targets.TARGETS`.
        tune: try every graph variant on this machine and write the fastest that verifies; the target is then ignored.
        shapes: shapes of inputs with dynamic sides other than the batch, such as ``1,3,48,320`` or
            ``NAME=1,3,48,320``, on which the files are compared and measured; the new file stays dynamic.
        force: write also where the source is.
        progress: called with (done, expected) during that measurement.

    Raises:
        ArtifactError: the source is not a valid graph, or a dynamic side is not given.
        ExportError: the target is not one of ONNX Runtime in float32, ONNX's checker refuses the new graph, or the
            new file would overwrite the source and ``force`` is not set.
        ParityError: the new file does not compute what the source computes; nothing is written.
        CheckFailedError: tuning found no graph variant that verifies.
    """
    variant = float_variant(target)
    if tune:
        return tune_file(Path(source), Path(path), progress, shapes=shapes, force=force)[0]
    return optimize_file(Path(source), Path(path), variant, shapes=shapes, force=force)


@of_strange_file("rewritten")
def optimize_file(source: Path, path: Path, form: str, *, shapes: Sequence[str] = (), force: bool = False) -> Optimized:
    """Rewrite an ONNX file into a graph variant, and verify it against the source on ONNX Runtime.

    Args:
        source: the ONNX file, a float network of any exporter.
        path: where to write the new file.
        form: the graph variant, one of :data:`scarlet_zoo.graph.passes.lower.FORMS`.
        shapes, force: as for :func:`optimize`.

    Raises:
        ArtifactError: the source is not a valid graph, or a dynamic side is not given.
        ExportError: ONNX's checker refuses the new graph, or it would overwrite the source.
        ParityError: the new file does not compute what the source computes; nothing is written.
    """
    if not force:
        refuse_to_overwrite(source, path)
    proto = open_graph(source)
    OnnxFile(source).shapes(shapes)
    try:
        model = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto))
    except (onnx.shape_inference.InferenceError, ValueError, TypeError, RuntimeError) as error:
        raise ArtifactError(f"{source}: not a valid ONNX graph: {str(error).strip().splitlines()[0]}") from error
    common.InlinePass()(model)
    constants_inside(model)
    tidy(model)
    lowering = lower(model, form)
    model.metadata_props["form"] = form
    result = ir.serde.serialize_model(model)
    check_size(result, path)
    flush_denormals(result, path, shapes)
    try:
        onnx.checker.check_model(result, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{path}: ONNX's checker refuses the graph: {str(error).splitlines()[0]}") from error
    with replacing(path) as temporary:
        temporary.write_bytes(result.SerializeToString(deterministic=True))
        parity = compare_files(source, temporary, shapes=shapes, shown=path)
    return Optimized(read_artifact(path), lowering, parity)


def refuse_to_overwrite(source: Path, path: Path) -> None:
    """Refuse a path that is the source, or one of its data files, also through links.

    Raises:
        ExportError: writing to the path would overwrite what is read.
    """
    if not path.exists() or not source.is_file():
        return
    if any(beside.exists() and path.samefile(beside) for beside in (source, *data_files(source))):
        raise ExportError(f"{path}: is the file that is read, wanted another folder, another --name, or --force")


@of_strange_file("rewritten")
def tune_file(
    source: Path,
    path: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    shapes: Sequence[str] = (),
    force: bool = False,
) -> tuple[Optimized, Tuning]:
    """Rewrite an ONNX file into the graph variant that is the fastest on this machine.

    Args:
        source, path: as for :func:`optimize_file`.
        progress: called with (done, expected) during the measurement.
        shapes, force: as for :func:`optimize`.

    Raises:
        ArtifactError, ExportError: as for :func:`optimize_file`.
        CheckFailedError: no graph variant computes what the source computes.
    """
    if not force:
        refuse_to_overwrite(source, path)
    open_graph(source)
    OnnxFile(source).shapes(shapes)
    optimized: dict[str, Optimized] = {}

    def make(form: str, file: Path) -> Parity:
        optimized[form] = optimize_file(source, file, form, shapes=shapes)
        return optimized[form].parity

    tuning = try_variants(make, path, Settings(shapes=tuple(shapes)), progress)
    best = optimized[tuning.artifact.form]
    return replace(best, artifact=tuning.artifact), tuning
