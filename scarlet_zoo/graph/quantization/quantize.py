"""Quantise a float network to integers: calibrated on real images, with all operators in uint8 and int8.

The steps are: rewrite the graph in variant ``friendly`` (:mod:`scarlet_zoo.graph.passes.quantizable`); measure the
range of every tensor on calibration images (:mod:`.calibrate`); insert quantise and dequantise operators
(:mod:`.insert_qdq`); correct the mean error of rounded weights in the biases; write golden outputs into the file
(:mod:`.golden`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from scarlet_zoo.data.calibration import calibration_images
from scarlet_zoo.errors import ArtifactError, ExportError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.load import open_graph
from scarlet_zoo.graph.passes.lower import lower, tidy
from scarlet_zoo.graph.quantization.calibrate import METHODS, Array, Observed, observe
from scarlet_zoo.graph.quantization.golden import KEY, make_golden
from scarlet_zoo.graph.quantization.insert_qdq import insert
from scarlet_zoo.graph.quantization.isa import preset, this_isa
from scarlet_zoo.graph.quantization.plan import choose_grids, plan, tensors_of
from scarlet_zoo.graph.session import OnnxClassifier
from scarlet_zoo.utils.files import replacing

AUTO = "auto"
_VALIDATION_SHARE, _FEWEST_TO_SPLIT = 0.25, 8
_CALIBRATION_IMAGES = 128
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
        sqnr_db: 10 log10 of the logits' mean square over their mean square error, on the images of ``judged_on``.
        top1_agreement: share of those images with the same top class.
        methods: ``sqnr_db`` and ``top1_agreement`` of each method that was tried.
        judged_on: ``held-out`` for validation images, ``calibration`` if there are too few images to set any aside.
    """

    artifact: Artifact
    sqnr_db: float
    top1_agreement: float
    methods: Mapping[str, Mapping[str, float]]
    judged_on: str

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
) -> Quantized:
    """Quantise a float classifier.

    Args:
        source: an ONNX file of any exporter, in any float graph variant.
        path: where to write the integer file.
        images: calibration images: normalised float32 (N, C, H, W); or a folder of image files, of which 128 are
            used, spread evenly, if the source has its preprocessing in its metadata.
        how: settings; the defaults of :class:`Int8` when left out.
        progress: called with (done, expected).

    Raises:
        ArtifactError: the source is not a valid ONNX graph or not a classifier, or does not say its preprocessing.
        ExportError: there are no images, the source is not a float network, or its values are not finite.
        DatasetError: the folder is missing or has no images.
    """
    how, source, path = how or Int8(), Path(source), Path(path)
    images = _images_of(source, images)
    if not len(images):
        raise ExportError("calibration: got no images, wanted some")
    float_network = OnnxClassifier(source)
    if float_network.takes_pixels:
        raise ExportError(f"{source}: got an input of uint8 pixels, wanted normalised float32 input")
    proto = onnx.shape_inference.infer_shapes(open_graph(source))
    model = ir.serde.deserialize_model(proto)
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph):
        raise ExportError(f"{source}: got a network with integer operators, wanted a float network")
    lower(model, "friendly")
    count = _validation_count(images)
    judged = images[len(images) - count :] if count else images
    calibration = images[: len(images) - count] if count else images
    observed = observe(model, tensors_of(plan(model.graph, frozenset(how.keep_float))), calibration, progress)
    truth = float_network.logits(judged, float_network.batch)
    tried: dict[str, tuple[dict[str, float], bytes]] = {}
    with replacing(path) as temporary:
        for method in METHODS if how.method == AUTO else (how.method,):
            content = _quantize(model, observed, how, method)
            temporary.write_bytes(content)
            tried[method] = (_compare(truth, OnnxClassifier(temporary), judged), content)
        best = max(tried, key=lambda method: tried[method][0]["sqnr_db"])
        temporary.write_bytes(tried[best][1])
        _describe(temporary, how, best, read_artifact(source), len(calibration))
    score = tried[best][0]
    return Quantized(
        read_artifact(path),
        score["sqnr_db"],
        score["top1_agreement"],
        {method: row for method, (row, _) in tried.items()},
        "held-out" if count else "calibration",
    )


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


def _quantize(model: ir.Model, observed: Mapping[str, Observed], how: Int8, method: str) -> bytes:
    """The bytes of the integer model."""
    quantized = model.clone()
    todo = plan(quantized.graph, frozenset(how.keep_float))
    choose_grids(todo, {name: METHODS[method](seen) for name, seen in observed.items()})
    means = {name: seen.channel_means for name, seen in observed.items()} if how.correct_bias else {}
    insert(quantized.graph, todo, preset(how.isa or this_isa()).weight_zero, means)
    tidy(quantized)
    content: bytes = ir.serde.serialize_model(quantized).SerializeToString(deterministic=True)
    return content


def _compare(truth: NDArray[np.float64], network: OnnxClassifier, images: Array) -> dict[str, float]:
    """SQNR and top-1 agreement of a quantised network with the float logits."""
    got = network.logits(images, network.batch)
    noise = float(np.mean((got - truth) ** 2))
    sqnr = 10 * np.log10(float(np.mean(truth**2)) / noise) if noise > 0 else float("inf")
    return {"sqnr_db": float(sqnr), "top1_agreement": float(np.mean(got.argmax(1) == truth.argmax(1)))}


def _describe(path: Path, how: Int8, method: str, source: Artifact, images: int) -> None:
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
    }
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    if source.preprocessing is not None and not how.keep_float:
        onnx.helper.set_model_props(
            proto, metadata | {KEY: make_golden(path, source.preprocessing, preset(isa).same_on).to_json()}
        )
        path.write_bytes(proto.SerializeToString(deterministic=True))
