"""Sums of integers that processors round differently, and grids on which they do not.

Integer convolutions and products are exact on every processor. The sum of two quantised tensors is not: ONNX Runtime
computes it in float32, on x64 as ``round(a * sa / sc + (b * sb / sc + fixed))``, on arm64 as
``round(((a - za) * sa + (b - zb) * sb) / sc) + zc`` (fitted to what 1.32.0 answers), and a compiler may fuse a product
and a sum into one rounding. Where a value lies within a rounding error of a tie the results are one step apart. There
are 65,536 pairs of integers only: all are tried in all these ways, and where a pair is in doubt the grid of the sum
is made a little wider, so that there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
# Scale and zero of a tensor's 256 values.
Steps = tuple[float, int]
_STEP, _TRIES = 2.0**-11, 64


def scale_without_ties(one: Steps, other: Steps, out: Steps) -> float:
    """The scale of a sum at which every pair of integers rounds alike everywhere: the given one, or a little more.

    Args:
        one, other: what is added.
        out: the sum; its zero stays.

    Returns:
        At most 3 % more than the scale of ``out``; that itself if there is none.
    """
    scale, zero = out
    candidates = (scale * (1 + number * _STEP) for number in range(_TRIES))
    return next((wider for wider in candidates if sums_agree(one, other, (wider, zero))), scale)


def sums_agree(one: Steps, other: Steps, out: Steps) -> bool:
    """Whether the sum of every pair of integers comes out alike, however a compiler fuses it."""
    levels = np.arange(256, dtype=np.float32)
    variants = variants_of_sum(levels[:, None], one, levels[None, :], other, out)
    first = next(variants)
    return all(np.array_equal(first, variant) for variant in variants)


def variants_of_sum(a: Floats, one: Steps, b: Floats, other: Steps, out: Steps) -> Iterator[Floats]:
    """The integers of a sum in every order and with every fusion that a compiler may choose.

    Args:
        a, b: integers as float32, of shapes that broadcast.
        one, other, out: their grids, and that of the sum.
    """
    (sa, za), (sb, zb), (scale, zero) = ((np.float32(s), np.float32(z)) for s, z in (one, other, out))
    for value in (*_by_ratios(a, sa, za, b, sb, zb, scale, zero), *_by_values(a, sa, za, b, sb, zb, scale, zero)):
        yield np.clip(np.rint(value), 0, 255)


def _by_ratios(a: Floats, sa: Any, za: Any, b: Floats, sb: Any, zb: Any, scale: Any, zero: Any) -> Iterator[Floats]:
    """Each integer times the ratio of its scale to the sum's, and one constant for all zeros."""
    ra, rb = np.float32(sa / scale), np.float32(sb / scale)
    for fixed in {float(value) for value in _fixed(ra, za, rb, zb, zero)}:
        base = np.full((1, 1), fixed, np.float32)
        yield b * rb + (a * ra + base)
        yield a * ra + (b * rb + base)
        yield _fused(b, rb, _fused(a, ra, base))
        yield _fused(a, ra, _fused(b, rb, base))


def _by_values(a: Floats, sa: Any, za: Any, b: Floats, sb: Any, zb: Any, scale: Any, zero: Any) -> Iterator[Floats]:
    """The values that the integers stand for, added, on the sum's grid."""
    x, y = a - za, b - zb
    for value in (x * sa + y * sb, _fused(x, sa, y * sb), _fused(y, sb, x * sa)):
        yield np.rint(value / scale) + zero
        yield np.rint(value * np.float32(1 / scale)) + zero


def _fixed(ra: Any, za: Any, rb: Any, zb: Any, zero: Any) -> Iterator[Any]:
    """``zero - (ra * za + rb * zb)``, with no product fused, the one or the other, and in sequence."""
    pa, pb = np.float32(ra * za), np.float32(rb * zb)
    yield zero - np.float32(pa + pb)
    yield zero - _fused(ra, za, pb)
    yield zero - _fused(rb, zb, pa)
    yield np.float32(zero - pa) - pb
    yield _fused(-rb, zb, _fused(-ra, za, zero))


def _fused(x: Any, factor: Any, added: Any) -> Any:
    """``x * factor + added`` with one rounding: the product of two float32 is exact in float64."""
    wide = np.asarray(x, np.float64) * np.float64(factor) + np.asarray(added, np.float64)
    return wide.astype(np.float32)
