"""Quantise a float network to integers: calibrated on real images, with all operators in uint8 and int8.

The steps are: rewrite the graph in variant ``friendly`` (:mod:`scarlet_zoo.graph.passes.quantizable`); measure the
range of every tensor on calibration images (:mod:`.calibrate`); insert quantise and dequantise operators
(:mod:`.insert_qdq`); correct the mean error of rounded weights in the biases; write golden outputs into the file
(:mod:`.golden`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from scarlet_zoo.data.calibration import calibration_images
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ArtifactError, ExportError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.load import open_graph
from scarlet_zoo.graph.passes.lower import lower, tidy
from scarlet_zoo.graph.quantization.calibrate import METHODS, Array, Observed, observe
from scarlet_zoo.graph.quantization.golden import KEY, logits_grid, make_golden
from scarlet_zoo.graph.quantization.insert_qdq import insert
from scarlet_zoo.graph.quantization.isa import preset, this_isa
from scarlet_zoo.graph.quantization.plan import choose_grids, plan, tensors_of
from scarlet_zoo.graph.session import OnnxNetwork
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
        sqnr_db: 10 log10 of the logits' mean square over their mean square error, on the images of ``judged_on``; of
            several outputs the lowest.
        top1_agreement: share of those images with the same top class; None for a network without one output of
            logits (N, classes), which has no top class.
        methods: ``sqnr_db`` and ``top1_agreement`` of each method that was tried.
        judged_on: ``held-out`` for validation images, ``calibration`` if there are too few images to set any aside.
    """

    artifact: Artifact
    sqnr_db: float
    top1_agreement: float | None
    methods: Mapping[str, Mapping[str, float | None]]
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
    *,
    preprocessing: Preprocessing | None = None,
) -> Quantized:
    """Quantise a float network.

    Args:
        source: an ONNX file of any exporter, in any float graph variant.
        path: where to write the integer file.
        images: calibration images: normalised float32 (N, C, H, W); or a folder of image files, of which 128 are
            used, spread evenly, if its preprocessing is known.
        how: settings; the defaults of :class:`Int8` when left out.
        progress: called with (done, expected).
        preprocessing: how images are prepared, which is also written into the file; as the source's metadata say when
            left out.

    Raises:
        ArtifactError: the source is not a valid ONNX graph, or images are to be read for it and nothing says its
            preprocessing.
        ExportError: there are no images, the source is not a float network, or its values are not finite.
        DatasetError: the folder is missing or has no images.
    """
    how, source, path = how or Int8(), Path(source), Path(path)
    described = preprocessing or read_artifact(source).preprocessing
    images = _images_of(source, images, described)
    if not len(images):
        raise ExportError("calibration: got no images, wanted some")
    float_network = OnnxNetwork(source)
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
    taken = float_network.as_taken(calibration)
    observed = observe(model, tensors_of(plan(model.graph, frozenset(how.keep_float))), taken, progress)
    truth = float_network.run(judged, float_network.batch)
    tried: dict[str, tuple[Score, bytes]] = {}
    with replacing(path) as temporary:
        for method in METHODS if how.method == AUTO else (how.method,):
            content = _quantize(model, observed, how, method)
            temporary.write_bytes(content)
            tried[method] = (_compare(truth, OnnxNetwork(temporary), judged), content)
        best = max(tried, key=lambda method: tried[method][0].sqnr_db)
        temporary.write_bytes(tried[best][1])
        _describe(temporary, how, best, read_artifact(source), len(calibration), described)
    score = tried[best][0]
    return Quantized(
        read_artifact(path),
        score.sqnr_db,
        score.top1_agreement,
        {method: asdict(row) for method, (row, _) in tried.items()},
        "held-out" if count else "calibration",
    )


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


@dataclass(frozen=True)
class Score:
    """How close the outputs of an integer network are to those of the float network, as in :class:`Quantized`."""

    sqnr_db: float
    top1_agreement: float | None


def _compare(truth: Sequence[NDArray[np.float64]], network: OnnxNetwork, images: Array) -> Score:
    """Score a quantised network against all outputs of the float network."""
    got = network.run(images, network.batch)
    classifies = len(truth) == 1 and truth[0].ndim == 2
    agree = float(np.mean(got[0].argmax(1) == truth[0].argmax(1))) if classifies else None
    return Score(lowest_sqnr(truth, got), agree)


def lowest_sqnr(truth: Sequence[NDArray[Any]], got: Sequence[NDArray[Any]]) -> float:
    """The signal-to-noise ratio in dB of the output that is furthest from its float values."""
    ratios = []
    for wanted, output in zip(truth, got, strict=True):
        wide = np.asarray(wanted, dtype=np.float64)
        noise, signal = float(np.mean((output - wide) ** 2)), float(np.mean(wide**2))
        ratios.append(float("inf") if noise == 0 else 10 * float(np.log10(signal / noise)) if signal else -float("inf"))
    return min(ratios)


def _describe(path: Path, how: Int8, method: str, source: Artifact, images: int, feed: Preprocessing | None) -> None:
    """Write the metadata, check the file, and add golden outputs if its preprocessing is known and it has a grid."""
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
        **({"preprocessing": feed.to_json()} if feed is not None else {}),
    }
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    if feed is not None and not how.keep_float and _gives_integer_logits(path):
        onnx.helper.set_model_props(proto, metadata | {KEY: make_golden(path, feed, preset(isa).same_on).to_json()})
        path.write_bytes(proto.SerializeToString(deterministic=True))


def _gives_integer_logits(path: Path) -> bool:
    """Whether a file's only output are logits (N, classes) on an integer grid, which golden outputs are made of."""
    network = OnnxNetwork(path)
    if len(network.outputs) != 1 or network.ranks != [2]:
        return False
    try:
        logits_grid(path)
    except ArtifactError:
        return False
    return True
