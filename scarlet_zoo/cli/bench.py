"""Verbs that measure latency: bench, compare, replay, profile."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scarlet_zoo.cli.console import (
    emit,
    pairs,
    progress_bar,
    records_table,
    say,
    sentence,
    table,
    tell_random_weights,
    weights_of,
)
from scarlet_zoo.cli.former_flags import taking
from scarlet_zoo.cli.options import (
    Affinity,
    Calibration,
    InChans,
    Json,
    Mode,
    Models,
    NumClasses,
    Plot,
    ProviderOrCpu,
    RunsOrMode,
    SaveToOrNone,
    SecondsOrMode,
    Shapes,
    Spin,
    Target,
    Targets,
    Threads,
    Weights,
    numbers,
)
from scarlet_zoo.errors import CheckFailedError, RecordError

if TYPE_CHECKING:
    from scarlet_zoo.measurement.profiling import Part
    from scarlet_zoo.measurement.replay import Replay

Processes = Annotated[int, typer.Option(min=1, help="Number of fresh processes to measure in, one after the other.")]
Repeats = Annotated[
    int, typer.Option(min=0, help="Largest number of repetitions while a measurement varies by more than 5 %.")
]
Records = Annotated[
    list[Path], typer.Argument(help="Files that 'bench --save' wrote; the first record of the first file is the base.")
]

_UNSTABLE = (
    "UNSTABLE: the runs vary by more than 5 %, so a number alone cannot be trusted. Measure again with nothing beside "
    "it, or on one processor (--affinity 0). Where other work never ends, 'compare' on a saved record still says which "
    "file is faster, with an interval: all files were measured in turns"
)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("bench", cls=taking({"--out": "--save"}))(bench_models)
    app.command("compare")(compare_records)
    app.command("replay")(replay_records)
    app.command("profile")(profile_model)


def bench_models(
    models: Models,
    as_json: Json = False,
    threads: Threads = 1,
    mode: Mode = "hot",
    runs: RunsOrMode = None,
    seconds: SecondsOrMode = None,
    spin: Spin = True,
    affinity: Affinity = None,
    shape: Shapes = None,
    provider: ProviderOrCpu = None,
    processes: Processes = 1,
    repeats: Repeats = 2,
    target: Targets = None,
    weights: Weights = "auto",
    num_classes: NumClasses = None,
    in_chans: InChans = None,
    calibration: Calibration = None,
    save: SaveToOrNone = None,
) -> None:
    """Measure the latency of files and networks on this machine.

    They are measured interleaved, each on its own runtime. --runs and --seconds are the mode's own when left out.
    --save writes the records for compare and replay.
    """
    from scarlet_zoo.deployment.int8_speed import slow_int8_line
    from scarlet_zoo.latency import CPU, Settings
    from scarlet_zoo.measurement.bench import bench
    from scarlet_zoo.measurement.records import write_records
    from scarlet_zoo.utils.markdown import conditions_lines, nodes_line

    settings = Settings(mode=mode, threads=threads, runs=runs, seconds=seconds, spin=spin, affinity=numbers(affinity),
                        shapes=tuple(shape or ()), provider=provider or CPU)  # fmt: skip
    with progress_bar("measure") as progress:
        records = bench(
            models, targets=target or ("native",), weights=weights, calibration=calibration, settings=settings,
            processes=processes, repeats=repeats, num_classes=num_classes, in_chans=in_chans, stage=say,
            progress=progress,
        )  # fmt: skip
    if save is not None:
        write_records(save, records)

    def render(console: Console) -> None:
        console.print(records_table(records))
        for line in conditions_lines([(record.file, record.conditions.model_dump()) for record in records]):
            sentence(console, line)
        tell_random_weights(console, weights_of(records))
        slow = slow_int8_line() if any(record.conditions.precision == "int8" for record in records) else None
        if slow is not None:
            sentence(console, slow)
        for record in records:
            if record.conditions.provider_nodes:
                sentence(console, f"{record.file}: {nodes_line(record.conditions.provider_nodes)}")
            if record.exact is False:
                sentence(console, f"WRONG ANSWERS: this processor's kernels saturate on {record.file}")
        if any(not record.stable for record in records):
            sentence(console, _UNSTABLE)

    emit(as_json, [record.to_dict() for record in records], render)


def compare_records(
    records: Records,
    as_json: Json = False,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.9999, help="Confidence level of the bootstrap interval.")
    ] = 0.99,
    fail_above: Annotated[
        float | None, typer.Option(help="Leave with exit code 1 if the whole interval of a ratio is above this.")
    ] = None,
) -> None:
    """Compare measured latencies as ratios with intervals.

    Each ratio is one of medians. Records that were measured under different conditions are refused.
    """
    from scarlet_zoo.measurement.compare import compare
    from scarlet_zoo.measurement.records import read_records, unstable_words
    from scarlet_zoo.utils.markdown import unstable_mark

    rows = [row for path in records for row in read_records(path)]
    if len(rows) < 2:
        raise RecordError(f"compare: got {len(rows)} record, wanted at least two")
    results = [compare(rows[0], row, confidence) for row in rows[1:]]

    def render(console: Console) -> None:
        cells = [(r.new, f"{r.ratio:.3f}", f"{r.low:.3f} to {r.high:.3f}", f"{r.verdict}{unstable_mark(r.stable)}",
                  "yes" if r.paired else "no") for r in results]  # fmt: skip
        title = f"median latency over that of {rows[0].file}, {confidence:.0%} interval"
        console.print(table(("file", "ratio", "interval", "verdict", "paired"), cells, title=title))
        if any(not row.stable for row in rows):
            sentence(console, "UNSTABLE: a verdict on runs that vary by more than 5 % is not reliable; measure again:")
            console.print(table(("file", "variation"), [(r.file, f"{r.cv:.1%}") for r in rows if not r.stable]))
        tell_random_weights(console, weights_of(rows))

    emit(as_json, [result.to_dict() for result in results], render)
    slow = [result for result in results if fail_above is not None and result.low > fail_above]
    if slow:
        pair = (rows[0], rows[1 + results.index(slow[0])])
        caution = "" if slow[0].stable else f" (a verdict on UNSTABLE runs: {unstable_words(pair)})"
        raise CheckFailedError(
            f"{slow[0].new}: got a ratio of {slow[0].ratio:.3f}, wanted at most {fail_above}{caution}"
        )


def replay_records(
    record: Annotated[Path, typer.Argument(help="A file that 'bench --save' wrote.", metavar="RECORD")],
    as_json: Json = False,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            help="Present path of a measured file. It may be given several times, in the order of the records.",
        ),
    ] = None,
    within: Annotated[
        float | None,
        typer.Option(min=0, help="Leave with exit code 1 if a median differs by more than this, in percent."),
    ] = None,
    repeats: Repeats = 2,
) -> None:
    """Repeat recorded measurements and compare the results.

    The same files, byte for byte, are measured in the same way.
    """
    from scarlet_zoo.measurement.records import read_records
    from scarlet_zoo.measurement.replay import replay

    rows = read_records(record)
    if file and len(file) != len(rows):
        raise RecordError(f"--file: got {len(file)} files, wanted {len(rows)}, one for each record of {record}")
    with tempfile.TemporaryDirectory(prefix="scarlet-zoo-") as temporary, progress_bar("measure") as progress:
        results = replay(rows, Path(temporary), file or (), repeats=repeats, say=say, progress=progress)

    def render(console: Console) -> None:
        for row in results:
            console.print(f"{row.file}: recorded {row.p50_ms:.3f} ms, now {row.again_p50_ms:.3f} ms, "
                          f"reproduced within {row.reproduced_within_percent:.1f} %{_unsteady(row)}")  # fmt: skip
        tell_random_weights(console, weights_of(rows))

    emit(as_json, [result.to_dict() for result in results], render)
    far = [row for row in results if within is not None and row.reproduced_within_percent > within]
    if far:
        raise CheckFailedError(f"{far[0].file}: reproduced within {far[0].reproduced_within_percent:.1f} %, "
                               f"wanted at most {within} %{_unsteady(far[0])}")  # fmt: skip


def _unsteady(row: Replay) -> str:
    """Text that says which of the two measurements of a replay is unstable; empty if none is."""
    marks = (("the record", row.record_stable), ("the repetition", row.stable))
    which = " and ".join(name for name, stable in marks if not stable)
    return f" (UNSTABLE: {which} varied by more than 5 %)" if which else ""


def profile_model(
    model: Annotated[str, typer.Argument(help="An ONNX file, or the name of a network.")],
    as_json: Json = False,
    threads: Threads = 1,
    target: Target = "native",
    weights: Weights = "auto",
    num_classes: NumClasses = None,
    in_chans: InChans = None,
    calibration: Calibration = None,
    shape: Shapes = None,
    operators: Annotated[bool, typer.Option("--operators", help="Show every operator instead of blocks.")] = False,
    plot: Plot = None,
) -> None:
    """Show where a network's time goes, block by block.

    The time of each block or operator is shown beside its physical limit on this machine.
    """
    from scarlet_zoo.graph.artifact import read_artifact
    from scarlet_zoo.latency import Runner, Settings
    from scarlet_zoo.measurement.profiling import profile
    from scarlet_zoo.measurement.roofline import measure_machine
    from scarlet_zoo.measurement.workloads import gather
    from scarlet_zoo.utils.markdown import unstable_mark

    with tempfile.TemporaryDirectory(prefix="scarlet-zoo-") as temporary:
        (workload,) = gather([model], Path(temporary), [target], weights, calibration, say, num_classes=num_classes,
                             in_chans=in_chans)  # fmt: skip
        Runner(
            workload.path, Settings(threads=threads, shapes=tuple(shape or ()))
        ).time_ms()  # refused at once, if it is
        say("measure this machine")
        machine = measure_machine(threads)
        say("profile")
        result = profile(workload.path, machine, label=workload.label, shapes=shape or ())
        weights = read_artifact(workload.path).weights
    if plot is not None:
        from scarlet_zoo.measurement.profile_plots import plot_profile

        plot_profile(result, plot)

    def render(console: Console) -> None:
        parts = result.operators if operators else result.blocks
        header = ("operator" if operators else "block", "kind", "us", "MMACs", "kB", "GFLOP/s", "limit us", "x limit")
        title = f"{result.file}{unstable_mark(result.stable)}"
        console.print(table(header, map(_part_row, (*parts, result.total)), title=title))
        tell_random_weights(console, [(result.file, weights)])
        if not result.stable:
            sentence(console, f"UNSTABLE: the runs varied by {result.cv:.1%}, more than 5 %; profile again")
        rates = ", ".join(f"{rate:.0f} at {size / 2**20:g} MiB" for size, rate in machine.bandwidth_gbs)
        console.print(pairs([("peak", f"{machine.peak_gflops:.0f} GFLOP/s"), ("bandwidth, GB/s", rates),
                             ("machine", f"{machine.device}, threads {machine.threads}")]))  # fmt: skip
        if plot is not None:
            console.print(str(plot))

    emit(as_json, result.to_dict(), render)


def _part_row(part: Part) -> tuple[object, ...]:
    moved = (part.weight_bytes + part.activation_bytes) / 1e3
    over = "" if part.of_limit is None else f"{part.of_limit:.1f}"
    return (part.name, part.kind, f"{part.p50_us:.0f}", f"{part.macs / 1e6:.2f}", f"{moved:.0f}",
            f"{part.gflops:.0f}", f"{part.limit_us:.0f}", over)  # fmt: skip
