"""Verbs about files and runtimes: optimize, inspect, sensitivity, doctor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, progress_bar, remark, sentence, table, tuning_table
from scarlet_zoo.cli.former_flags import taking
from scarlet_zoo.cli.options import (
    Calibration,
    CalibrationImages,
    CalibrationImagesOrUsual,
    DataDir,
    DataOrNone,
    FileName,
    Force,
    Isa,
    Json,
    KeepFloat,
    KeepIo,
    LeastSqnr,
    NeededCalibration,
    Out,
    Precision,
    PreprocessingOrOwn,
    RangesOrAuto,
    Shapes,
    Target,
    Tune,
    apply_only,
    named_file,
    probe_folder,
)
from scarlet_zoo.cli.precision import MaxDrop, check_budget, decide_for_file

Runtime = Annotated[
    str, typer.Option(help="Version of ONNX Runtime: ort (installed here), or another, such as ort==1.22.1.")
]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("optimize")(optimize)
    app.command("inspect")(inspect)
    app.command("sensitivity", cls=taking({"--images": "--calibration-images"}))(sensitivity)
    app.command("doctor")(doctor)


def optimize(
    file: Annotated[Path, typer.Argument(help="An ONNX file of any exporter.")],
    out: Out,
    as_json: Json = False,
    target: Target = "native",
    precision: Precision = None,
    keep_io: KeepIo = False,
    tune: Tune = False,
    max_drop: MaxDrop = None,
    data: DataOrNone = None,
    data_dir: DataDir = None,
    shape: Shapes = None,
    name: FileName = None,
    force: Force = False,
    calibration: Calibration = None,
    calibration_images: CalibrationImagesOrUsual = None,
    isa: Isa = None,
    ranges: RangesOrAuto = None,
    keep_float: KeepFloat = None,
    least_sqnr: LeastSqnr = None,
    preprocessing: PreprocessingOrOwn = None,
) -> None:
    """Rewrite an ONNX file of any exporter for a target.

    The graph is rewritten into the graph variant of --target, or with --tune into the fastest one on this machine. The
    result is verified against the original file. For an int8 target the file is quantised, on the images of
    --calibration, into NAME.int8.onnx; for an fp16 target it is written in float16, into NAME.fp16.onnx.
    With --tune and --max-drop the file is int8 where that pays on this machine.
    """
    from scarlet_zoo.cli.half import half_to
    from scarlet_zoo.cli.quantize import int8_of, quantize_to
    from scarlet_zoo.deployment.optimize import optimize_file, tune_file
    from scarlet_zoo.deployment.targets import float_variant, get_target, in_precision
    from scarlet_zoo.graph.artifact import read_artifact

    target = in_precision(target, precision)
    kind = get_target(target).precision if get_target(target).runtime == "ort" and not tune else ""
    form = "" if kind in ("int8", "float16") else float_variant(target)
    apply_only(kind == "float16", "an fp16 target", keep_io=keep_io or None)
    if kind == "int8":
        apply_only(False, "float targets", shape=" ".join(shape or ()) or None)
        path, how = _other_file(file, out, name, "int8", force), int8_of(isa, ranges, keep_float, least_sqnr)
        quantize_to(file, path, target, how, calibration, calibration_images or 128, preprocessing, as_json)
        return
    apply_only(tune, "--tune", max_drop=max_drop)
    check_budget(max_drop, data, data_dir, calibration)
    apply_only(max_drop is not None, "an int8 target", calibration=calibration, isa=isa, ranges=ranges,
               calibration_images=calibration_images, keep_float=" ".join(keep_float or ()) or None,
               least_sqnr=least_sqnr, preprocessing=None if kind == "float16" else preprocessing)  # fmt: skip
    if kind == "float16":
        path = _other_file(file, out, name, "fp16", force)
        half_to(file, path, target, keep_io, shape or (), preprocessing, as_json)
        return
    probe_folder(out)
    table_of = None
    path, shapes = out / named_file(name, file.name), shape or ()
    if tune:
        with progress_bar("measure") as progress:
            optimized, table_of = tune_file(file, path, progress, shapes=shapes, force=force)
    else:
        optimized = optimize_file(file, path, form, shapes=shapes, force=force)
    choice = None
    if max_drop is not None:
        how = int8_of(isa, ranges, keep_float, least_sqnr)
        choice = decide_for_file(file, path, max_drop, str(data), data_dir, str(calibration),
                                 calibration_images or 128, how, preprocessing)  # fmt: skip
        optimized = replace(optimized, artifact=read_artifact(path))
    value = optimized.to_dict() | ({"tuning": [row.to_dict() for row in table_of.table]} if table_of else {})
    value |= {"precision_choice": choice.to_dict()} if choice else {}

    def render(console: Console) -> None:
        rows = [("path", value["path"]), ("variant", value["form"]), ("SQNR", f"{optimized.parity.sqnr_db:.0f} dB")]
        console.print(pairs([*rows, *value["rewrites"].items()], title=str(file)))
        for refusal in optimized.lowering.refused:
            console.print(f"left as it is: {refusal.node} ({refusal.rewrite}): {refusal.reason}")
        if table_of is not None:
            console.print(tuning_table(table_of))

    emit(as_json, value, render)


def _other_file(file: Path, out: Path, name: str | None, ending: str, force: bool) -> Path:
    """The path of a file in another precision, in a folder that can be written to."""
    from scarlet_zoo.deployment.optimize import refuse_to_overwrite

    probe_folder(out)
    path = out / named_file(name, f"{file.stem}.{ending}.onnx")
    if not force:
        refuse_to_overwrite(file, path)
    return path


def inspect(
    file: Annotated[Path, typer.Argument(help="An ONNX or ORT file.")],
    as_json: Json = False,
    runtime: Runtime = "ort",
    fail_on: Annotated[
        str | None, typer.Option(help="Leave with exit code 1 above these limits, such as unfused=0,reorders=40.")
    ] = None,
) -> None:
    """Show what ONNX Runtime really executes for a file.

    Lists which operators are fused, which copies are made and what is left in float, and judges each number.
    """
    from scarlet_zoo.graph.fusion import TOTALS, inspect
    from scarlet_zoo.graph.fusion_verdict import check_limits, findings, judge, parse_limits, verdict

    limits = parse_limits(fail_on) if fail_on is not None else {}
    report = inspect(file, runtime)
    judged = judge(report)

    def render(console: Console) -> None:
        console.print(str(file))
        sentence(console, verdict(report))
        for row in judged:
            words = "" if row.good is None else f", {'good' if row.good else 'BAD'} (at most {row.bound})"
            sentence(console, f"{row.total} {row.value}{words}: {TOTALS[row.total]}; {row.reason}.")
        rows = [
            (row.name, row.operator, row.activation or "", row.follower or "", row.reorders or "")
            for row in report.convolutions
        ]
        console.print(table(("convolution", "runs as", "fused", "not fused", "copies"), rows))

    value = {**report.to_dict(), "findings": list(findings(report)), "verdict": verdict(report),
             "judged": [row.to_dict() for row in judged]}  # fmt: skip
    emit(as_json, value, render)
    check_limits(report, limits)


def sensitivity(
    file: Annotated[Path, typer.Argument(help="A float ONNX file of any exporter.")],
    calibration: NeededCalibration,
    out: Out,
    as_json: Json = False,
    images: CalibrationImages = 32,
    preprocessing: PreprocessingOrOwn = None,
) -> None:
    """Measure how much precision each layer loses in int8.

    Layers are listed with their signal-to-noise ratio (SQNR in dB), the worst first. Writes sensitivity.json and
    sensitivity.png.
    """
    from scarlet_zoo.data.calibration_sets import any_calibration_images
    from scarlet_zoo.deployment.image_feed import feed_of_file
    from scarlet_zoo.graph.quantization.sensitivity import plot_sensitivities, sensitivities
    from scarlet_zoo.utils.files import json_text, write_text

    probe_folder(out)
    feed = feed_of_file(file, preprocessing)
    for line in feed.remarks(file):
        remark(line)
    with progress_bar("measure layers") as progress:
        rows = sensitivities(file, any_calibration_images(calibration, feed.preprocessing, images), progress=progress)
    value = [row.to_dict() for row in rows]
    write_text(out / "sensitivity.json", json_text(value, indent=1) + "\n")
    plot_sensitivities(rows, out / "sensitivity.png")
    cells = [(row.node, row.operator, f"{row.sqnr_db:.1f}") for row in rows]

    def render(console: Console) -> None:
        console.print(table(("layer", "operator", "SQNR dB"), cells, title=str(file)))
        sentence(console, "export and optimize keep the layers that lose most in float by themselves, until the file "
                          "has --least-sqnr dB (25 when left out); --keep-float LAYER names one of these")  # fmt: skip

    emit(as_json, value, render)


def doctor(as_json: Json = False) -> None:
    """List the targets that this machine can export and run.

    Also prints how to install what is missing, the processor's instruction sets, and whether int8 is faster on it.
    """
    from scarlet_zoo.deployment.runtimes.doctor import check_up, this_host
    from scarlet_zoo.deployment.targets import this_processor

    rows, host = check_up(), this_host()

    def render(console: Console) -> None:
        header = ("target", "export", "run", "variant", "precision", "processors")
        cells = [(row.target, _yes(row.exports), _yes(row.runs), row.form, row.precision, " ".join(row.processors))
                 for row in rows]  # fmt: skip
        console.print(table(header, cells))
        found = {package: number for row in rows for package, number in row.versions.items()}
        sentence(console, f"versions: {', '.join(f'{package} {number}' for package, number in found.items())}")
        remedies: dict[str, list[str]] = {}
        for row in rows:
            if row.remedy:
                remedies.setdefault(row.remedy, []).append(row.target)
        for remedy, targets in remedies.items():
            # Not wrapped here, so that the command can be copied whole.
            console.print(f"{', '.join(targets)}: {remedy}")
        console.print(f"processor: {host.processor} ({' '.join(host.cpu_features)}), int8 files for {host.isa}")
        for row in rows:
            wanted = row.processors.get(this_processor(), ())
            if row.suits_this_processor is False and wanted:
                missing = f"its speed needs one of {' '.join(wanted)}, and this processor has none of them."
                sentence(console, f"{row.target}: {missing}")

    emit(as_json, {**host.to_dict(), "targets": [row.to_dict() for row in rows]}, render)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
