"""Choose grids for sums of quantised tensors on which all processors round alike.

Integer convolutions and products are exact on every processor. The sum of two quantised tensors is not: ONNX Runtime
computes ``((a - za) * sa + (b - zb) * sb) / sc + zc`` in float32, on x64 with ratios of scales, on arm64 with values
and a division that may be approximate, and compilers fuse products and sums. Where a value lies within these errors
of a tie, the results differ by one step, and then the logits differ too. There are only 65,536 pairs of integers, so
all are tried. Where one is too near to a tie, the grid of the sum is made a little wider, until none is.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# Scale and zero of a tensor's grid.
Steps = tuple[float, int]
_STEP, _TRIES = 2.0**-16, 2048
# Largest error relative to the added magnitudes: four roundings of float32. (An error of one step was seen on arm64.)
_ERROR = 2.0**-22


@lru_cache(1024)
def scale_without_ties(one: Steps, other: Steps, out: Steps) -> float:
    """The smallest scale of a sum, from the given one on, at which no pair of integers is near a tie.

    Args:
        one, other: grids of the two tensors that are added.
        out: grid of the sum; its zero is not changed.

    Returns:
        A scale at most 3.2 % above that of ``out``; that of ``out`` if none of them is clear of ties.
    """
    scale, zero = out
    candidates = (float(np.float32(scale * (1 + number * _STEP))) for number in range(_TRIES))
    return next((wider for wider in candidates if is_clear_of_ties(one, other, (wider, zero))), scale)


def is_clear_of_ties(one: Steps, other: Steps, out: Steps) -> bool:
    """Whether every sum of two integers is farther from a tie than the float32 error, or outside the grid."""
    (sa, za), (sb, zb), (scale, zero) = ((float(np.float32(s)), int(z)) for s, z in (one, other, out))
    levels = np.arange(256, dtype=np.float64)
    ra, rb = sa / scale, sb / scale
    exact = ((levels - za) * ra)[:, None] + ((levels - zb) * rb)[None, :] + zero
    inside = (exact > -1) & (exact < 256)
    # A tie is halfway between two integers.
    distance = np.abs(exact - np.floor(exact) - 0.5)
    error = _ERROR * ((levels * ra)[:, None] + (levels * rb)[None, :] + za * ra + zb * rb + zero)
    return not bool(np.any(inside & (distance <= error)))
