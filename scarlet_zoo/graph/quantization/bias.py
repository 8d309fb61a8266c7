"""Means of the integers that convolutions and matrix products read, for the correction of their biases.

Rounded weights give an operator's output an error whose mean the bias can take back: the sum over the inputs of the
weight's error times the input's mean. The means are those of integers, counted exactly in the quantised network itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from scarlet_zoo.graph.passes.rewrite import producer, scalar_of
from scarlet_zoo.graph.quantization.calibrate import Array, session_of, values_of

# Means need fewer images than ranges do.
_IMAGES = 32
# Mean of each channel of a tensor, in the units of the float network.
Means = NDArray[np.float64]


def channel_means(model: ir.Model, images: Array) -> Mapping[str, Means]:
    """The mean of each channel (axis 1) of every tensor of integers that a convolution or matrix product reads.

    Args:
        model: a quantised network whose kernels are exact on this processor.
        images: calibration images, (N, C, H, W), of which at most 32 are used, spread evenly.

    Returns:
        The means by the name of the tensor of integers.
    """
    grids = _grids_read(model.graph)
    sums: dict[str, NDArray[np.int64]] = {}
    counts: dict[str, int] = {}
    chosen = images[:: -(-len(images) // _IMAGES)]
    with tempfile.TemporaryDirectory() as temporary:
        session = session_of(model, list(grids), Path(temporary) / "integers.onnx")
        for values in values_of(session, list(grids), chosen):
            for name, value in values.items():
                flat = value.reshape(*value.shape[:2], -1).astype(np.int64)
                sums[name] = sums.get(name, np.zeros(flat.shape[1], np.int64)) + flat.sum(axis=(0, 2))
                counts[name] = counts.get(name, 0) + flat.shape[0] * flat.shape[2]
    return {name: grids[name][0] * (sums[name] / counts[name] - grids[name][1]) for name in sums}


def _grids_read(graph: ir.Graph) -> dict[str, tuple[float, int]]:
    """(scale, zero) of the integers that convolutions and matrix products read, by name."""
    found = {}
    for node in graph:
        dequantize = producer(node.inputs[0], "DequantizeLinear") if node.op_type in ("Conv", "Gemm") else None
        integers = dequantize.inputs[0] if dequantize is not None else None
        if dequantize is None or integers is None or integers.producer() is None:
            continue
        scale, zero = scalar_of(dequantize.inputs[1]), scalar_of(dequantize.inputs[2])
        assert scale is not None
        assert zero is not None
        found[str(integers.name)] = (scale, int(zero))
    return found
