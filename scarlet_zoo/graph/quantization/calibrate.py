"""Measure the range of each tensor of a network on real images, and choose the part that 8 bits should cover.

The values of a tensor are counted in bins whose edges are the same for every tensor: floating-point numbers with five
bits after the leading one, 32 bins in each power of two. So one pass over the images is enough; the ranges are edges
of bins, and the last bits of a float network, which differ from processor to processor, do not change them unless a
value that decides lies within that rounding error of an edge.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from scarlet_zoo.errors import ExportError
from scarlet_zoo.latency import run_limit
from scarlet_zoo.utils.files import replacing

Array = NDArray[np.float32]
LEVELS = 255
_BATCH = 4
# A float32 without its last 18 bits: sign, exponent, and five bits of the fraction.
_SHIFT = 18
_CODES = 1 << (32 - _SHIFT)
_INFINITE = 0xFF << (23 - _SHIFT)  # code of the first magnitude that is not finite
_CANDIDATES = np.linspace(1.0, 0.1, 91)
# Among ranges whose errors are equal within this share the widest is chosen, as the errors' last bits differ.
_EQUAL = 1.005


def _bin_edges() -> NDArray[np.float64]:
    """The edges of the bins in ascending order, (bins + 1,); bin i holds the values from edge i to edge i + 1."""
    codes = np.arange(_INFINITE + 1, dtype=np.uint32) << np.uint32(_SHIFT)
    magnitudes = codes.view(np.float32).astype(np.float64)
    magnitudes[-1] = 2.0**128
    return np.concatenate([-magnitudes[:0:-1], magnitudes])


_EDGES = _bin_edges()
_CENTRES = (_EDGES[1:] + _EDGES[:-1]) / 2
_WIDTHS = np.diff(_EDGES)


@dataclass(frozen=True)
class Observed:
    """How often the values of one tensor fall into each bin.

    Attributes:
        counts: number of values in each bin, in ascending order of the bins.
    """

    counts: NDArray[np.int64]

    @property
    def low(self) -> float:
        """The edge below the smallest value."""
        return float(_EDGES[int(np.argmax(self.counts > 0))])

    @property
    def high(self) -> float:
        """The edge above the largest value."""
        return float(_EDGES[len(self.counts) - int(np.argmax(self.counts[::-1] > 0))])


def count(values: NDArray[np.generic]) -> NDArray[np.int64]:
    """Count the values of a tensor in each bin.

    Raises:
        ExportError: a value is not finite.
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).reshape(-1) >> np.uint32(_SHIFT)
    codes = np.bincount(bits, minlength=_CODES)
    positive, negative = codes[: _CODES // 2], codes[_CODES // 2 :]
    if positive[_INFINITE:].any() or negative[_INFINITE:].any():
        raise ExportError("calibration: got values that are not finite from the network, wanted finite ones")
    return np.concatenate([negative[_INFINITE - 1 :: -1], positive[:_INFINITE]])


def observe(
    model: ir.Model,
    names: Sequence[str],
    images: Array,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Observed]:
    """Run a float network on images and count the values of its tensors.

    Args:
        model: a network with one input.
        names: names of the tensors to observe.
        images: normalised images as the network takes them, float32 (N, C, H, W).
        progress: called with (done, expected), in batches.

    Raises:
        ExportError: the network gives values that are not finite.
    """
    expected = -(-len(images) // _BATCH)
    counts = {name: np.zeros(len(_CENTRES), dtype=np.int64) for name in names}
    with tempfile.TemporaryDirectory() as temporary:
        session = session_of(model, names, Path(temporary) / "observed.onnx")
        for done, values in enumerate(values_of(session, names, images)):
            for name, value in values.items():
                counts[name] += count(value)
            if progress is not None:
                progress(min(done + 1, expected), expected)
    return {name: Observed(found) for name, found in counts.items()}


def session_of(model: ir.Model, names: Sequence[str], path: Path) -> ort.InferenceSession:
    """Write the network with these tensors as its outputs to a file, and load it."""
    probed = model.clone()
    wanted = set(names)
    values = {value.name: value for node in probed.graph for value in node.outputs}
    probed.graph.outputs.clear()
    for name in sorted(wanted):
        if name in values:
            probed.graph.outputs.append(values[name])
    with replacing(path) as temporary:
        temporary.write_bytes(ir.serde.serialize_model(probed).SerializeToString())
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def values_of(session: ort.InferenceSession, names: Sequence[str], images: Array) -> Iterator[dict[str, Array]]:
    """Yield the values of the tensors by name, one batch at a time; the network's input may be among them."""
    (source,) = session.get_inputs()
    outputs = [output.name for output in session.get_outputs()]
    for part in _batches(images, source.shape[0]):
        with run_limit(len(part)) as options:
            answers = session.run(outputs, {source.name: part}, options) if outputs else []
        found = dict(zip(outputs, answers, strict=True))
        if source.name in names:
            found[source.name] = part
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
    upto = np.cumsum(observed.counts) / observed.counts.sum()
    first = int(np.searchsorted(upto, share / 2))
    last = int(np.searchsorted(upto, 1 - share / 2))
    return float(_EDGES[first]), float(_EDGES[last + 1])


def least_error(observed: Observed) -> tuple[float, float]:
    """The range whose 8-bit grid has the smallest mean square error, clipping included.

    First the upper bound is shrunk, then the lower one, each to the best of 91 fractions from 1 to 0.1.
    """
    low, high = min(observed.low, 0.0), max(observed.high, 0.0)
    held = np.flatnonzero(observed.counts)
    high *= _best_share(held, observed.counts[held], lambda share: (low, high * share))
    low *= _best_share(held, observed.counts[held], lambda share: (low * share, high))
    return low, high


def _best_share(
    held: NDArray[np.intp], counts: NDArray[np.int64], bounds: Callable[[float], tuple[float, float]]
) -> float:
    """The widest of the candidate shares whose range has the smallest error."""
    errors = np.array([square_error(held, counts, *bounds(float(share))) for share in _CANDIDATES])
    return float(_CANDIDATES[int(np.argmax(errors <= errors.min() * _EQUAL))])


def square_error(held: NDArray[np.intp], counts: NDArray[np.int64], low: float, high: float) -> float:
    """Mean square error of values on the 8-bit grid from low to high.

    Args:
        held: numbers of the bins that hold values.
        counts: number of values in each of them.
        low, high: bounds of the grid.
    """
    if high - low <= 0:
        return float("inf")
    step = (high - low) / LEVELS
    centres = _CENTRES[held]
    near = np.clip(np.rint((centres - low) / step), 0, LEVELS) * step + low
    # Rounding errors are spread evenly where a bin is wider than a step; then its centre says nothing about them.
    spread = (_WIDTHS[held] > step) & (centres > low) & (centres < high)
    square = np.where(spread, step**2 / 12, (near - centres) ** 2)
    return float(np.sum(counts * square) / counts.sum())


METHODS: Mapping[str, Callable[[Observed], tuple[float, float]]] = {
    "minmax": whole,
    "percentile": percentile,
    "mse": least_error,
}
