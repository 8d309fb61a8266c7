"""Integer types for each processor class, and the classes on which results are the same to the last bit.

Activations are uint8 everywhere. ONNX Runtime's quantiser uses int8 by default, but the fusions on x64 refuse int8
tensors with two readers, and hard-swish, gates and shortcuts all have such tensors.

``x64-vnni``
    int8 weights. VNNI adds four products of a uint8 and an int8 in 32 bits.
``arm64``
    The same file: UDOT and the older kernels are exact, too.
``x64``
    Without VNNI two products are added in 16 bits, where int8 weights saturate silently. So the weights are uint8
    with zero 128. They stand for the same numbers, and the kernels compute them in wider types, but slower.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from scarlet_zoo.errors import ExportError


@dataclass(frozen=True, slots=True)
class Preset:
    """The integer types for a class of instruction sets.

    Attributes:
        weight_zero: 0 for int8 weights, 128 for uint8 ones; the numbers are the same.
        same_on: the classes on which a file of this preset gives bit-identical results.
    """

    weight_zero: int
    same_on: tuple[str, ...]


PRESETS: Mapping[str, Preset] = MappingProxyType({
    "x64-vnni": Preset(0, ("x64-vnni", "arm64")),
    "arm64": Preset(0, ("x64-vnni", "arm64")),
    "x64": Preset(128, ("x64", "x64-vnni", "arm64")),
})  # fmt: skip


def preset(isa: str) -> Preset:
    """The preset of a class of instruction sets.

    Raises:
        ExportError: the class is unknown.
    """
    if isa not in PRESETS:
        raise ExportError(f"instruction set {isa!r}: unknown, wanted one of {' '.join(PRESETS)}")
    return PRESETS[isa]


def this_isa() -> str:
    """The class of this processor: ``arm64``, ``x64-vnni`` or ``x64``."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return "arm64"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "x64"
    return "x64-vnni" if "avx512_vnni" in flags or "avx_vnni" in flags else "x64"
