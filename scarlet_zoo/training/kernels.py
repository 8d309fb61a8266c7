"""Kernels for the layers of mobile networks that torch trains slowly on CPUs, compiled by numba at their first use.

oneDNN, which torch calls, has a depthwise kernel for the gradient of the weights up to 3x3 only (version 3.12, by its
own log); larger ones run as dense convolutions of 16 channels. And torch passes over a tensor in memory once for each
of batch norm's statistics, its output and the activation, where two passes are enough. docs/training.md has the gain.

All tensors are float32 in the order (N, H, W, C), torch's ``channels_last``, or rows of channels (R, C). Images or rows
are divided into PARTS; a kernel does those from ``begin`` to ``end``, and :func:`spread` lets several threads do all.
Sums are taken in a fixed order, so the number of threads does not change a bit of the results.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, cast

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

PARTS = 32  # More than most machines have cores.
_ROWS = 64  # Rows that are summed in float32 before their sum joins the total in float64.

# A product and a sum may be rounded once. More freedom would also assume that no value is infinite or no number, and a
# training that diverges must be seen.
_MATHS = {"contract"}
_inlined = numba.njit(inline="always", fastmath=_MATHS)


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile a kernel at its first call; the result is kept on disk where a folder for it may be written to."""
    options: dict[str, Any] = {"nogil": True, "fastmath": _MATHS, "error_model": "numpy"}
    try:
        return cast("Callable[..., None]", numba.njit(cache=True, **options)(function))
    except RuntimeError:
        return cast("Callable[..., None]", numba.njit(**options)(function))


@_compiled
def depthwise_weight_gradient(
    x: Floats, gradient: Floats, out: Floats, stride: int, pad_h: int, pad_w: int, begin: int, end: int
) -> None:
    """Add the gradient of a depthwise convolution's weights to ``out``.

    Args:
        x: the convolution's input (N, H, W, C).
        gradient: the loss's gradient by the convolution's output (N, OH, OW, C).
        out: the weights' gradient (parts, KH, KW, C), zero at the start; its sum over the parts is the result.
        stride: the convolution's stride in both directions.
        pad_h: rows of zeros above and below.
        pad_w: columns of zeros on the left and on the right.
    """
    count, height, width, channels = x.shape
    _, kernel_h, kernel_w, _ = out.shape
    per = (count + PARTS - 1) // PARTS
    for part in range(begin, end):
        for n in range(part * per, min(count, (part + 1) * per)):
            for row in range(gradient.shape[1]):
                for i in range(kernel_h):
                    h = row * stride + i - pad_h
                    if h < 0 or h >= height:
                        continue
                    for column in range(gradient.shape[2]):
                        for j in range(kernel_w):
                            w = column * stride + j - pad_w
                            if 0 <= w < width:
                                for c in range(channels):
                                    out[part, i, j, c] += x[n, h, w, c] * gradient[n, row, column, c]


@_compiled
def channel_sums(x: Floats, shift: Floats, sums: NDArray[np.float64], begin: int, end: int) -> None:
    """Write the sums of (x - shift) and of its square over the rows (R, C) into ``sums`` (parts, 2, C)."""
    rows, channels = x.shape
    per = (rows + PARTS - 1) // PARTS
    for part in range(begin, end):
        first, second = np.empty(channels, np.float32), np.empty(channels, np.float32)
        sums[part] = 0
        last = min(rows, (part + 1) * per)
        for start in range(part * per, last, _ROWS):
            first[:] = 0
            second[:] = 0
            for row in range(start, min(start + _ROWS, last)):
                for c in range(channels):
                    value = x[row, c] - shift[c]
                    first[c] += value
                    second[c] += value * value
            for c in range(channels):
                sums[part, 0, c] += first[c]
                sums[part, 1, c] += second[c]


@_inlined
def _value(
    y: np.float32, low: np.float32, high: np.float32, square: np.float32, slope: np.float32, top_slope: np.float32,
    top_value: np.float32,
) -> np.float32:  # fmt: skip
    inner = y * (square * y + slope)
    outer = top_slope * y + top_value
    return np.float32(0) if y <= low else (outer if y >= high else inner)


@_inlined
def _derivative(
    y: np.float32, low: np.float32, high: np.float32, square: np.float32, slope: np.float32, top_slope: np.float32
) -> np.float32:
    inner = np.float32(2) * square * y + slope
    return np.float32(0) if y <= low else (top_slope if y >= high else inner)


