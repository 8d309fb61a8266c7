"""How integers must be spelled for a processor, and for which processors a result is the same to the last bit.

Activations are uint8 everywhere: the default of ONNX Runtime's quantiser, int8, is refused by its fusions on x64
wherever a tensor has two readers, which hard-swish, gates and shortcuts all have.

``x64-vnni``
    int8 weights. VNNI adds four products of a uint8 and an int8 in 32 bits.
``arm64``
    The same file: UDOT and the kernels before it are exact, too.
``x64``
    Before VNNI two products are added in 16 bits, where int8 weights saturate in silence. So the weights are uint8
    with zero 128, the same numbers, for which the kernels take a wider and slower way.
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
    """The integers for a class of instruction sets.

    Attributes:
        weight_zero: 0 for int8 weights, 128 for uint8 ones; the numbers are the same.
        same_on: the classes on which a file of this preset gives the same bits.
    """

    weight_zero: int
    same_on: tuple[str, ...]


PRESETS: Mapping[str, Preset] = MappingProxyType({
    "x64-vnni": Preset(0, ("x64-vnni", "arm64")),
    "arm64": Preset(0, ("x64-vnni", "arm64")),
    "x64": Preset(128, ("x64", "x64-vnni", "arm64")),
})  # fmt: skip


def preset(isa: str) -> Preset:
    """The preset of an instruction set.

    Raises:
        ExportError: no such class.
    """
    if isa not in PRESETS:
        raise ExportError(f"instruction set {isa!r}: unknown, wanted one of {' '.join(PRESETS)}")
    return PRESETS[isa]


def this_isa() -> str:
    """The class of this processor."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return "arm64"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "x64"
    return "x64-vnni" if "avx512_vnni" in flags or "avx_vnni" in flags else "x64"
