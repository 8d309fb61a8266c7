"""What a processor, and XNNPACK on it, computes in when it runs a file of some precision."""

from __future__ import annotations

from scarlet_zoo.latency import cpu_features


def has_float16() -> bool:
    """Whether this processor computes in float16: arm64 since version 8.2, or AVX-512 with FP16."""
    return bool({"asimdhp", "avx512_fp16"} & set(cpu_features()))


def in_xnnpack(precision: str) -> str:
    """What XNNPACK computes in, in words; it has kernels in float16 on any processor that has the instructions."""
    if precision == "float16" and not has_float16():
        return "float16 between operators and float32 in them: XNNPACK converts them on this processor"
    return "int8, and float32 between" if precision == "int8" else precision
