"""What this machine can do at best, measured through the runtime itself: the roof over every layer.

A layer that does F multiply-adds and moves B bytes cannot take less than max(2 F / peak, B / bandwidth)
(Williams, Waterman, Patterson, "Roofline", 2009). Peak and bandwidth are those that ONNX Runtime reaches on large
operators of their own here, so that what is above a layer's limit is not the processor's fault.
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

# Pointwise convolutions and a product of matrices, each large enough to be nothing but arithmetic.
_POINTWISE = ((128, 56), (256, 28), (512, 14))
_MATRIX = 768
_DEPTH = 6
_SIZES = (1 << 18, 1 << 22, 1 << 24, 1 << 26, 1 << 28)
_FEWEST, _ROUNDS, _ENOUGH_MS = 5, 100, 500.0


@dataclass(frozen=True)
class Machine:
    """Measured limits.

    Attributes:
        device: processor.
        threads: of the runtime.
        peak_gflops: 10^9 floating point operations a second, two for each multiply-add, float32.
        bandwidth_gbs: for each size of what is worked on, in bytes, 10^9 bytes a second read and written.
    """

    device: str
    threads: int
    peak_gflops: float
    bandwidth_gbs: tuple[tuple[int, float], ...]

    def bandwidth(self, size_bytes: float) -> float:
        """Bytes a second, of what is worked on in this size; between two sizes, the smaller one's."""
        smaller = [rate for size, rate in self.bandwidth_gbs if size <= size_bytes]
        return 1e9 * (smaller[-1] if smaller else self.bandwidth_gbs[0][1])

    def limit_ms(self, macs: float, weight_bytes: float, activation_bytes: float, footprint_bytes: float) -> float:
        """The least time of a layer.

        Args:
            macs: multiply-adds.
            weight_bytes: read once each run, from where the whole network's footprint lies.
            activation_bytes: read and written; just made, so that the fastest level has them.
            footprint_bytes: weights and largest activations of the network.
        """
        moved = weight_bytes / self.bandwidth(footprint_bytes) + activation_bytes / self.bandwidth(0)
        return 1e3 * max(2 * macs / (1e9 * self.peak_gflops), moved)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def measure_machine(threads: int = 1) -> Machine:
    """Measure peak and bandwidth of this machine; takes a few seconds."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "roof.onnx"

        def best_ms(model: onnx.ModelProto) -> float:
            onnx.save(model, path)
            runner = Runner(path, Settings(threads=threads))
            times = [runner.time_ms() for _ in range(_FEWEST)]
            while len(times) < _ROUNDS and sum(times) < _ENOUGH_MS:
                times.append(runner.time_ms())
            # The least, because the limit is wanted and not what is usual.
            return min(times)

        rates = [2e-6 * _DEPTH * c * c * side * side / best_ms(_pointwise(c, side)) for c, side in _POINTWISE]
        rates.append(2e-6 * _DEPTH * _MATRIX**3 / best_ms(_matrices(_MATRIX)))
        moved = [(size, 1e-6 * 2 * _DEPTH * size / best_ms(_negations(size))) for size in _SIZES]
    # What is small is dominated by the call itself; a larger size that is faster is closer to the truth.
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
    """The same operator several times, each on the last one's output."""
    names = ["input", *(f"t{index}" for index in range(_DEPTH - 1)), "output"]
    own = [] if weights is None else ["weights"]
    nodes = [helper.make_node(operator, [names[i], *own], [names[i + 1]]) for i in range(_DEPTH)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
    held = [] if weights is None else [numpy_helper.from_array(weights, "weights")]
    graph = helper.make_graph(nodes, "roof", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
