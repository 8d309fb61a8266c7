"""Integer types for each processor class, and the classes on which results are the same to the last bit.

Activations are uint8 everywhere. ONNX Runtime's quantiser uses int8 by default, but the fusions on x64 refuse int8
tensors with two readers, and hard-swish, gates and shortcuts all have such tensors. For weights there are presets:

``x64-vnni``
    int8 weights. VNNI adds four products of a uint8 and an int8 in 32 bits.
``arm64``
    The same file: UDOT and the older kernels are exact, too.
``x64-avx2``
    int8 weights from -64 to 64. Without VNNI two products are added in 16 bits, where larger weights saturate silently:
    2 x 255 x 64 = 32,640 still fits. So the fast kernels are exact, at the price of one bit of the weights.
``x64``
    uint8 weights with zero 128, all eight bits. The kernels of every processor compute them in wider types: exactly,
    but slower than float32 on many.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from scarlet_zoo.errors import ExportError

# The largest magnitude of an int8 weight with which no sum of two products with a uint8 leaves 16 bits.
MOST_IN_PAIRS = 64


@dataclass(frozen=True, slots=True)
class Preset:
    """The integer types for a class of instruction sets.

    Attributes:
        weight_zero: 0 for int8 weights, 128 for uint8 ones; the numbers are the same.
        same_on: the classes of processors on which a file of this preset gives bit-identical results.
        most: the largest magnitude of a weight's integer.
    """

    weight_zero: int
    same_on: tuple[str, ...]
    most: int = 127


_WITH_DOT_PRODUCTS, _EVERYWHERE = ("x64-vnni", "arm64"), ("x64", "x64-vnni", "arm64")
PRESETS: Mapping[str, Preset] = MappingProxyType({
    "x64-vnni": Preset(0, _WITH_DOT_PRODUCTS),
    "arm64": Preset(0, _WITH_DOT_PRODUCTS),
    "x64-avx2": Preset(0, _EVERYWHERE, MOST_IN_PAIRS),
    "x64": Preset(128, _EVERYWHERE),
})  # fmt: skip


def preset(isa: str) -> Preset:
    """The preset of a class of instruction sets.

    Raises:
        ExportError: the class is unknown.
    """
    if isa not in PRESETS:
        raise ExportError(f"instruction set {isa!r}: unknown, wanted one of {' '.join(PRESETS)}")
    return PRESETS[isa]


def usual_preset() -> str:
    """The name of the preset that is exact and fastest on this processor."""
    isa = this_isa()
    return "x64-avx2" if isa == "x64" else isa


def this_isa() -> str:
    """The class of this processor: ``arm64``, ``x64-vnni``, or ``x64`` for x64 without VNNI."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return "arm64"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "x64"
    return "x64-vnni" if "avx512_vnni" in flags or "avx_vnni" in flags else "x64"
