"""The verb optimize for fp16 targets: write a file of any exporter in float16."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, remark
from scarlet_zoo.cli.exported_rows import largest_value
from scarlet_zoo.deployment.half_file import half_file


def half_to(
    file: Path, path: Path, target: str, keep_io: bool, shapes: Sequence[str], preprocessing: str | None, as_json: bool
) -> None:
    """Write the float16 file of a float32 file, and report how far its outputs are from the float32 ones.

    Args:
        file: the float32 file.
        path: where to write the float16 file.
        target: name of the target.
        keep_io: keep inputs and outputs float32.
        shapes: shapes of inputs with dynamic sides.
        preprocessing: what the user says about it.
        as_json: whether to print JSON.

    Raises:
        CheckFailedError: a value does not fit into float16, or the outputs are far from the float32 ones.
    """
    made = half_file(file, path, keep_io=keep_io, shapes=shapes, preprocessing=preprocessing)
    value = {**made.to_dict(), "target": target}
    remark(f"{path}: this machine computes it in {value['computes_in']}")

    def render(console: Console) -> None:
        console.print(pairs([("path", str(path)), ("target", target), ("SQNR", f"{made.parity.sqnr_db:.0f} dB"),
                             largest_value(made.range.to_dict())], title=str(file)))  # fmt: skip

    emit(as_json, value, render)
