"""The rows of an exported file's table: what it is, and how close its integers are, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scarlet_zoo.deployment.exported import Exported
    from scarlet_zoo.graph.quantization.quantize import Quantized

Rows = list[tuple[str, str]]
# Fields that have rows of their own, or that only --json shows.
_APART = {"path", "target", "metadata", "parity", "methods", "preprocessing", "sqnr_db", "top1_agreement", "judged_on",
          "spread", "left", "kept", "integer_layers", "float16"}  # fmt: skip
_NAMES = {"form": "variant", "ir_version": "ONNX IR version", "input_shape": "input", "computes_in": "computed in"}
# Layers that an integer file may hold in integers; other operators that stay in float cost little.
_LAYERS = ("Conv", "Gemm")


def exported_rows(exported: Exported) -> Rows:
    """The rows (what, value) of the table of a file that was exported; lists that people do not read are counted."""
    rows = [("path", str(exported.path)), ("target", exported.target)]
    fields = exported.to_dict()
    rows += [(_NAMES.get(key, key.replace("_", " ")), _in_words(key, value)) for key, value in fields.items()
             if key not in _APART and value is not None]  # fmt: skip
    if "float16" in fields:
        rows.append(largest_value(fields["float16"]))
    if exported.quantized is not None:
        rows += int8_rows(exported.quantized)
    elif "isa" in (metadata := exported.described.get("metadata", {})):
        rows.append(("instruction set", metadata["isa"]))
    if exported.judged is not None:
        judged = exported.judged
        rows += _closeness(judged.judged_on, judged.sqnr_db, judged.top1_agreement)
    return rows


def int8_rows(made: Quantized) -> Rows:
    """The rows of an integer file of ONNX Runtime: what it is made for, how close it is, and what stays in float."""
    rows = [("instruction set", made.artifact.metadata["isa"])]
    rows += _closeness(made.judged_on, made.sqnr_db, made.top1_agreement)
    layers = sum(made.left.get(operator, 0) for operator in _LAYERS)
    why = ", which lost the most in integers (--json lists them)" if made.kept else ""
    rows.append(("layers in float", f"{layers} of {layers + made.integer_layers}{why}"))
    others = [f"{count} {name}" for name, count in made.left.items() if name not in _LAYERS]
    return [*rows, ("other operators in float", ", ".join(others) or "none")]


def largest_value(fits: Mapping[str, object]) -> tuple[str, str]:
    """The row of a float16 file's largest value, from the fields of a ``HalfRange``."""
    return "largest value", f"{fits['largest']:,.1f} of 65,504, {fits['layer']}, on {fits['inputs']}"


def _closeness(judged_on: str, sqnr_db: float, top1_agreement: float | None) -> Rows:
    rows = [("judged on", f"{judged_on} images"), ("SQNR", f"{sqnr_db:.1f} dB")]
    return rows if top1_agreement is None else [*rows, ("top-1 agreement", f"{top1_agreement:.1%}")]


def _in_words(key: str, value: object) -> str:
    """A value as text without Python's brackets; what is nested is only counted."""
    if isinstance(value, Mapping):
        return f"{len(value)} values (--json lists them)"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ("x" if key == "input_shape" else ", ").join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
