"""Write an ONNX file of any exporter in float16, and verify it against its float32 source."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from scarlet_zoo.deployment.half_range import HalfRange, check_range
from scarlet_zoo.deployment.image_feed import AnyPreprocessing
from scarlet_zoo.deployment.parity import Parity
from scarlet_zoo.deployment.targets import this_processor
from scarlet_zoo.deployment.verify import verify
from scarlet_zoo.errors import ExportError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.half import in_half
from scarlet_zoo.graph.load import check_size, open_graph
from scarlet_zoo.graph.precision import FLOAT16, FLOAT32, precision_of
from scarlet_zoo.graph.strange import of_strange_file
from scarlet_zoo.utils.files import replacing


@dataclass(frozen=True)
class HalfFile:
    """A float16 file that was made of a float32 file.

    Attributes:
        artifact: the float16 file.
        source: the float32 file.
        range: how much of float16's range its values take.
        parity: how well its outputs agree with those of its source.
    """

    artifact: Artifact
    source: Path
    range: HalfRange
    parity: Parity

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the artifact's fields, ``source``, ``float16``, ``computes_in`` and ``parity``."""
        return {**self.artifact.to_dict(), "source": str(self.source), "float16": self.range.to_dict(),
                "computes_in": computes_in(), "parity": self.parity.to_dict()}  # fmt: skip


def computes_in() -> str:
    """What ONNX Runtime computes in when it runs a float16 file on this machine, in words."""
    if this_processor() == "aarch64":
        return "float16 where ONNX Runtime has kernels for it on arm64, float32 between casts elsewhere"
    return "float32 between casts: ONNX Runtime computes no convolution in float16 on this processor"


@of_strange_file("written in float16")
def half_file(
    source: Path,
    path: Path,
    *,
    keep_io: bool = False,
    shapes: Sequence[str] = (),
    preprocessing: AnyPreprocessing | None = None,
) -> HalfFile:
    """Write a float32 file of any exporter in float16.

    Args:
        source: a float32 ONNX file.
        path: where to write the float16 file.
        keep_io: keep inputs and outputs float32.
        shapes: shapes of inputs with dynamic sides, such as ``1,3,48,320``.
        preprocessing: how images are prepared, of a file whose metadata do not say it.

    Raises:
        CheckFailedError: a value does not fit into float16; nothing is written.
        ParityError: the outputs are far from those of the source; nothing is written.
        ArtifactError, ExportError: the source cannot be read, or is not a float32 network.
    """
    found = precision_of(source)
    if found != FLOAT32:
        raise ExportError(f"{source}: got a file in {found}, wanted a float32 network")
    fits = check_range(source, path, read_artifact(source).preprocessing, shapes=shapes, sums_kept=True)
    with replacing(path) as temporary:
        write_half(source, temporary, path, keep_io=keep_io, keep_float=fits.sums)
        parity = verify(source, temporary, preprocessing=preprocessing, shapes=shapes)
    return HalfFile(read_artifact(path), source, fits, parity)


def write_half(source: Path, path: Path, shown: Path, *, keep_io: bool, keep_float: Collection[str] = ()) -> None:
    """Write a float32 file in float16, without a check of its values.

    On arm64 ONNX Runtime adds up a mean in float16, so the nodes of :attr:`HalfRange.sums` are to stay in float32.

    Args:
        source: the float32 file.
        path: where to write.
        shown: the path in messages.
        keep_io: keep inputs and outputs float32.
        keep_float: nodes to leave in float32 between casts.

    Raises:
        ExportError: the converter fails, or ONNX's checker refuses what it gives.
    """
    try:
        made = in_half(open_graph(source), keep_io=keep_io, keep_float=keep_float)
    except (ValueError, AssertionError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(f"{shown}: ONNX Runtime's converter cannot write it in float16: {reason}") from error
    metadata = {entry.key: entry.value for entry in made.metadata_props} | {"precision": FLOAT16}
    onnx.helper.set_model_props(made, metadata)
    check_size(made, shown)
    try:
        onnx.checker.check_model(made, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{shown}: ONNX's checker refuses the graph: {str(error).splitlines()[0]}") from error
    path.write_bytes(made.SerializeToString(deterministic=True))
