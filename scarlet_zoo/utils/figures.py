"""Numbers as people read them."""

from __future__ import annotations

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def short_count(value: float) -> str:
    """Return a count with three digits and a prefix: 1.13 M, 84.0 k, 512."""
    rounded = float(f"{value:.3g}")  # 999,600 is 1.00 M
    for scale, prefix in _PREFIXES:
        if rounded >= scale:
            share = rounded / scale
            return f"{share:.{3 - len(str(int(share)))}f} {prefix}"
    return f"{rounded:.0f}"
