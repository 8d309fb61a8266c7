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
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import onnx_ir as ir
from numpy.typing import NDArray

from scarlet_zoo.data.calibration import calibration_images
from scarlet_zoo.errors import ArtifactError, ExportError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.load import open_graph
from scarlet_zoo.graph.passes.lower import lower, tidy
from scarlet_zoo.graph.quantization.bias import Means, channel_means
from scarlet_zoo.graph.quantization.calibrate import METHODS, Array, Observed, observe
from scarlet_zoo.graph.quantization.exact import exact_model, rounds_in_float
from scarlet_zoo.graph.quantization.golden import KEY, has_integer_logits, make_golden
from scarlet_zoo.graph.quantization.grids import choose_grids
from scarlet_zoo.graph.quantization.insert_qdq import insert
from scarlet_zoo.graph.quantization.isa import preset, this_isa
from scarlet_zoo.graph.quantization.plan import plan, tensors_of
from scarlet_zoo.graph.session import OnnxNetwork
from scarlet_zoo.utils.files import replacing

AUTO = "auto"
_VALIDATION_SHARE, _FEWEST_TO_SPLIT = 0.25, 8
_CALIBRATION_IMAGES = 128
# The first opset in which a weight has a scale for each channel.
_OLDEST_OPSET = 13
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Int8:
    """How to quantise.

    Attributes:
        isa: class of instruction sets (:mod:`.isa`); that of this machine when left out.
        method: how ranges are chosen: ``minmax``, ``percentile``, ``mse``, or ``auto`` for the one with the
            smallest error on a quarter of the images, which is not used for calibration.
        correct_bias: correct the mean error of rounded weights in the biases.
        keep_float: names of nodes to leave in float.
    """

    isa: str | None = None
    method: str = AUTO
    correct_bias: bool = True
    keep_float: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        preset(self.isa or this_isa())
        if self.method not in (AUTO, *METHODS):
            raise ExportError(f"calibration method: got {self.method!r}, wanted auto or one of {' '.join(METHODS)}")


@dataclass(frozen=True)
class Quantized:
    """An integer file, and how close its outputs are to those of its source.

    Attributes:
        artifact: the integer file.
        sqnr_db: 10 log10 of an output's mean square over its mean square error, on the images of ``judged_on``, computed
            in exact integer arithmetic; of several outputs the lowest.
        top1_agreement: share of those images with the same top class; None for a network that is no classifier.
        methods: ``sqnr_db`` and ``top1_agreement`` of each method that was tried.
        judged_on: ``held-out`` for validation images, ``calibration`` if there are too few images to set any aside.
        spread: standard deviation of an output between images over its root mean square, the smallest of all outputs.
            Where it is near 0, the outputs hardly depend on the image, and the SQNR says little.
        left: number of operators that stay in float, by operator.
    """

    artifact: Artifact
    sqnr_db: float
    top1_agreement: float | None
    methods: Mapping[str, Mapping[str, float | None]]
    judged_on: str
    spread: float
    left: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values, with the artifact's fields beside the others."""
        rest = {key: value for key, value in asdict(self).items() if key != "artifact"}
        return {**self.artifact.to_dict(), **rest}


Outputs = list[NDArray[np.float64]]


def quantize_int8(
    source: str | Path,
    path: str | Path,
    images: Array | str | Path,
    how: Int8 | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """Quantise a float network.

    Args:
        source: an ONNX file of any exporter, in any float graph variant, with one image as its input.
        path: where to write the integer file.
        images: calibration images: normalised float32 (N, C, H, W); or a folder of image files, of which 128 are
            used, spread evenly, if the source has its preprocessing in its metadata.
        how: settings; the defaults of :class:`Int8` when left out.
        progress: called with (done, expected).

    Raises:
        ArtifactError: the source is not a valid ONNX graph or takes no images, or does not say its preprocessing.
        ExportError: there are no images, the source is not a float network, or its values are not finite.
        DatasetError: the folder is missing or has no images.
    """
    how, source, path = how or Int8(), Path(source), Path(path)
    images = _images_of(source, images)
    if not len(images):
        raise ExportError("calibration: got no images, wanted some")
    network = OnnxNetwork(source)
    if network.takes_pixels:
        raise ExportError(f"{source}: got an input of uint8 pixels, wanted normalised float32 input")
    model = friendly_model(source)
    count = _validation_count(images)
    judged = images[len(images) - count :] if count else images
    calibration = images[: len(images) - count] if count else images
    planned = plan(model.graph, frozenset(how.keep_float))
    observed = observe(model, tensors_of(planned), calibration, progress)
    truth = network.run(judged, network.batch)
    tried: dict[str, tuple[dict[str, float | None], bytes]] = {}
    for method in METHODS if how.method == AUTO else (how.method,):
        content = _quantize(model, observed, how, method, calibration)
        exact = exact_model(onnx.ModelProto.FromString(content)).SerializeToString()
        tried[method] = (compare_outputs(truth, OnnxNetwork(path, exact).run(judged, network.batch)), content)
    best = max(tried, key=lambda method: tried[method][0]["sqnr_db"] or -np.inf)
    left = Counter(node.op_type for node in planned.left)
    with replacing(path) as temporary:
        temporary.write_bytes(tried[best][1])
        _describe(temporary, how, best, read_artifact(source), len(calibration), left)
    score = tried[best][0]
    return Quantized(
        read_artifact(path),
        float(score["sqnr_db"] or 0.0),
        score["top1_agreement"],
        {method: row for method, (row, _) in tried.items()},
        "held-out" if count else "calibration",
        min(_spread(output) for output in truth),
        dict(left),
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
            raise ExportError(f"{source}: opset {opset} cannot be raised to {_OLDEST_OPSET}: {reason}; {wanted}") from error
    model = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto))
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear", "QLinearConv") for node in model.graph):
        raise ExportError(f"{source}: got a network with integer operators, wanted a float network")
    lower(model, "friendly")
    return model


