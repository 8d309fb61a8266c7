"""A float network to an integer one: calibrated on real images, all of it in uint8 and int8.

The steps: the friendly form (:mod:`scarlet_zoo.graph.passes.quantizable`), the range of every tensor on calibration
images (:mod:`.ranges`), quantise and dequantise operators around everything (:mod:`.insertion`), the mean error
that rounding weights causes taken back into the biases, and golden outputs into the file (:mod:`.golden`).
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
_HELD_OUT, _FEWEST_TO_SPLIT = 0.25, 8
_CALIBRATION_IMAGES = 128
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Int8:
    """How to quantise.

    Attributes:
        isa: class of instruction sets, see :mod:`.presets`; this machine's when left out.
        method: how a range is chosen, ``minmax``, ``percentile`` or ``mse``, or ``auto``: the one with the
            least error on a quarter of the calibration images that is held out.
        correct_bias: take the mean error of rounded weights back into the biases.
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
    """An integer file, and how well it follows its source.

    Attributes:
        artifact: the file.
        sqnr_db: 10 log10 of the logits' mean square over that of their error, on the images of ``judged_on``.
        top1_agreement: share of those images with the same top class.
        methods: ``sqnr_db`` and ``top1_agreement`` of each method that was tried.
        judged_on: ``held-out`` calibration images, or ``calibration`` where there are too few to hold any out.
    """

    artifact: Artifact
    sqnr_db: float
    top1_agreement: float
    methods: Mapping[str, Mapping[str, float]]
    judged_on: str

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the artifact's fields and the rest."""
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
        source: an ONNX file of any exporter, in any float form.
        path: of the integer file.
        images: calibration images: as the network takes them, float32 (N, C, H, W); or a folder of image files, of
            which 128 are used, spread evenly, for a source that says how it is fed.
        how: the settings; the defaults of :class:`Int8` when left out.
        progress: called with (done, expected).

    Raises:
        ArtifactError: the source is no sound graph, or no classifier.
        ExportError: no images, or values that are not finite.
        DatasetError: no such folder, or no images in it.
    """
    how, source, path = how or Int8(), Path(source), Path(path)
    images = _images_of(source, images)
    if not len(images):
        raise ExportError("calibration: got no images, wanted some")
    float_network = OnnxClassifier(source)
    if float_network.takes_pixels:
        raise ExportError(f"{source}: takes uint8 pixels, wanted a file with normalised float32 input")
    proto = onnx.shape_inference.infer_shapes(open_graph(source))
    model = ir.serde.deserialize_model(proto)
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph):
        raise ExportError(f"{source}: has integer parts already, wanted a float network")
    lower(model, "friendly")
    held = _held_out(images)
    judged = images[len(images) - held :] if held else images
    calibration = images[: len(images) - held] if held else images
    observed = observe(model, tensors_of(plan(model.graph, frozenset(how.keep_float))), calibration, progress)
    truth = float_network.logits(judged, float_network.batch)
    tried: dict[str, tuple[dict[str, float], bytes]] = {}
    with replacing(path) as temporary:
        for method in METHODS if how.method == AUTO else (how.method,):
            made = _quantize(model, observed, how, method)
            temporary.write_bytes(made)
            tried[method] = (_compare(truth, OnnxClassifier(temporary), judged), made)
        best = max(tried, key=lambda method: tried[method][0]["sqnr_db"])
        temporary.write_bytes(tried[best][1])
        _describe(temporary, how, best, read_artifact(source), len(calibration))
    score = tried[best][0]
    return Quantized(
        read_artifact(path),
        score["sqnr_db"],
        score["top1_agreement"],
        {method: row for method, (row, _) in tried.items()},
        "held-out" if held else "calibration",
    )


def _images_of(source: Path, images: Array | str | Path) -> Array:
    if isinstance(images, np.ndarray):
        return images
    feed = read_artifact(source).preprocessing
    if feed is None:
        wanted = "wanted calibration images as an array (N, C, H, W)"
        raise ArtifactError(f"{source}: says nothing of its preprocessing, {wanted}")
    return calibration_images(str(images), feed, _CALIBRATION_IMAGES)


def _held_out(images: Array) -> int:
    return round(len(images) * _HELD_OUT) if len(images) >= _FEWEST_TO_SPLIT else 0


def _quantize(model: ir.Model, observed: Mapping[str, Observed], how: Int8, method: str) -> bytes:
    """The integer model's bytes."""
    made = model.clone()
    todo = plan(made.graph, frozenset(how.keep_float))
    choose_grids(todo, {name: METHODS[method](seen) for name, seen in observed.items()})
    means = {name: seen.channel_means for name, seen in observed.items()} if how.correct_bias else {}
    insert(made.graph, todo, preset(how.isa or this_isa()).weight_zero, means)
    tidy(made)
    content: bytes = ir.serde.serialize_model(made).SerializeToString(deterministic=True)
    return content


def _compare(truth: NDArray[np.float64], network: OnnxClassifier, images: Array) -> dict[str, float]:
    got = network.logits(images, network.batch)
    noise = float(np.mean((got - truth) ** 2))
    sqnr = 10 * np.log10(float(np.mean(truth**2)) / noise) if noise > 0 else float("inf")
    return {"sqnr_db": float(sqnr), "top1_agreement": float(np.mean(got.argmax(1) == truth.argmax(1)))}


def _describe(path: Path, how: Int8, method: str, source: Artifact, images: int) -> None:
    """Metadata, checked, with golden outputs where the file says how it is fed."""
    isa = how.isa or this_isa()
    proto = onnx.load(path)
    told = {entry.key: entry.value for entry in proto.metadata_props} | source.metadata
    told |= {
        "form": "friendly",
        "precision": "int8",
        "isa": isa,
        "calibration": json.dumps({"method": method, "images": images, "bias_correction": how.correct_bias}),
        "source_sha256": source.sha256,
        "kept_float": json.dumps(list(how.keep_float)),
    }
    onnx.helper.set_model_props(proto, told)
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    if source.preprocessing is not None and not how.keep_float:
        onnx.helper.set_model_props(
            proto, told | {KEY: make_golden(path, source.preprocessing, preset(isa).same_on).to_json()}
        )
        path.write_bytes(proto.SerializeToString(deterministic=True))
