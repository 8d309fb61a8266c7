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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import onnx_ir as ir
from numpy.typing import NDArray

from scarlet_zoo.data.calibration import calibration_images
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ArtifactError, ExportError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.load import open_graph
from scarlet_zoo.graph.passes.lower import lower, tidy
from scarlet_zoo.graph.quantization.bias import Means, channel_means
from scarlet_zoo.graph.quantization.calibrate import METHODS, Array, Observed, observe
from scarlet_zoo.graph.quantization.exact import exact_model, rounds_in_float
from scarlet_zoo.graph.quantization.float_layers import guard_float_layers, layers_to_keep
from scarlet_zoo.graph.quantization.golden import KEY, has_integer_logits, make_golden
from scarlet_zoo.graph.quantization.grids import choose_grids, with_aliases
from scarlet_zoo.graph.quantization.insert_qdq import insert
from scarlet_zoo.graph.quantization.isa import preset, this_isa
from scarlet_zoo.graph.quantization.plan import plan, tensors_of
from scarlet_zoo.graph.session import OnnxNetwork
from scarlet_zoo.utils.files import replacing

AUTO = "auto"
# Below this the answers of classifiers begin to differ visibly.
LEAST_SQNR_DB = 25.0
_VALIDATION_SHARE, _FEWEST_TO_SPLIT = 0.25, 8
_CALIBRATION_IMAGES = 128
_JUDGED = 8
# The first opset in which a weight has a scale for each channel.
_OLDEST_OPSET = 13
Progress = Callable[[int, int], None]
Outputs = list[NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Int8:
    """How to quantise.

    Attributes:
        isa: class of instruction sets (:mod:`.isa`); that of this machine when left out.
        method: how ranges are chosen: ``minmax``, ``percentile``, ``mse``, or ``auto`` for the one with the
            smallest error on a quarter of the images, which is not used for calibration.
        correct_bias: correct the mean error of rounded weights in the biases.
        keep_float: names of nodes to leave in float.
        least_sqnr_db: the SQNR below which the layers that lose most are left in float, too, up to a third of them;
            None to leave none but those of ``keep_float``.
    """

    isa: str | None = None
    method: str = AUTO
    correct_bias: bool = True
    keep_float: tuple[str, ...] = ()
    least_sqnr_db: float | None = LEAST_SQNR_DB

    def __post_init__(self) -> None:
        preset(self.isa or this_isa())
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
    """

    artifact: Artifact
    sqnr_db: float
    top1_agreement: float | None
    methods: Mapping[str, Mapping[str, float | None]]
    judged_on: str
    spread: float
    left: Mapping[str, int]
    kept: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values, with the artifact's fields beside the others."""
        rest = {key: value for key, value in asdict(self).items() if key != "artifact"}
        return {**self.artifact.to_dict(), **rest}


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
    if not len(images):
        raise ExportError("calibration: got no images, wanted some")
    network = OnnxNetwork(source)
    if network.takes_pixels:
        raise ExportError(f"{source}: got an input of uint8 pixels, wanted normalised float32 input")
    model = friendly_model(source)
    count = _validation_count(images)
    judged = images[len(images) - count :] if count else images
    calibration = network.as_taken(images[: len(images) - count] if count else images)
    planned = plan(model.graph, frozenset(how.keep_float))
    observed = observe(model, tensors_of(planned), calibration, progress)
    trial = _Trial(model, observed, how, calibration, judged, network.run(judged, network.batch))
    tried = {method: trial.run(method) for method in (METHODS if how.method == AUTO else (how.method,))}
    best = max(tried, key=lambda method: tried[method].sqnr_db)
    chosen, kept = tried[best], ()
    if how.least_sqnr_db is not None and chosen.sqnr_db < how.least_sqnr_db:
        kept = trial.layers_to_keep(best, how.least_sqnr_db)
        chosen = trial.run(best, kept)
    left = Counter(node.op_type for node in plan(model.graph, frozenset((*how.keep_float, *kept))).left)
    with replacing(path) as temporary:
        temporary.write_bytes(chosen.content)
        _describe(temporary, replace(how, keep_float=(*how.keep_float, *kept)), best, read_artifact(source),
                  len(calibration), left, described)  # fmt: skip
    return Quantized(
        read_artifact(path),
        chosen.sqnr_db,
        chosen.top1_agreement,
        {method: {"sqnr_db": row.sqnr_db, "top1_agreement": row.top1_agreement} for method, row in tried.items()},
        "held-out" if count else "calibration",
        min(_spread(output) for output in trial.truth),
        dict(left),
        kept,
    )


@dataclass(frozen=True)
class _Tried:
    """An integer model as bytes, and how close its outputs are to those of its source, computed exactly."""

    content: bytes
    sqnr_db: float
    top1_agreement: float | None


@dataclass(frozen=True)
class _Trial:
    """What a network can be quantised with: the ranges seen on images, and other images to judge on."""

    model: ir.Model
    observed: Mapping[str, Observed]
    how: Int8
    images: Array
    judged: Array
    truth: Outputs

    def ranges(self, method: str) -> dict[str, tuple[float, float]]:
        """(low, high) of every tensor by a method."""
        planned = plan(self.model.graph, frozenset(self.how.keep_float))
        return with_aliases(planned, {name: METHODS[method](seen) for name, seen in self.observed.items()})

    def run(self, method: str, kept: Sequence[str] = ()) -> _Tried:
        """Quantise with a method, these layers left in float, and judge."""
        ranges = self.ranges(method)
        kept = (*self.how.keep_float, *kept)
        # Means are counted with uint8 weights, whose kernels are exact on every processor.
        exact_zero = preset("x64").weight_zero
        means = channel_means(_inserted(self.model, ranges, kept, exact_zero, {}), self.images)
        means = means if self.how.correct_bias else {}
        zero = preset(self.how.isa or this_isa()).weight_zero
        proto = ir.serde.serialize_model(_inserted(self.model, ranges, kept, zero, means))
        network = OnnxNetwork(Path("int8.onnx"), exact_model(proto).SerializeToString())
        score = compare_outputs(self.truth, network.run(self.judged, network.batch))
        content: bytes = proto.SerializeToString(deterministic=True)
        return _Tried(content, float(score["sqnr_db"] or 0.0), score["top1_agreement"])

    def layers_to_keep(self, method: str, wanted_db: float) -> tuple[str, ...]:
        """The layers to leave in float for this SQNR."""
        ranges = self.ranges(method)
        alone = noise_alone(self.model, ranges, self.judged[:_JUDGED], self.images, frozenset(self.how.keep_float))
        return layers_to_keep(alone, wanted_db, lambda kept: self.run(method, kept).sqnr_db)


def noise_alone(
    model: ir.Model,
    ranges: Mapping[str, tuple[float, float]],
    judged: Array,
    images: Array,
    skipped: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> dict[str, float]:
    """Noise over signal of the outputs with each convolution or matrix product alone in integers, by its name.

    Args:
        model: a float network in variant ``friendly``.
        ranges: (low, high) of every tensor of the plan.
        judged: images to judge on, (N, C, H, W).
        images: calibration images, for the correction of biases.
        skipped: names of nodes that stay in float.
        progress: called with (done, expected), in layers.
    """
    exact_zero = preset("x64").weight_zero
    truth = _outputs(model, judged)
    means = channel_means(_inserted(model, ranges, tuple(skipped), exact_zero, {}), images)
    operators = plan(model.graph, skipped).operators
    layers = [str(node.name) for node in operators if node.op_type in ("Conv", "Gemm")]
    noises = {}
    for done, layer in enumerate(layers):
        others = {str(node.name) for node in operators} - {layer} | skipped
        alone = _inserted(model, ranges, tuple(others), exact_zero, means)
        noises[layer] = 10 ** (-float(compare_outputs(truth, _outputs(alone, judged))["sqnr_db"] or 0.0) / 10)
        if progress is not None:
            progress(done + 1, len(layers))
    return noises


def _outputs(model: ir.Model, images: Array) -> Outputs:
    """All outputs of a model for images."""
    network = OnnxNetwork(Path("model.onnx"), ir.serde.serialize_model(model).SerializeToString())
    return network.run(images, network.batch)


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


def _validation_count(images: Array) -> int:
    """Number of images to judge on, which do not calibrate; 0 if there are too few."""
    return round(len(images) * _VALIDATION_SHARE) if len(images) >= _FEWEST_TO_SPLIT else 0


def _inserted(
    model: ir.Model,
    ranges: Mapping[str, tuple[float, float]],
    kept: Sequence[str],
    zero: int,
    means: Mapping[str, Means],
) -> ir.Model:
    """A copy of the model with its integer operators."""
    quantized = model.clone()
    todo = plan(quantized.graph, frozenset(kept))
    insert(quantized.graph, todo, choose_grids(todo, ranges), zero, means)
    guard_float_layers(quantized.graph)
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
    # Digits beyond these are the rounding of the float network, which differs from processor to processor.
    return {"sqnr_db": round(float(min(ratios)), 3), "top1_agreement": agree}


def _spread(output: NDArray[np.float64]) -> float:
    """Standard deviation between images over the root mean square."""
    whole = float(np.mean(output**2))
    return float((np.mean(output.var(axis=0)) / whole) ** 0.5) if whole > 0 else 0.0


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
