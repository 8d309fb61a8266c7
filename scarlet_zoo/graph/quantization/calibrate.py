"""Measure the range of each tensor of a network on real images, and choose the part that 8 bits should cover."""

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
_LEAST_WIDTH = 1e-3  # relative to the values: each bin is at least two float32 steps wide
_CANDIDATES = np.linspace(0.1, 1.0, 91)


@dataclass(frozen=True)
class Observed:
    """Statistics of the values of one tensor.

    Attributes:
        low, high: smallest and largest value.
        counts: histogram of the values, 4096 bins.
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
    """Run a float network on images and collect statistics of its tensors.

    Args:
        model: a network with one input.
        names: names of the tensors to observe.
        images: normalised images as the network takes them, float32 (N, C, H, W).
        progress: called with (done, expected), in batches.

    Raises:
        ExportError: the network gives values that are not finite.
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
    """Bounds of the histogram; for an almost constant tensor wide enough to separate the bins in float32."""
    low, high = extremes
    width = max(high - low, _LEAST_WIDTH * max(abs(low), abs(high)))
    return low, low + (width or 1e-6)


def _session_of(model: ir.Model, names: Sequence[str], path: Path) -> ort.InferenceSession:
    """Load the network with these tensors as its outputs."""
    probed = model.clone()
    wanted = set(names)
    values = {value.name: value for node in probed.graph for value in node.outputs}
    values |= {value.name: value for value in probed.graph.inputs}
    probed.graph.outputs.clear()
    for name in sorted(wanted):
        if name in values and values[name].producer() is not None:
            probed.graph.outputs.append(values[name])
    ir.save(probed, path)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _values(session: ort.InferenceSession, names: Sequence[str], images: Array) -> Iterator[dict[str, Array]]:
    """Yield the values of the tensors by name, one batch at a time."""
    (source,) = session.get_inputs()
    outputs = [output.name for output in session.get_outputs()]
    for part in _batches(images, source.shape[0]):
        found = dict(zip(outputs, session.run(outputs, {source.name: part}), strict=True))
        if source.name in names:
            found[source.name] = part
        if not all(np.isfinite(value).all() for value in found.values()):
            raise ExportError("calibration: got values that are not finite from the network, wanted finite ones")
        yield found


def _batches(images: Array, fixed: object) -> Iterator[Array]:
    """Yield batches of the images; a fixed batch size is filled up by repeating the last image."""
    size = fixed if isinstance(fixed, int) else _BATCH
    for start in range(0, len(images), size):
        part = images[start : start + size]
        short = size - len(part) if isinstance(fixed, int) else 0
        yield np.concatenate([part, np.repeat(part[-1:], short, axis=0)])


def whole(observed: Observed) -> tuple[float, float]:
    """The whole observed range."""
    return observed.low, observed.high


def percentile(observed: Observed, share: float = 1e-4) -> tuple[float, float]:
    """The range without this share of the values, half of it cut at each end."""
    low, high = _edges((observed.low, observed.high))
    upto = np.cumsum(observed.counts) / observed.counts.sum()
    edges = np.linspace(low, high, _BINS + 1)
    first = int(np.searchsorted(upto, share / 2))
    last = int(np.searchsorted(upto, 1 - share / 2))
    return float(edges[first]), float(edges[min(last + 1, _BINS)])


def least_error(observed: Observed) -> tuple[float, float]:
    """The range whose 8-bit grid has the smallest mean square error, clipping included.

    First the upper bound is shrunk, then the lower one, each to the best of 91 fractions from 0.1 to 1.
    """
    low, high = _edges((observed.low, observed.high))
    edges = np.linspace(low, high, _BINS + 1)
    centres, weights = (edges[1:] + edges[:-1]) / 2, observed.counts / observed.counts.sum()
    low, high = min(low, 0.0), max(high, 0.0)
    high = min(((_error(centres, weights, low, high * c), high * c) for c in _CANDIDATES), default=(0.0, high))[1]
    low = min(((_error(centres, weights, low * c, high), low * c) for c in _CANDIDATES), default=(0.0, low))[1]
    return low, high


def _error(centres: NDArray[np.float64], weights: NDArray[np.float64], low: float, high: float) -> float:
    """Mean square error of the histogram on the 8-bit grid from low to high."""
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
