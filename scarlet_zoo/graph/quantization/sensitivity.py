"""Measure what each layer loses in integers: one layer at a time in integers, the rest in float."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scarlet_zoo.errors import ExportError
from scarlet_zoo.graph.quantization.calibrate import METHODS, Array, observe
from scarlet_zoo.graph.quantization.grids import with_aliases
from scarlet_zoo.graph.quantization.isa import preset, usual_preset
from scarlet_zoo.graph.quantization.plan import plan, tensors_of
from scarlet_zoo.graph.quantization.quantize import friendly_model
from scarlet_zoo.graph.quantization.trial import noise_alone
from scarlet_zoo.graph.session import OnnxNetwork
from scarlet_zoo.graph.strange import of_strange_file
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


@of_strange_file("measured in integers")
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
    taken = network.as_taken(images)
    model = friendly_model(source)
    planned = plan(model.graph)
    observed = observe(model, tensors_of(planned), taken)
    ranges = with_aliases(planned, {name: METHODS[method](seen) for name, seen in observed.items()})
    noises = noise_alone(model, ranges, images[:_IMAGES], taken, preset(usual_preset()), progress=progress)
    operators = {str(node.name): node.op_type for node in planned.operators}
    rows = [
        Sensitivity(name, operators[name], float(-10 * np.log10(max(noise, 1e-300)))) for name, noise in noises.items()
    ]
    return sorted(rows, key=lambda row: row.sqnr_db)


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
