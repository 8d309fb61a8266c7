"""Quantise a float network to integers: calibrated on real images, with all operators in uint8 and int8.

The steps are: rewrite the graph in variant ``friendly`` (:mod:`scarlet_zoo.graph.passes.quantizable`); decide what
computes in integers (:mod:`.plan`); measure the range of every tensor on calibration images (:mod:`.calibrate`); choose
grids (:mod:`.grids`) and insert quantise and dequantise operators (:mod:`.insert_qdq`); correct the mean error of
rounded weights in the biases; write golden outputs into the file (:mod:`.golden`).

Whatever is decided or told about integers is computed exactly (:mod:`.exact`), so the same command gives the same
answers on a processor whose kernels saturate.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import onnx_ir as ir

from scarlet_zoo.data.calibration import calibration_images
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ArtifactError, ExportError, ScarletWarning
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.load import open_graph
from scarlet_zoo.graph.passes.lower import lower
from scarlet_zoo.graph.quantization.calibrate import METHODS, Array, observe
from scarlet_zoo.graph.quantization.exact import rounds_in_float
from scarlet_zoo.graph.quantization.golden import KEY, has_integer_logits, make_golden
from scarlet_zoo.graph.quantization.isa import preset, usual_preset
from scarlet_zoo.graph.quantization.plan import plan, tensors_of
from scarlet_zoo.graph.quantization.trial import Trial, spread_of
from scarlet_zoo.graph.session import OnnxNetwork
from scarlet_zoo.graph.strange import of_strange_file
from scarlet_zoo.utils.files import replacing

AUTO = "auto"
# Below this the answers of classifiers begin to differ visibly.
LEAST_SQNR_DB = 25.0
_VALIDATION_SHARE, _FEWEST_TO_SPLIT = 0.25, 8
_CALIBRATION_IMAGES = 128
# Outputs that vary by less than this share of their size between images are nearly constant.
_LITTLE = 5e-3
# The first opset in which a weight has a scale for each channel.
_OLDEST_OPSET = 13
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Int8:
    """How to quantise.

    Attributes:
        isa: a preset of :mod:`.isa`; that of this machine when left out.
        method: how ranges are chosen: ``minmax``, ``percentile``, ``mse``, or ``auto`` for the one with the
            smallest error on a quarter of the images, which is not used for calibration.
        correct_bias: correct the mean error of rounded weights in the biases.
        keep_float: names of nodes to leave in float.
        least_sqnr_db: the SQNR below which the layers that lose most are left in float, too, up to 60 %;
            None to leave none but those of ``keep_float``.
    """

    isa: str | None = None
    method: str = AUTO
    correct_bias: bool = True
    keep_float: tuple[str, ...] = ()
    least_sqnr_db: float | None = LEAST_SQNR_DB

    def __post_init__(self) -> None:
        preset(self.isa or usual_preset())
        if self.method not in (AUTO, *METHODS):
            raise ExportError(f"calibration method: got {self.method!r}, wanted auto or one of {' '.join(METHODS)}")


@dataclass(frozen=True)
class Quantized:
    """An integer file, and how close its outputs are to those of its source.

    Attributes:
        artifact: the integer file.
        sqnr_db: 10 log10 of an output's mean square over its mean square error, on the images of ``judged_on``, in
            exact integer arithmetic; of several outputs the lowest.
        top1_agreement: share of those images with the same top class; None for a network that is no classifier.
        methods: ``sqnr_db`` and ``top1_agreement`` of each method that was tried.
        judged_on: ``held-out`` for validation images, ``calibration`` if there are too few images to set any aside.
        spread: standard deviation of an output between images over its root mean square, the smallest of all outputs.
            Where it is near 0, the outputs hardly depend on the image, and the SQNR says little.
        left: number of operators that stay in float, by operator.
        kept: names of the layers that stay in float because the network would lose too much with them in integers.
        integer_layers: number of convolutions and matrix products that are computed in integers.
    """

    artifact: Artifact
    sqnr_db: float
    top1_agreement: float | None
    methods: Mapping[str, Mapping[str, float | None]]
    judged_on: str
    spread: float
    left: Mapping[str, int]
    kept: tuple[str, ...] = ()
    integer_layers: int = 0

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values, with the artifact's fields beside the others."""
        rest = {key: value for key, value in asdict(self).items() if key != "artifact"}
        return {**self.artifact.to_dict(), **rest}


