"""The gradients of squeeze and excitation, in two passes over its images; as in :mod:`scarlet_zoo.training.kernels`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from scarlet_zoo.training.kernel_tools import ROWS, compiled, floats, kernel, thread, threads
from scarlet_zoo.training.kernels import Floats


@compiled
def _sum_products(x: Floats, gradient: Floats, out: Floats) -> None:
    """Sums over the rows of the products of two images (R, C)."""
    rows, channels = x.shape
    block, total = np.empty(channels, np.float32), np.zeros(channels, np.float64)
    for start in range(0, rows, ROWS):
        block[:] = 0
        for row in range(start, min(rows, start + ROWS)):
            for c in range(channels):
                block[c] += x[row, c] * gradient[row, c]
        for c in range(channels):
            total[c] += block[c]
    for c in range(channels):
        out[c] = total[c]


@kernel
def gate_gradient(given: Any) -> None:
    """Write the gradient by the gates of ``x gate``: for each image and channel the sum of ``gradient x``.

    Takes N, R and C; the addresses of x (N, R, C), of the loss's gradient by the product (N, R, C) and of the result
    (N, C).
    """
    v = carray(given, 6)
    count, rows, channels = v[:3]
    x, gradient = carray(floats(v[3]), (count, rows, channels)), carray(floats(v[4]), (count, rows, channels))
    out = carray(floats(v[5]), (count, channels))
    for n in range(count * thread() // threads(), count * (thread() + 1) // threads()):
        _sum_products(x[n], gradient[n], out[n])


@compiled
def _scale_and_shift(gradient: Floats, gate: Floats, by_mean: Floats, out: Floats) -> None:
    rows, channels = gradient.shape
    share = np.float32(1) / np.float32(rows)
    for row in range(rows):
        for c in range(channels):
            out[row, c] = gradient[row, c] * gate[c] + by_mean[c] * share


@kernel
def gated_input_gradient(given: Any) -> None:
    """Write the gradient by x, which is multiplied by gates that depend on its mean.

    Takes N, R and C; the addresses of the loss's gradient by the product (N, R, C), of the gates (N, C), of the
    gradient by the means (N, C), and of the result (N, R, C).
    """
    v = carray(given, 7)
    count, rows, channels = v[:3]
    gradient, out = carray(floats(v[3]), (count, rows, channels)), carray(floats(v[6]), (count, rows, channels))
    gates, by_mean = carray(floats(v[4]), (count, channels)), carray(floats(v[5]), (count, channels))
    for n in range(count * thread() // threads(), count * (thread() + 1) // threads()):
        _scale_and_shift(gradient[n], gates[n], by_mean[n], out[n])
