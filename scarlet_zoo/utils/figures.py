"""Numbers as people read them."""

from __future__ import annotations

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def short_count(value: float) -> str:
    """Return a count with three digits and a prefix: 1.13 M, 84.0 k, 512."""
    for scale, prefix in _PREFIXES:
        if round(value / scale, 3) >= 1:  # 999,600 is 1.00 M
            share = value / scale
            return f"{share:.{max(2 - len(str(int(share))) + 1, 0)}f} {prefix}"
    return f"{value:.0f}"