@of_strange_file("quantised")
def quantize_int8(
    source: str | Path,
    path: str | Path,
    images: Array | str | Path,
    how: Int8 | None = None,
    progress: Progress | None = None,
    *,
    preprocessing: Preprocessing | None = None,
) -> Quantized:
    """Quantise a float network.

    Args:
        source: an ONNX file of any exporter, in any float graph variant, with one image as its input.
        path: where to write the integer file.
        images: calibration images: normalised float32 (N, C, H, W); or a folder of image files, of which 128 are
            used, spread evenly, if its preprocessing is known.
        how: settings; the defaults of :class:`Int8` when left out.
        progress: called with (done, expected).
        preprocessing: how images are prepared, which is also written into the file; as the source's metadata say when
            left out.

    Raises:
        ArtifactError: the source is not a valid ONNX graph or takes no images; or images are to be
            read for it, and nothing says its preprocessing.
        ExportError: there are no images, the source is not a float network, or its values are not finite.
        DatasetError: the folder is missing or has no images.
    """
    how, source, path = how or Int8(), Path(source), Path(path)
    described = preprocessing or read_artifact(source).preprocessing
    images = _images_of(source, images, described)
    used, judged = set_aside(images)
    network = OnnxNetwork(source)
    if network.takes_pixels:
        raise ExportError(f"{source}: got an input of uint8 pixels, wanted normalised float32 input")
    model = friendly_model(source)
    calibration = network.as_taken(used)
    planned = plan(model.graph, frozenset(how.keep_float))
    observed = observe(model, tensors_of(planned), calibration, progress)
    trial = Trial(
        model, observed, calibration, judged, network.run(judged, network.batch),
        weights=preset(how.isa or usual_preset()), keep_float=how.keep_float, correct_bias=how.correct_bias,
    )  # fmt: skip
    tried = {method: trial.run(method) for method in (METHODS if how.method == AUTO else (how.method,))}
    best = max(tried, key=lambda method: tried[method].sqnr_db)
    chosen = tried[best]
    kept: tuple[str, ...] = ()
    if how.least_sqnr_db is not None and chosen.sqnr_db < how.least_sqnr_db:
        kept = trial.layers_to_keep(best, how.least_sqnr_db)
        chosen = trial.run(best, kept)
    final = plan(model.graph, frozenset((*how.keep_float, *kept)))
    left = Counter(node.op_type for node in final.left)
    with replacing(path) as temporary:
        temporary.write_bytes(chosen.content)
        _describe(temporary, replace(how, keep_float=(*how.keep_float, *kept)), best, read_artifact(source),
                  len(calibration), left, described)  # fmt: skip
    spread = min(spread_of(output) for output in trial.truth)
    if spread < _LITTLE:
        warnings.warn(
            f"{source}: its outputs vary by only {spread:.1e} of their size between images, so the SQNR says little",
            ScarletWarning,
            stacklevel=2,
        )
    return Quantized(
        read_artifact(path),
        chosen.sqnr_db,
        chosen.top1_agreement,
        {method: {"sqnr_db": row.sqnr_db, "top1_agreement": row.top1_agreement} for method, row in tried.items()},
        "calibration" if used is judged else "held-out",
        spread,
        dict(left),
        kept,
        sum(node.op_type in ("Conv", "Gemm") for node in final.operators),
    )


def friendly_model(source: Path) -> ir.Model:
    """Read a float network in the graph variant ``friendly``, with opset 13 or later, the first with scales by channel.

    Raises:
        ArtifactError: the file is not a valid ONNX graph.
        ExportError: it has integer operators, or an opset that cannot be raised to 13.
    """
    proto = open_graph(source)
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST_OPSET:
        try:
            proto = onnx.version_converter.convert_version(proto, _OLDEST_OPSET)
        except (RuntimeError, ValueError, onnx.version_converter.ConvertError) as error:
            reason = str(error).strip().splitlines()[0]
            wanted = f"wanted a file of opset {_OLDEST_OPSET} or later"
            raise ExportError(
                f"{source}: opset {opset} cannot be raised to {_OLDEST_OPSET}: {reason}; {wanted}"
            ) from error
    model = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto))
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear", "QLinearConv") for node in model.graph):
        raise ExportError(f"{source}: got a network with integer operators, wanted a float network")
    lower(model, "friendly")
    return model


def _images_of(source: Path, images: Array | str | Path, feed: Preprocessing | None) -> Array:
    """The calibration images, read from a folder if they are not an array."""
    if isinstance(images, np.ndarray):
        return images
    if feed is None:
        wanted = "wanted calibration images as an array (N, C, H, W), or the argument preprocessing"
        raise ArtifactError(f"{source}: does not describe its preprocessing, {wanted}")
    return calibration_images(str(images), feed, _CALIBRATION_IMAGES)


def set_aside(images: Array) -> tuple[Array, Array]:
    """Images to calibrate with, and those to judge on: the last quarter, or the very same array where there are few.

    Raises:
        ExportError: there are none.
    """
    if not len(images):
        raise ExportError("calibration: got no images, wanted some")
    count = round(len(images) * _VALIDATION_SHARE) if len(images) >= _FEWEST_TO_SPLIT else 0
    return (images[: len(images) - count], images[len(images) - count :]) if count else (images, images)


def _describe(
    path: Path,
    how: Int8,
    method: str,
    source: Artifact,
    images: int,
    left: Mapping[str, int],
    feed: Preprocessing | None,
) -> None:
    """Write the metadata, check the file, and add golden outputs if it takes known images and gives integer logits."""
    isa = how.isa or usual_preset()
    proto = onnx.load(path)
    metadata = {entry.key: entry.value for entry in proto.metadata_props} | source.metadata
    metadata |= {
        "form": "friendly",
        "precision": "int8",
        "isa": isa,
        "calibration": json.dumps({"method": method, "images": images, "bias_correction": how.correct_bias}),
        "source_sha256": source.sha256,
        "kept_float": json.dumps(list(how.keep_float)),
        "left_in_float": json.dumps(dict(left)),
        **({"preprocessing": feed.to_json()} if feed is not None else {}),
    }
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    if feed is not None and has_integer_logits(proto):
        # Only what is integer throughout gives the same bits everywhere.
        isas = () if left or how.keep_float or rounds_in_float(proto) else preset(isa).same_on
        onnx.helper.set_model_props(proto, metadata | {KEY: make_golden(path, feed, isas).to_json()})
        path.write_bytes(proto.SerializeToString(deterministic=True))
