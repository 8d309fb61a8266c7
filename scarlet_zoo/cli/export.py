"""The verb export: write a network as the file of a deployment target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, progress_bar, remark, say, tuning_table
from scarlet_zoo.cli.exported_rows import exported_rows
from scarlet_zoo.cli.former_flags import taking
from scarlet_zoo.cli.options import (
    Calibration,
    CalibrationImages,
    DataDir,
    DataOrNone,
    Isa,
    Json,
    KeepFloat,
    KeepIo,
    LeastSqnr,
    Name,
    Out,
    RangesOrAuto,
    Tune,
    apply_only,
    labels_in,
    levels_of,
    path_of,
    probe_folder,
)
from scarlet_zoo.cli.precision import MaxDrop, check_budget, decide_precision
from scarlet_zoo.cli.shared import ExportOptions, with_shared_options

if TYPE_CHECKING:
    from scarlet_zoo.data.preprocessing import Preprocessing
    from scarlet_zoo.deployment.exported import Exported
    from scarlet_zoo.deployment.targets import Target
    from scarlet_zoo.graph.quantization.quantize import Int8

Float16Weights = Annotated[
    bool, typer.Option("--float16-weights", help="Store weights as float16, which halves the file.")
]


def _reader(
    calibration: str | None, feed: Preprocessing, limit: int, described: dict[str, Any]
) -> Callable[[], Any] | None:
    """A function that reads the calibration images and notes what they are; None where there are none."""
    if calibration is None:
        return None

    def read() -> Any:
        from scarlet_zoo.data.calibration_sets import read_any_calibration

        found = read_any_calibration(calibration, feed, limit)
        described["calibration"] = found.to_dict()
        return found.images

    return read


def _check_precision(wanted: Target, max_drop: float | None, calibration: str | None, float16_weights: bool,
                     keep_io: bool, **own: object) -> None:  # fmt: skip
    """Refuse options that do nothing in the target's precision; ``own`` are those of this package's quantiser."""
    integers, on_ort = wanted.precision == "int8" or max_drop is not None, wanted.runtime == "ort"
    half = wanted.precision == "float16"
    apply_only(integers or half, "an int8 target or an fp16 one", calibration=calibration)
    apply_only(integers and on_ort, "an int8 target of ONNX Runtime", **own)
    apply_only(half and on_ort, "an fp16 target of ONNX Runtime", keep_io=keep_io or None)
    apply_only(wanted.precision == "float32" and on_ort, "a float32 target of ONNX Runtime",
               float16_weights=float16_weights or None)  # fmt: skip


def _tell(exported: Exported, int8: Int8) -> None:
    """Print what a user should know of a file that is not float32."""
    from scarlet_zoo.cli.quantize import remark_if_far, tell_of_int8

    if exported.quantized is not None:
        tell_of_int8(exported.quantized, int8)
    if exported.judged is not None:
        remark_if_far(exported.judged.sqnr_db, exported.judged.top1_agreement)
    if "computes_in" in exported.described:
        remark(f"{exported.path}: this machine computes it in {exported.described['computes_in']}")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("export", cls=taking({"--method": "--ranges"}))(export)


@with_shared_options
def export(
    name: Name,
    out: Out,
    what: ExportOptions,
    as_json: Json = False,
    calibration: Calibration = None,
    calibration_images: CalibrationImages = 128,
    isa: Isa = None,
    ranges: RangesOrAuto = None,
    keep_float: KeepFloat = None,
    least_sqnr: LeastSqnr = None,
    tune: Tune = False,
    max_drop: MaxDrop = None,
    data: DataOrNone = None,
    data_dir: DataDir = None,
    float16_weights: Float16Weights = False,
    keep_io: KeepIo = False,
) -> None:
    """Export a network to the file of a deployment target.

    The network is folded and written in the target's graph variant, in the precision of --precision. int8 files are
    calibrated; fp16 files and those of runtimes other than ONNX Runtime are verified. With --tune and --max-drop the
    file is int8 where that pays on this machine.
    """
    from scarlet_zoo.cli.quantize import int8_of
    from scarlet_zoo.deployment.prepared import load_prepared
    from scarlet_zoo.deployment.targets import float_variant, get_target
    from scarlet_zoo.deployment.to_target import export_network, tune_export
    from scarlet_zoo.graph.artifact import read_artifact

    target, wanted = what.target_in_precision, get_target(what.target_in_precision)
    recipe = what.recipe(wanted.form, float16_weights=float16_weights, keep_io=keep_io)
    apply_only(tune, "--tune", max_drop=max_drop)
    _check_precision(wanted, max_drop, calibration, float16_weights, keep_io, isa=isa, ranges=ranges,
                     keep_float=" ".join(keep_float or ()) or None, least_sqnr=least_sqnr)  # fmt: skip
    check_budget(max_drop, data, data_dir, calibration)
    int8 = int8_of(isa, ranges, keep_float, least_sqnr)
    if tune:
        float_variant(target)  # raises for targets other than float32 on ONNX Runtime
    probe_folder(out)
    file = path_of(out, what.file_name, wanted.suffix)
    network = load_prepared(name, what.weights, what.preprocessing, input_size=what.input_size,
                            features=levels_of(what.features), labels=labels_in(what.labels),
                            num_classes=what.num_classes, in_chans=what.in_chans)  # fmt: skip
    described: dict[str, Any] = {}
    images = _reader(calibration, network.preprocessing, calibration_images, described)
    say(f"export for {target}")
    tuning = None
    with progress_bar("measure" if tune else "calibrate") as progress:
        if tune:
            exported, tuning = tune_export(network, out, recipe, progress=progress, file=file)
        else:
            exported = export_network(network, out, target, recipe, images, int8, progress, file=file)
    choice = None
    if max_drop is not None:
        choice = decide_precision(exported.path, max_drop, str(data), data_dir, images, int8, network.preprocessing)
        exported = replace(exported, described=read_artifact(exported.path).to_dict())
    _tell(exported, int8)
    value = exported.to_dict() | ({"tuning": [row.to_dict() for row in tuning.table]} if tuning else {})
    value |= described | ({"precision_choice": choice.to_dict()} if choice else {})

    def render(console: Console) -> None:
        if tuning is not None:
            console.print(tuning_table(tuning))
        console.print(pairs(exported_rows(exported), title=name))
        if exported.parity is not None:
            console.print(f"verified: SQNR {exported.parity.sqnr_db:.0f} dB on photographs")

    emit(as_json, value, render)
