"""Sums of integers that processors round differently, and grids on which they do not.

Integer convolutions and products are exact on every processor. The sum of two quantised tensors is not: ONNX Runtime
computes ``((a - za) * sa + (b - zb) * sb) / sc + zc`` in float32, on x64 with ratios of scales, on arm64 with values
and a division that may be an approximate one, and compilers fuse products and sums. Where a value lies within these
errors of a tie the results are one step apart, and so are logits in the end. There are 65,536 pairs of integers only:
all are tried, and where one is too near to a tie the grid of the sum is made a little wider, so that none is.
"""

from __future__ import annotations

import numpy as np

# Scale and zero of a tensor's 256 values.
Steps = tuple[float, int]
_STEP, _TRIES = 2.0**-16, 2048
# Of the magnitudes that are added: four roundings of float32 to either side. (arm64 was seen to be off by one.)
_ERROR = 2.0**-22


def scale_without_ties(one: Steps, other: Steps, out: Steps) -> float:
    """The scale of a sum at which no pair of integers is near a tie: the given one, or a little more.

    Args:
        one, other: what is added.
        out: the sum; its zero stays.

    Returns:
        At most 3 % more than the scale of ``out``; that itself if there is none.
    """
    scale, zero = out
    candidates = (float(np.float32(scale * (1 + number * _STEP))) for number in range(_TRIES))
    return next((wider for wider in candidates if is_clear_of_ties(one, other, (wider, zero))), scale)


def is_clear_of_ties(one: Steps, other: Steps, out: Steps) -> bool:
    """Whether every sum of a pair of integers is further from a tie than float32 can be off, or outside of the grid."""
    (sa, za), (sb, zb), (scale, zero) = ((float(np.float32(s)), int(z)) for s, z in (one, other, out))
    levels = np.arange(256, dtype=np.float64)
    ra, rb = sa / scale, sb / scale
    exact = ((levels - za) * ra)[:, None] + ((levels - zb) * rb)[None, :] + zero
    inside = (exact > -1) & (exact < 256)
    # A tie is halfway between two integers.
    distance = np.abs(exact - np.floor(exact) - 0.5)
    error = _ERROR * ((levels * ra)[:, None] + (levels * rb)[None, :] + za * ra + zb * rb + zero)
    return not bool(np.any(inside & (distance <= error)))
