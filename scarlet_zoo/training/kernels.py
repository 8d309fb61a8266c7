"""Kernels for the layers of mobile networks that torch trains slowly on CPUs, compiled by numba at their first use.

oneDNN, which torch calls, has a depthwise kernel for the gradient of the weights up to 3x3 only (version 3.12, by its
own log); larger ones run as dense convolutions of 16 channels. And torch passes over a tensor in memory once for each
of batch norm's statistics, its output and the activation, where two passes are enough. docs/training.md has the gain.

All tensors are float32 in the order (N, H, W, C), torch's ``channels_last``, or rows of channels (R, C).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]
from numpy.typing import NDArray

from scarlet_zoo.training.kernel_tools import (
    ROWS,
    barrier,
    compiled,
    doubles,
    floats,
    inlined,
    kernel,
    own_parts,
    thread,
    threads,
)  # fmt: skip
from scarlet_zoo.training.team import PARTS

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@compiled
def _add_image(
    x: Floats, gradient: Floats, out: Floats, kernel_h: int, kernel_w: int, stride: int, pad_h: int, pad_w: int
) -> None:
    height, width, channels = x.shape
    for row in range(gradient.shape[0]):
        for i in range(kernel_h):
            h = row * stride + i - pad_h
            if h < 0 or h >= height:
                continue
            for column in range(gradient.shape[1]):
                for j in range(kernel_w):
                    w = column * stride + j - pad_w
                    if 0 <= w < width:
                        tap = i * kernel_w + j
                        for c in range(channels):
                            out[tap, c] += x[h, w, c] * gradient[row, column, c]


@kernel
def depthwise_weight_gradient(given: Any) -> None:
    """Write the gradient of a depthwise convolution's weights.

    Takes N, H, W, C of the convolution's input, OH, OW of its output, KH, KW of its weights, its stride, rows of zeros
    above and columns on the left; the addresses of the input (N, H, W, C), of the loss's gradient by the output
    (N, OH, OW, C), of zeros (PARTS, KH, KW, C), and of the result (KH, KW, C).
    """
    v = carray(given, 15)
    count, height, width, channels, rows, columns, kernel_h, kernel_w, stride, pad_h, pad_w = v[:11]
    x = carray(floats(v[11]), (count, height, width, channels))
    gradient = carray(floats(v[12]), (count, rows, columns, channels))
    out = carray(floats(v[13]), (PARTS, kernel_h * kernel_w, channels))
    result = carray(floats(v[14]), (kernel_h * kernel_w, channels))
    per = (count + PARTS - 1) // PARTS
    begin, end = own_parts()
    for part in range(begin, end):
        for n in range(part * per, min(count, (part + 1) * per)):
            _add_image(x[n], gradient[n], out[part], kernel_h, kernel_w, stride, pad_h, pad_w)
    barrier()
    taps = len(result)
    for tap in range(taps * thread() // threads(), taps * (thread() + 1) // threads()):
        for c in range(channels):
            total = np.float32(0)
            for part in range(PARTS):
                total += out[part, tap, c]
            result[tap, c] = total


@inlined
def _value(
    y: np.float32, low: np.float32, high: np.float32, square: np.float32, slope: np.float32, top_slope: np.float32,
    top_value: np.float32,
) -> np.float32:  # fmt: skip
    inner = y * (square * y + slope)
    outer = top_slope * y + top_value
    return np.float32(0) if y <= low else (outer if y >= high else inner)


@inlined
def _derivative(
    y: np.float32, low: np.float32, high: np.float32, square: np.float32, slope: np.float32, top_slope: np.float32
) -> np.float32:
    inner = np.float32(2) * square * y + slope
    return np.float32(0) if y <= low else (top_slope if y >= high else inner)


@inlined
def _total(sums: Doubles, which: int, c: int) -> float:
    total = 0.0
    for part in range(PARTS):
        total += sums[part, which, c]
    return total


@inlined
def _add_block(first: Floats, second: Floats, sums: Doubles) -> None:
    for c in range(len(first)):
        sums[0, c] += first[c]
        sums[1, c] += second[c]


@compiled
def _sum_rows(x: Floats, sums: Doubles, begin: int, end: int) -> None:
    """Sums of (x - x[0]) and of its square over the rows of each part."""
    rows, channels = x.shape
    per = (rows + PARTS - 1) // PARTS
    first, second = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for part in range(begin, end):
        sums[part] = 0
        last = min(rows, (part + 1) * per)
        for start in range(part * per, last, ROWS):
            first[:] = 0
            second[:] = 0
            for row in range(start, min(start + ROWS, last)):
                for c in range(channels):
                    value = x[row, c] - x[0, c]
                    first[c] += value
                    second[c] += value * value
            _add_block(first, second, sums[part])


@compiled
def _apply(x: Floats, scale: Floats, offset: Floats, fixed: Floats, out: Floats, begin: int, end: int) -> None:
    """``f(scale x + offset)`` of the rows of each part."""
    rows, channels = x.shape
    _, low, high, square, slope, top_slope, top_value = fixed
    per = (rows + PARTS - 1) // PARTS
    for row in range(begin * per, min(rows, end * per)):
        for c in range(channels):
            out[row, c] = _value(scale[c] * x[row, c] + offset[c], low, high, square, slope, top_slope, top_value)


@kernel
def norm_and_activation(given: Any) -> None:
    """Write ``f(batch norm of x)``, and the batch's statistics.

    Takes R and C; the addresses of x (R, C), of the norm's weight and bias (2, C), of its epsilon and the six numbers
    of the activation's curve (7), of room for sums (PARTS, 2, C) in float64, of the statistics to write (5, C): mean,
    variance, 1 / deviation, scale and offset; and of the output (R, C).
    """
    v = carray(given, 8)
    rows, channels = v[:2]
    x, y = carray(floats(v[2]), (rows, channels)), carray(floats(v[7]), (rows, channels))
    affine, fixed = carray(floats(v[3]), (2, channels)), carray(floats(v[4]), 7)
    sums, found = carray(doubles(v[5]), (PARTS, 2, channels)), carray(floats(v[6]), (5, channels))
    begin, end = own_parts()
    _sum_rows(x, sums, begin, end)
    barrier()
    own = thread()
    for c in range(channels * own // threads(), channels * (own + 1) // threads()):
        first = _total(sums, 0, c) / rows
        spread = _total(sums, 1, c) / rows - first * first
        variance = np.float32(0.0 if spread < 0 else spread)  # what is no number stays none
        mean = np.float32(np.float64(x[0, c]) + first)
        inverse = np.float32(1) / np.float32(np.sqrt(variance + fixed[0]))
        found[0, c], found[1, c], found[2, c] = mean, variance, inverse
        found[3, c] = affine[0, c] * inverse
        found[4, c] = affine[1, c] - mean * found[3, c]
    barrier()
    _apply(x, found[3], found[4], fixed, y, begin, end)


@compiled
def _sum_gradients(
    x: Floats, gradient: Floats, found: Floats, affine: Floats, fixed: Floats, sums: Doubles, begin: int, end: int
) -> None:
    rows, channels = x.shape
    _, low, high, square, slope, top_slope, _ = fixed
    per = (rows + PARTS - 1) // PARTS
    first, second = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for part in range(begin, end):
        sums[part] = 0
        last = min(rows, (part + 1) * per)
        for start in range(part * per, last, ROWS):
            first[:] = 0
            second[:] = 0
            for row in range(start, min(start + ROWS, last)):
                for c in range(channels):
                    h = (x[row, c] - found[0, c]) * found[2, c]
                    y = h * affine[0, c] + affine[1, c]
                    a = gradient[row, c] * _derivative(y, low, high, square, slope, top_slope)
                    first[c] += a
                    second[c] += a * h
            _add_block(first, second, sums[part])


@compiled
def _apply_gradients(
    x: Floats, gradient: Floats, found: Floats, affine: Floats, fixed: Floats, means: Floats, out: Floats, begin: int,
    end: int,
) -> None:  # fmt: skip
    rows, channels = x.shape
    _, low, high, square, slope, top_slope, _ = fixed
    per = (rows + PARTS - 1) // PARTS
    for row in range(begin * per, min(rows, end * per)):
        for c in range(channels):
            h = (x[row, c] - found[0, c]) * found[2, c]
            y = h * affine[0, c] + affine[1, c]
            a = gradient[row, c] * _derivative(y, low, high, square, slope, top_slope)
            out[row, c] = found[3, c] * (a - means[0, c] - h * means[1, c])


@kernel
def norm_and_activation_gradient(given: Any) -> None:
    """Write the gradients by the input, the weight and the bias of :func:`norm_and_activation`.

    Takes R and C; the addresses of x (R, C), of the loss's gradient by the output (R, C), of weight and bias (2, C), of
    epsilon and curve (7), of the statistics that were written (5, C), of room for sums (PARTS, 2, C) in float64; and of
    the results: by the input (R, C), and by bias and weight (2, C).

    With ``h = (x - mean) / deviation``, ``y = weight h + bias`` and ``a = gradient f'(y)``, the bias gets the sum of
    ``a``, the weight that of ``a h``, and the input ``weight / deviation (a - mean(a) - h mean(a h))``
    (arXiv 1502.03167, section 3).
    """
    v = carray(given, 10)
    rows, channels = v[:2]
    x, gradient = carray(floats(v[2]), (rows, channels)), carray(floats(v[3]), (rows, channels))
    affine, fixed = carray(floats(v[4]), (2, channels)), carray(floats(v[5]), 7)
    found, sums = carray(floats(v[6]), (5, channels)), carray(doubles(v[7]), (PARTS, 2, channels))
    by_input, by_affine = carray(floats(v[8]), (rows, channels)), carray(floats(v[9]), (2, channels))
    begin, end = own_parts()
    _sum_gradients(x, gradient, found, affine, fixed, sums, begin, end)
    barrier()
    means = np.empty((2, channels), np.float32)  # each thread has its own
    for c in range(channels):
        for which in range(2):
            total = _total(sums, which, c)
            means[which, c] = total / rows
            if thread() == 0:
                by_affine[which, c] = total
    _apply_gradients(x, gradient, found, affine, fixed, means, by_input, begin, end)