def _images_of(source: Path, images: Array | str | Path) -> Array:
    """The calibration images, read from a folder if they are not an array."""
    if isinstance(images, np.ndarray):
        return images
    feed = read_artifact(source).preprocessing
    if feed is None:
        wanted = "wanted calibration images as an array (N, C, H, W)"
        raise ArtifactError(f"{source}: does not describe its preprocessing, {wanted}")
    return calibration_images(str(images), feed, _CALIBRATION_IMAGES)


def _validation_count(images: Array) -> int:
    """Number of images to judge on, which do not calibrate; 0 if there are too few."""
    return round(len(images) * _VALIDATION_SHARE) if len(images) >= _FEWEST_TO_SPLIT else 0


def _quantize(
    model: ir.Model, observed: Mapping[str, Observed], how: Int8, method: str, images: Array
) -> bytes:
    """The bytes of the integer model."""
    ranges = {name: METHODS[method](seen) for name, seen in observed.items()}
    zero = preset(how.isa or this_isa()).weight_zero
    means = {}
    if how.correct_bias:
        # With uint8 weights, whose kernels are exact on every processor.
        means = channel_means(_inserted(model, ranges, how, preset("x64").weight_zero, {}), images)
    quantized = _inserted(model, ranges, how, zero, means)
    content: bytes = ir.serde.serialize_model(quantized).SerializeToString(deterministic=True)
    return content


def _inserted(
    model: ir.Model, ranges: Mapping[str, tuple[float, float]], how: Int8, zero: int, means: Mapping[str, Means]
) -> ir.Model:
    """A copy of the model with its integer operators."""
    quantized = model.clone()
    todo = plan(quantized.graph, frozenset(how.keep_float))
    insert(quantized.graph, todo, choose_grids(todo, ranges), zero, means)
    tidy(quantized)
    return quantized


def compare_outputs(truth: Outputs, got: Outputs) -> dict[str, float | None]:
    """SQNR in dB (the lowest of several outputs) and top-1 agreement (None without one output of logits)."""
    ratios = []
    for wanted, found in zip(truth, got, strict=True):
        noise = float(np.mean((found - wanted) ** 2))
        ratios.append(10 * np.log10(max(float(np.mean(wanted**2)), 1e-300) / noise) if noise > 0 else np.inf)
    logits = len(truth) == 1 and truth[0].ndim == 2
    agree = float(np.mean(got[0].argmax(1) == truth[0].argmax(1))) if logits else None
    return {"sqnr_db": float(min(ratios)), "top1_agreement": agree}


def _spread(output: NDArray[np.float64]) -> float:
    """Standard deviation between images over the root mean square."""
    whole = float(np.mean(output**2))
    return float((np.mean(output.var(axis=0)) / whole) ** 0.5) if whole > 0 else 0.0


def _describe(path: Path, how: Int8, method: str, source: Artifact, images: int, left: Mapping[str, int]) -> None:
    """Write the metadata, check the file, and add golden outputs if the source says its preprocessing."""
    isa = how.isa or this_isa()
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
    }
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    if source.preprocessing is not None and has_integer_logits(proto):
        # Only what is integer throughout gives the same bits everywhere.
        isas = () if left or how.keep_float or rounds_in_float(proto) else preset(isa).same_on
        onnx.helper.set_model_props(
            proto, metadata | {KEY: make_golden(path, source.preprocessing, isas).to_json()}
        )
        path.write_bytes(proto.SerializeToString(deterministic=True))
