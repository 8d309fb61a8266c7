"""Measure what each layer loses in integers: one layer at a time in integers, the rest in float."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from scarlet_zoo.errors import ExportError
from scarlet_zoo.graph.load import open_graph
from scarlet_zoo.graph.passes.lower import lower, tidy
from scarlet_zoo.graph.quantization.calibrate import METHODS, Array, observe
from scarlet_zoo.graph.quantization.insert_qdq import insert
from scarlet_zoo.graph.quantization.plan import choose_grids, plan, tensors_of
from scarlet_zoo.graph.quantization.quantize import lowest_sqnr
from scarlet_zoo.graph.session import OnnxNetwork, run_in_batches
from scarlet_zoo.utils.files import replacing
from scarlet_zoo.utils.plotting import new_figure

_IMAGES = 8


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The loss of one layer in integers.

    Attributes:
        node: name of the layer in the file, as ``--keep-float`` takes it.
        operator: ``Conv`` or ``Gemm``.
        sqnr_db: with only this layer in integers, 10 log10 of the logits' mean square over their mean square error; of
            several outputs the lowest.
    """

    node: str
    operator: str
    sqnr_db: float

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def sensitivities(
    source: Path, images: Array, method: str = "mse", progress: Callable[[int, int], None] | None = None
) -> list[Sensitivity]:
    """Quantise each layer alone (data, weights and output) and measure the loss of the logits, the worst first.

    Args:
        source: a float ONNX file.
        images: calibration images, (N, C, H, W); the loss is measured on the first eight.
        method: how ranges are chosen: ``minmax``, ``percentile`` or ``mse``.
        progress: called with (done, expected), in layers.

    Raises:
        ExportError: there are no images, or the source takes uint8 pixels.
        ArtifactError: the source is not a valid ONNX graph.
    """
    if not len(images):
        raise ExportError("calibration: got no images, wanted some")
    network = OnnxNetwork(source)
    if network.takes_pixels:
        raise ExportError(f"{source}: got an input of uint8 pixels, wanted normalised float32 input")
    images = network.as_taken(images)
    model = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(open_graph(source)))
    lower(model, "friendly")
    whole = plan(model.graph)
    ranges = {name: METHODS[method](seen) for name, seen in observe(model, tensors_of(whole), images).items()}
    truth = _outputs(model, images[:_IMAGES], network.batch)
    layers = [node for node in whole.operators if node.op_type in ("Conv", "Gemm")]
    others = {str(node.name) for node in whole.operators}
    rows = []
    for done, layer in enumerate(layers):
        alone = model.clone()
        only = plan(alone.graph, frozenset(others - {str(layer.name)}))
        # Two operators share a hard-swish, so it stays in float while only one of them is quantised.
        only.swishes.clear()
        choose_grids(only, ranges)
        insert(alone.graph, only)
        tidy(alone)
        sqnr = lowest_sqnr(truth, _outputs(alone, images[:_IMAGES], network.batch))
        rows.append(Sensitivity(str(layer.name), layer.op_type, sqnr))
        if progress is not None:
            progress(done + 1, len(layers))
    return sorted(rows, key=lambda row: row.sqnr_db)


def _outputs(model: ir.Model, images: Array, batch: int) -> list[NDArray[np.float64]]:
    """All outputs of a network for N images in batches, each (N, ...)."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    content = ir.serde.serialize_model(model).SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return run_in_batches(lambda part: session.run(None, {name: part}), images, batch)


def plot_sensitivities(rows: list[Sensitivity], path: Path) -> None:
    """Draw the loss of each layer as a PNG, the worst layer on top.

    Raises:
        ScarletError: matplotlib is not installed.
    """
    figure = new_figure(8, max(3.0, 0.17 * len(rows)))
    axes = figure.add_subplot()
    axes.barh([row.node for row in rows], [row.sqnr_db for row in rows], color="#2166ac")
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=6)
    axes.set_xlabel("SQNR of the logits with this layer alone in integers (dB)")
    axes.grid(axis="x", alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
