"""What a user should know of int8 on a processor: whether it is faster there, and which file a phone wants."""

from __future__ import annotations

from collections.abc import Sequence

from scarlet_zoo.deployment.targets import get_target, this_processor, usual_name
from scarlet_zoo.graph.quantization.isa import preset, usual_preset
from scarlet_zoo.graph.quantization.quantize import Quantized
from scarlet_zoo.latency import cpu_features

INT8_TARGET = "ort-int8"
# An SQNR below this, or an agreement below that, and the answers of the integer file differ visibly.
CLOSE_SQNR_DB, CLOSE_AGREEMENT = 20.0, 0.9


def int8_is_faster(machine: str, instruction_sets: Sequence[str]) -> bool | None:
    """Whether int8 files are expected to be faster than float32 ones; None if that is not known of the processor.

    The recipe of the target ``ort-int8`` says which instruction sets that takes.

    Args:
        machine: the processor's name, under any system's name for it.
        instruction_sets: its instruction sets, under the names of :func:`scarlet_zoo.latency.cpu_features`.
    """
    target, name = get_target(INT8_TARGET), usual_name(machine)
    return target.suits(name, tuple(instruction_sets)) if _wanted(name) else None


def _wanted(machine: str) -> tuple[str, ...]:
    """The instruction sets of a processor that make int8 fast; empty if the recipe does not know the processor."""
    return next((one.instruction_sets for one in get_target(INT8_TARGET).processors if one.name == machine), ())


def slow_int8_line() -> str | None:
    """One sentence if int8 is not expected to be faster than float32 on this processor, else None."""
    machine = this_processor()
    if int8_is_faster(machine, cpu_features()) is not False:
        return None
    lacks = f"has none of {' '.join(_wanted(machine))}"
    return f"int8 may be no faster than float32 on this processor, which {lacks}; measure both files with bench"


def int8_file_lines(isa: str | None) -> list[str]:
    """What to know of an int8 file that was just written: its speed here, and what a phone wants instead.

    Args:
        isa: the instruction set that was asked for; None for this machine's own.
    """
    name = isa or usual_preset()
    slow = slow_int8_line() if isa in (None, usual_preset()) else None
    lines = [] if slow is None else [slow]
    if isa is None and preset(name) != preset("arm64"):
        lines.append(
            f"the file is for {name}; for a phone export with --isa arm64, which keeps all 8 bits of the weights"
        )
    return lines


def mostly_float_line(made: Quantized) -> str | None:
    """One sentence where a quarter of the layers or more stay in float, so that int8 gains little; else None."""
    layers = len(made.kept) + made.integer_layers
    if not made.kept or len(made.kept) < layers / 4:
        return None
    return (f"{len(made.kept)} of {layers} layers stay in float, because the outputs would lose too much with them in "
            "integers; such a file may be no faster than float32: measure it with bench, or accept a larger loss with "
            "--least-sqnr")  # fmt: skip


def far_from_float_line(sqnr_db: float, top1_agreement: float | None) -> str | None:
    """One sentence with what to try where an integer file's outputs are far from the float ones, else None.

    Args:
        sqnr_db: ratio of the outputs to their error, in dB.
        top1_agreement: share of the images with the same top class; None for a network that is no classifier.
    """
    found = []
    if sqnr_db < CLOSE_SQNR_DB:
        found.append(f"an SQNR of {sqnr_db:.1f} dB, wanted {CLOSE_SQNR_DB:.0f} or more")
    if top1_agreement is not None and top1_agreement < CLOSE_AGREEMENT:
        found.append(f"the same class on {top1_agreement:.0%} of the images, wanted {CLOSE_AGREEMENT:.0%} or more")
    if not found:
        return None
    return (f"the int8 outputs are far from the float ones: got {' and '.join(found)}; try more calibration images, "
            "like those it is used on, or with ort-int8 another --ranges, or leave the layers that sensitivity puts "
            "first in float with --keep-float")  # fmt: skip
