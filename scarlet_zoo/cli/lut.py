"""The verb lut: build, query and show latency tables."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, next_step, pairs, progress_bar, sentence, table
from scarlet_zoo.cli.former_flags import taking
from scarlet_zoo.cli.options import (
    HeldOut,
    Json,
    LutFile,
    Networks,
    Out,
    ProviderOrCpu,
    Rounds,
    SaveTo,
    Seed,
    Space,
    Spin,
    TablePrecision,
    TablePrecisionOrAny,
    Threads,
    ThreadsOrAny,
    apply_only,
)
from scarlet_zoo.errors import TableError
from scarlet_zoo.utils.markdown import provider_mark

if TYPE_CHECKING:
    from scarlet_zoo.measurement.lut.table import Errors, LatencyTable

lut = typer.Typer(help="Build and query latency tables of a device.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    lut.command("build", cls=taking({"--out": "--save"}))(build)
    lut.command("bundle")(bundle_files)
    lut.command("predict")(predict)
    lut.command("show")(show)
    app.add_typer(lut, name="lut")


def build(
    save: SaveTo,
    space: Space = "scarlet",
    as_json: Json = False,
    threads: Threads = 1,
    spin: Spin = True,
    provider: ProviderOrCpu = None,
    precision: TablePrecision = "float32",
    networks: Networks = 32,
    held_out: HeldOut = 16,
    sittings: Rounds = 4,
    seed: Seed = 0,
    work: Annotated[
        Path | None, typer.Option(help="Folder for measurements in progress; FILE.work when left out.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle that was measured on another device.", metavar="FOLDER")
    ] = None,
    measured: Annotated[
        list[Path] | None,
        typer.Option(help="Result file of the bundle's latency.py --groups. It may be given several times."),
    ] = None,
) -> None:
    """Measure every block of a space on this machine.

    Writes a latency table and prints its error on held-out networks. Each round is a fresh process whose measurements
    are stored, so running the same command again continues from there. With --bundle and --measured, the table is
    built from measurements of another device instead.
    """
    from scarlet_zoo.latency import CPU
    from scarlet_zoo.measurement.lut.build import build_table
    from scarlet_zoo.measurement.lut.build_here import build_lut
    from scarlet_zoo.measurement.lut.bundle import read_bundle

    if (bundle is None) != (not measured):
        raise TableError("lut build: got only one of --bundle and --measured, wanted both or none")
    apply_only(bundle is None, "a table that is measured here", provider=provider)
    if bundle is not None:
        result = build_table(read_bundle(bundle), list(measured or ()))
        result.write(save)
    else:
        with ExitStack() as bars:

            def stage(what: str) -> Callable[[int, int], None]:
                bars.close()  # one bar at a time
                return bars.enter_context(progress_bar(what))

            result = build_lut(
                space, out=save, precision=precision, threads=threads, spin=spin, networks=networks,
                held_out=held_out, rounds=sittings, seed=seed, work=work, stage=stage,
                provider=provider or CPU,
            )  # fmt: skip
    emit(as_json, _described(result, save), lambda console: _render(console, result, save))


def bundle_files(
    out: Out,
    space: Space = "scarlet",
    as_json: Json = False,
    precision: TablePrecision = "float32",
    networks: Networks = 32,
    held_out: HeldOut = 16,
    seed: Seed = 0,
) -> None:
    """Write files and script for measuring on another device.

    Run the printed command there, then give its results to 'lut build'.
    """
    from scarlet_zoo.arch.space_files import find_space
    from scarlet_zoo.measurement.lut.bundle import MANIFEST, make_bundle

    with progress_bar("export") as progress:
        bundle = make_bundle(find_space(space), out, precision, (networks, held_out), seed, progress)
    files = sum(len(group.files) for group in bundle.groups)
    command = f"python latency.py --groups {MANIFEST} --out sitting-0.json"
    value = {"path": str(out), "files": files, "groups": len(bundle.groups), "precision": precision, "command": command}

    def render(console: Console) -> None:
        console.print(pairs([(key, value[key]) for key in ("files", "groups", "precision")], title=str(out)))
        sentence(console, "copy this folder to the device, run there in it")
        console.print(command)
        sentence(console, "and copy the file that it writes, sitting-0.json, back into the folder")
        folder, result = shlex.quote(str(out)), shlex.quote(str(out / "sitting-0.json"))
        next_step(console, f"scarlet-zoo lut build --bundle {folder} --measured {result} --save TABLE.json")

    emit(as_json, value, render)


def predict(
    archs: Annotated[list[str], typer.Argument(help="Identity strings, or names of networks.", metavar="ARCH...")],
    lut: LutFile,
    as_json: Json = False,
    threads: ThreadsOrAny = None,
    precision: TablePrecisionOrAny = None,
    anchor: Annotated[
        bool, typer.Option("--anchor", help="Measure a few of the table's networks now, and predict for this moment.")
    ] = False,
) -> None:
    """Predict the latency of architectures from a table.

    Each prediction has an interval. With --threads or --precision, a table for other values is refused. --anchor takes
    seconds, on the table's own device: where other work makes it slower now, so are the predictions, and intervals
    widen by what was seen of noise.
    """
    from scarlet_zoo.arch.architecture import Arch, is_identity_string
    from scarlet_zoo.arch.zoo import get_arch
    from scarlet_zoo.measurement.lut.anchor import measure_anchor
    from scarlet_zoo.measurement.lut.table import read_table

    known = read_table(lut)
    known.require(threads=threads, precision=precision)
    known.require_here()
    parsed = [Arch.parse(text, known.search_space) if is_identity_string(text) else get_arch(text) for text in archs]
    for arch in parsed:
        known.require(space=arch.space)
    predicted, now = known.predict(parsed), measure_anchor(known) if anchor else None
    more = {} if now is None else {"anchor_ratio": now.ratio, "anchor_noise": now.noise}
    rows = [{"arch": str(arch), "p50_ms": p50, "low_ms": low, "high_ms": high, "stable": known.stable, **more}
            for arch, (p50, low, high) in zip(parsed, (predicted if now is None else now.apply(predicted)).tolist(),
                                              strict=True)]  # fmt: skip

    def render(console: Console) -> None:
        cells = [(row["arch"], *(f"{row[key]:.3f}" for key in ("p50_ms", "low_ms", "high_ms"))) for row in rows]
        console.print(table(("architecture", "p50 ms", "low", "high"), cells))
        sentence(console, _error_line(known))
        if now is not None:
            sentence(console, f"now: {len(now.networks)} networks of the table take {now.ratio:.2f} times as long as "
                              f"in it, within {now.noise:.1%}, and so do the predictions")  # fmt: skip

    emit(as_json, rows, render)


def show(
    file: Annotated[Path, typer.Argument(help="A file that 'lut build' wrote.")],
    as_json: Json = False,
) -> None:
    """Show what a latency table is for, its range and its error."""
    from scarlet_zoo.measurement.lut.table import read_table

    known = read_table(file)
    emit(as_json, _described(known, file), lambda console: _render(console, known, file))


def _described(known: LatencyTable, path: Path) -> dict[str, object]:
    fields = known.model_dump(mode="json", exclude={"blocks", "space"})
    return {"path": str(path), "space": known.search_space.name, "blocks": len(known.blocks), "stable": known.stable,
            "reach_ms": known.reach_ms, **fields}  # fmt: skip


def _render(console: Console, known: LatencyTable, path: Path) -> None:
    stamp = known.stamp
    facts = [("space", known.search_space.name), ("blocks", len(known.blocks)), ("device", stamp.device),
             ("runtime", f"{stamp.runtime} {stamp.runtime_version}{provider_mark(stamp.model_dump())}"),
             ("threads", stamp.threads),
             ("precision", f"{stamp.precision}, {stamp.form}"), ("date", stamp.date),
             ("its networks", "{:.3g} to {:.3g} ms predicted".format(*known.reach_ms))]  # fmt: skip
    console.print(pairs(facts, title=str(path)))
    held = known.held_out
    rows = [_error_row(name, errors) for name, errors in (
        ("this table", held.predictor), ("plain sum of blocks", held.block_sum), ("multiply-adds", held.macs),
        ("one half of the measurements by the other", held.repeat))]  # fmt: skip
    title = f"error on {len(held.networks)} held-out networks, which calibration has not seen"
    console.print(table(("predicted by", "mean", "95 % within", "largest", "Spearman"), rows, title=title))
    sentence(console, _error_line(known))


def _error_row(name: str, errors: Errors | None) -> tuple[str, ...]:
    if errors is None:
        return (name, "one round: not known", "", "", "")
    return (name, f"{errors.mean:.2%}", f"{errors.p95:.2%}", f"{errors.largest:.2%}", f"{errors.spearman:.3f}")


def _error_line(known: LatencyTable) -> str:
    held, line = known.held_out, known.calibration
    return (f"{known.stamp.device}, threads {known.stamp.threads}, {known.stamp.precision}: mean error "
            f"{held.predictor.mean:.2%} on {len(held.networks)} held-out networks; the {line.coverage:.0%} interval "
            f"of {line.error:.1%} covered {held.covered:.0%} of them{_unsteady(known)}")  # fmt: skip


def _unsteady(known: LatencyTable) -> str:
    """Text that says how many of the measured networks are unstable; empty if none is."""
    marks = [network.stable for network in known.measured_networks]
    if known.stable is not False:
        return ""
    return f"; UNSTABLE: {marks.count(False)} of its {len(marks)} measured networks varied by more than 5 %"
