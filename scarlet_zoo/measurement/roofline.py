"""The roofline of this machine: its peak and bandwidth, measured through the runtime, bound every layer's time.

A layer that does F multiply-adds and moves B bytes cannot take less than max(2 F / peak, B / bandwidth)
(Williams, Waterman, Patterson, "Roofline", 2009). Peak and bandwidth are those that ONNX Runtime reaches on large
operators alone on this machine, so time above a layer's limit is not due to the processor.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from scarlet_zoo.latency import Runner, Settings, cpu_model

# Pointwise convolutions and a matrix product, each large enough that arithmetic takes nearly all of its time.
_POINTWISE = ((128, 56), (256, 28), (512, 14))
_MATRIX = 768
_DEPTH = 6
_SIZES = (1 << 18, 1 << 22, 1 << 24, 1 << 26, 1 << 28)
_FEWEST, _ROUNDS, _ENOUGH_MS = 5, 100, 500.0


@dataclass(frozen=True)
class Machine:
    """Measured limits of a machine.

    Attributes:
        device: name of the processor.
        threads: intra-op threads of the runtime.
        peak_gflops: 10^9 float32 operations a second; a multiply-add counts as two.
        bandwidth_gbs: pairs of a working set's size in bytes and the 10^9 bytes a second that are read and written.
    """

    device: str
    threads: int
    peak_gflops: float
    bandwidth_gbs: tuple[tuple[int, float], ...]

    def bandwidth(self, size_bytes: float) -> float:
        """Bytes a second for a working set of this size; between two measured sizes, that of the smaller one."""
        smaller = [rate for size, rate in self.bandwidth_gbs if size <= size_bytes]
        return 1e9 * (smaller[-1] if smaller else self.bandwidth_gbs[0][1])

    def limit_ms(self, macs: float, weight_bytes: float, activation_bytes: float, footprint_bytes: float) -> float:
        """The least time of a layer in milliseconds.

        Args:
            macs: multiply-adds of the layer.
            weight_bytes: bytes of weights, read once in each run at the bandwidth of the whole network's footprint.
            activation_bytes: bytes of activations read and written, at the bandwidth of the fastest cache level.
            footprint_bytes: bytes of the network's weights and its largest activations.
        """
        moved = weight_bytes / self.bandwidth(footprint_bytes) + activation_bytes / self.bandwidth(0)
        return 1e3 * max(2 * macs / (1e9 * self.peak_gflops), moved)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def measure_machine(threads: int = 1) -> Machine:
    """Measure peak and bandwidth of this machine, which takes a few seconds."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "roof.onnx"

        def best_ms(model: onnx.ModelProto) -> float:
            onnx.save(model, path)
            runner = Runner(path, Settings(threads=threads))
            times = [runner.time_ms() for _ in range(_FEWEST)]
            while len(times) < _ROUNDS and sum(times) < _ENOUGH_MS:
                times.append(runner.time_ms())
            # The least time, because a limit is wanted, not a typical time.
            return min(times)

        rates = [2e-6 * _DEPTH * c * c * side * side / best_ms(_pointwise(c, side)) for c, side in _POINTWISE]
        rates.append(2e-6 * _DEPTH * _MATRIX**3 / best_ms(_matrices(_MATRIX)))
        moved = [(size, 1e-6 * 2 * _DEPTH * size / best_ms(_negations(size))) for size in _SIZES]
    # The time of a small size is mostly that of the call, so a larger size that is faster counts for it too.
    fastest = [(size, max(rate for _, rate in moved[index:])) for index, (size, _) in enumerate(moved)]
    return Machine(cpu_model(), threads, max(rates), tuple(fastest))


def _pointwise(channels: int, side: int) -> onnx.ModelProto:
    weights = np.random.default_rng(0).standard_normal((channels, channels, 1, 1)) / np.sqrt(channels)
    return _chain("Conv", (1, channels, side, side), weights.astype(np.float32))


def _matrices(side: int) -> onnx.ModelProto:
    weights = np.random.default_rng(0).standard_normal((side, side)) / np.sqrt(side)
    return _chain("MatMul", (side, side), weights.astype(np.float32))


def _negations(size_bytes: int) -> onnx.ModelProto:
    return _chain("Neg", (size_bytes // 4,))


def _chain(operator: str, shape: Sequence[int], weights: np.ndarray[Any, Any] | None = None) -> onnx.ModelProto:
    """A model that applies the same operator several times, each to the output of the one before."""
    names = ["input", *(f"t{index}" for index in range(_DEPTH - 1)), "output"]
    own = [] if weights is None else ["weights"]
    nodes = [helper.make_node(operator, [names[i], *own], [names[i + 1]]) for i in range(_DEPTH)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
    held = [] if weights is None else [numpy_helper.from_array(weights, "weights")]
    graph = helper.make_graph(nodes, "roof", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