@_compiled
def scaled_and_activated(
    x: Floats, scale: Floats, offset: Floats, curve: Floats, out: Floats, begin: int, end: int
) -> None:
    """Write ``f(scale x + offset)`` into ``out`` (R, C); ``curve`` has the six numbers of a :class:`Curve`."""
    rows, channels = x.shape
    low, high, square, slope, top_slope, top_value = curve
    per = (rows + PARTS - 1) // PARTS
    for part in range(begin, end):
        for row in range(part * per, min(rows, (part + 1) * per)):
            for c in range(channels):
                out[row, c] = _value(scale[c] * x[row, c] + offset[c], low, high, square, slope, top_slope, top_value)


@_compiled
def norm_gradient_sums(
    x: Floats, gradient: Floats, mean: Floats, inverse: Floats, affine: Floats, curve: Floats,
    sums: NDArray[np.float64], begin: int, end: int,
) -> None:  # fmt: skip
    """Write the sums over the rows that the gradient of batch norm and activation needs.

    With ``h = (x - mean) inverse``, ``y = affine[0] h + affine[1]`` and ``a = gradient f'(y)``, ``sums`` (parts, 2, C)
    gets the sums of ``a``, which is the gradient by the norm's bias, and of ``a h``, the one by its weight.
    """
    rows, channels = x.shape
    low, high, square, slope, top_slope, _ = curve
    per = (rows + PARTS - 1) // PARTS
    for part in range(begin, end):
        first, second = np.empty(channels, np.float32), np.empty(channels, np.float32)
        sums[part] = 0
        last = min(rows, (part + 1) * per)
        for start in range(part * per, last, _ROWS):
            first[:] = 0
            second[:] = 0
            for row in range(start, min(start + _ROWS, last)):
                for c in range(channels):
                    h = (x[row, c] - mean[c]) * inverse[c]
                    y = h * affine[0, c] + affine[1, c]
                    a = gradient[row, c] * _derivative(y, low, high, square, slope, top_slope)
                    first[c] += a
                    second[c] += a * h
            for c in range(channels):
                sums[part, 0, c] += first[c]
                sums[part, 1, c] += second[c]


@_compiled
def norm_input_gradient(
    x: Floats, gradient: Floats, mean: Floats, inverse: Floats, affine: Floats, curve: Floats, means: Floats,
    out: Floats, begin: int, end: int,
) -> None:  # fmt: skip
    """Write the gradient by the norm's input, ``affine[0] inverse (a - means[0] - h means[1])``, into ``out`` (R, C).

    ``h`` and ``a`` are those of :func:`norm_gradient_sums`, and ``means`` (2, C) its sums over the number of rows
    (arXiv 1502.03167, section 3).
    """
    rows, channels = x.shape
    low, high, square, slope, top_slope, _ = curve
    per = (rows + PARTS - 1) // PARTS
    for part in range(begin, end):
        for row in range(part * per, min(rows, (part + 1) * per)):
            for c in range(channels):
                h = (x[row, c] - mean[c]) * inverse[c]
                y = h * affine[0, c] + affine[1, c]
                a = gradient[row, c] * _derivative(y, low, high, square, slope, top_slope)
                out[row, c] = affine[0, c] * inverse[c] * (a - means[0, c] - h * means[1, c])


def sums_buffer(channels: int) -> NDArray[np.float64]:
    """An array (PARTS, 2, C) for the sums of a kernel."""
    return np.empty((PARTS, 2, channels), np.float64)


def weight_buffer(kernel: tuple[int, int], channels: int) -> Floats:
    """An array of zeros (PARTS, KH, KW, C) for :func:`depthwise_weight_gradient`."""
    return np.zeros((PARTS, *kernel, channels), np.float32)


def spread(kernel: Callable[..., None], *arguments: Any, threads: int) -> None:
    """Let threads do the parts of a kernel; return when all are done."""
    threads = min(threads, PARTS)
    ends = [PARTS * number // threads for number in range(threads + 1)]
    jobs = [_pool(threads - 1).submit(kernel, *arguments, *piece) for piece in pairwise(ends[1:])]
    kernel(*arguments, 0, ends[1])
    for job in jobs:
        job.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernels")


# A forked process has none of the threads.
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_pool.cache_clear)
