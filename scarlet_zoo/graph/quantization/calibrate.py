"""What range of values each tensor of a network takes on real images, and which part of it 8 bits should cover."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from scarlet_zoo.errors import ExportError

Array = NDArray[np.float32]
LEVELS = 255
_BINS = 4096
_BATCH = 4
_LEAST_WIDTH = 1e-3  # of the values: two of float32's steps a bin
_CANDIDATES = np.linspace(0.1, 1.0, 91)


@dataclass(frozen=True)
class Observed:
    """The values that a tensor took.

    Attributes:
        low, high: the least and the greatest.
        counts: a histogram between them.
        channel_means: mean of each channel (axis 1).
    """

    low: float
    high: float
    counts: NDArray[np.int64]
    channel_means: NDArray[np.float64]


def observe(
    model: ir.Model,
    names: Sequence[str],
    images: Array,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Observed]:
    """Run a float network on images and keep what its tensors were.

    Args:
        model: with one input.
        names: of the tensors.
        images: as the network takes them, (N, C, H, W).
        progress: told (done, expected).
    """
    batches = 2 * -(-len(images) // _BATCH)
    extremes: dict[str, list[float]] = {name: [np.inf, -np.inf] for name in names}
    with tempfile.TemporaryDirectory() as temporary:
        session = _session_of(model, names, Path(temporary) / "observed.onnx")
        for done, values in enumerate(_values(session, names, images)):
            for name, value in values.items():
                extremes[name] = [
                    min(extremes[name][0], float(value.min())),
                    max(extremes[name][1], float(value.max())),
                ]
            if progress is not None:
                progress(done + 1, batches)
        counts = {name: np.zeros(_BINS, dtype=np.int64) for name in names}
        sums: dict[str, Any] = dict.fromkeys(names, 0.0)
        for done, values in enumerate(_values(session, names, images)):
            for name, value in values.items():
                counts[name] += np.histogram(value, bins=_BINS, range=_edges(extremes[name]))[0]
                sums[name] = sums[name] + value.astype(np.float64).reshape(*value.shape[:2], -1).mean(axis=2).sum(
                    axis=0
                )
            if progress is not None:
                progress(batches // 2 + done + 1, batches)
    return {
        name: Observed(extremes[name][0], extremes[name][1], counts[name], sums[name] / len(images)) for name in names
    }


def _edges(extremes: Sequence[float]) -> tuple[float, float]:
    """Bounds of the histogram: wide enough that float32 tells its bins apart, where a tensor is almost constant."""
    low, high = extremes
    width = max(high - low, _LEAST_WIDTH * max(abs(low), abs(high)))
    return low, low + (width or 1e-6)


def _session_of(model: ir.Model, names: Sequence[str], path: Path) -> ort.InferenceSession:
    """The network with these tensors as its outputs."""
    probed = model.clone()
    wanted = set(names)
    made = {value.name: value for node in probed.graph for value in node.outputs}
    made |= {value.name: value for value in probed.graph.inputs}
    probed.graph.outputs.clear()
    for name in sorted(wanted):
        if name in made and made[name].producer() is not None:
            probed.graph.outputs.append(made[name])
    ir.save(probed, path)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _values(session: ort.InferenceSession, names: Sequence[str], images: Array) -> Iterator[dict[str, Array]]:
    (source,) = session.get_inputs()
    outputs = [output.name for output in session.get_outputs()]
    for part in _batches(images, source.shape[0]):
        found = dict(zip(outputs, session.run(outputs, {source.name: part}), strict=True))
        if source.name in names:
            found[source.name] = part
        if not all(np.isfinite(value).all() for value in found.values()):
            raise ExportError("calibration: the network gives values that are not finite")
        yield found


def _batches(images: Array, fixed: object) -> Iterator[Array]:
    """Parts of the images; where the batch is fixed the last ones are repeated to fill it."""
    size = fixed if isinstance(fixed, int) else _BATCH
    for start in range(0, len(images), size):
        part = images[start : start + size]
        short = size - len(part) if isinstance(fixed, int) else 0
        yield np.concatenate([part, np.repeat(part[-1:], short, axis=0)])


def whole(observed: Observed) -> tuple[float, float]:
    """All that was seen."""
    return observed.low, observed.high


def percentile(observed: Observed, share: float = 1e-4) -> tuple[float, float]:
    """All but this share of the values, half of it at each end."""
    low, high = _edges((observed.low, observed.high))
    upto = np.cumsum(observed.counts) / observed.counts.sum()
    edges = np.linspace(low, high, _BINS + 1)
    first = int(np.searchsorted(upto, share / 2))
    last = int(np.searchsorted(upto, 1 - share / 2))
    return float(edges[first]), float(edges[min(last + 1, _BINS)])


def least_error(observed: Observed) -> tuple[float, float]:
    """The range whose 8-bit grid is nearest to the values in the mean square, clipping included.

    First the upper bound is shrunk, then the lower one, each to the best of 91 shares of itself.
    """
    low, high = _edges((observed.low, observed.high))
    edges = np.linspace(low, high, _BINS + 1)
    centres, weights = (edges[1:] + edges[:-1]) / 2, observed.counts / observed.counts.sum()
    low, high = min(low, 0.0), max(high, 0.0)
    high = min(((_error(centres, weights, low, high * c), high * c) for c in _CANDIDATES), default=(0.0, high))[1]
    low = min(((_error(centres, weights, low * c, high), low * c) for c in _CANDIDATES), default=(0.0, low))[1]
    return low, high


def _error(centres: NDArray[np.float64], weights: NDArray[np.float64], low: float, high: float) -> float:
    if high - low <= 0:
        return float("inf")
    step = (high - low) / LEVELS
    near = np.clip(np.rint((centres - low) / step), 0, LEVELS) * step + low
    return float(np.sum(weights * (near - centres) ** 2))


METHODS: Mapping[str, Callable[[Observed], tuple[float, float]]] = {
    "minmax": whole,
    "percentile": percentile,
    "mse": least_error,
}
