"""Verbs that check: verify, bench, compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from scarlet_zoo.cli.console import Json, emit, pairs, progress_bar, table
from scarlet_zoo.errors import ArtifactError, CheckFailedError, RecordError

if TYPE_CHECKING:
    from scarlet_zoo.artifact import Artifact

Files = Annotated[
    list[Path], typer.Argument(help="ONNX files, and files of other runtimes that scarlet-zoo export wrote.")
]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("verify")(verify_file)
    app.command("bench")(bench)
    app.command("compare")(compare_records)


def verify_file(
    file: Annotated[Path, typer.Argument(help="An ONNX file.")],
    name: Annotated[
        str | None, typer.Argument(help="The network it was made from; the file's own word if left out.")
    ] = None,
    as_json: Json = False,
    weights: Annotated[str | None, typer.Option(help="Where that network's weights are.", metavar="FILE")] = None,
) -> None:
    """Compare a file with the network it was made from, or with its own golden outputs; exit code 1 if they differ."""
    from scarlet_zoo.artifact import read_artifact
    from scarlet_zoo.networks import load_network
    from scarlet_zoo.verification import ParityError, verify

    artifact = read_artifact(file)
    if name is None and weights is None and "golden" in artifact.metadata:
        _verify_golden(artifact, as_json)
        return
    source, where = _source(artifact.metadata, file, name, weights)
    described = artifact.preprocessing
    # Random weights are calibrated at the size that they are made for.
    levels = json.loads(artifact.metadata["features"]) if "features" in artifact.metadata else None
    network = load_network(
        source,
        where,
        input_size=described.size[0] if described is not None else None,
        features=tuple(level["level"] for level in levels) if levels else None,
    )
    if name is None and weights is None and network.weights_sha256 != artifact.metadata.get("weights_sha256"):
        raise ArtifactError(f"{file}: its weights are {artifact.weights!r}, wanted --weights to compare with")
    try:
        parity, failure = verify(network.model, artifact, preprocessing=network.preprocessing), None
    except ParityError as error:
        parity, failure = error.parity, error
    value = {"file": str(file), "name": source, "weights": network.weights, **parity.to_dict()}

    def render(console: Console) -> None:
        facts = [("source", source), ("weights", network.weights), ("verified", "yes" if parity.passed else "NO")]
        console.print(pairs(facts, title=str(file)))
        rows = [
            (case.case, f"{case.max_abs_err:.1e}", f"{case.max_rel_err:.1e}", f"{case.limit_rel_err:.1e}",
             f"{case.sqnr_db:.0f}", f"{case.top1_agreement:.1%}")
            for case in parity.cases
        ]  # fmt: skip
        console.print(table(("images", "absolute", "relative", "at most", "SQNR dB", "top-1 agreement"), rows))

    emit(as_json, value, render)
    if failure is not None:
        raise failure


def _verify_golden(artifact: Artifact, as_json: bool) -> None:
    """Yes or no from the file alone."""
    from scarlet_zoo.quantization.golden import check_golden

    check = check_golden(artifact)
    exact = {True: "yes", False: "NO", None: "not promised here"}[check.exact]
    facts = [("golden outputs", "yes" if check.passed else "NO"), ("same bits", exact), ("processor", check.isa),
             ("same five best classes", "yes" if check.top5 else "NO"),
             ("largest difference", f"{check.max_steps:.1f} steps")]  # fmt: skip
    value = {"file": str(artifact.path), **check.to_dict()}
    emit(as_json, value, lambda console: console.print(pairs(facts, title=str(artifact.path))))
    if not check.passed:
        raise CheckFailedError(f"{artifact.path}: its golden outputs are not what it gives here")


def _source(metadata: dict[str, str], file: Path, name: str | None, weights: str | None) -> tuple[str, str]:
    """Which network, with which weights: as told, else as the file says."""
    from scarlet_zoo.initialization import RANDOM_WEIGHTS

    source = name or metadata.get("arch") or metadata.get("model")
    if source is None:
        raise ArtifactError(f"{file}: does not say which network it is, wanted its NAME")
    if weights is None:
        weights = "random" if metadata.get("weights") == RANDOM_WEIGHTS else "auto"
    return source, weights


def bench(
    files: Files,
    as_json: Json = False,
    threads: Annotated[int, typer.Option(min=1, help="Intra-op threads.")] = 1,
    runs: Annotated[int, typer.Option(help="Counted runs of each file, at least 100.")] = 100,
    seconds: Annotated[float, typer.Option(help="Seconds of counted runs of each file, at least 2.")] = 2.0,
    spin: Annotated[bool, typer.Option(help="Let idle threads spin.")] = True,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the records to this file.")] = None,
) -> None:
    """Measure files in turns on this machine, each on its own runtime."""
    from scarlet_zoo.artifact import read_onnx
    from scarlet_zoo.files import write_text
    from scarlet_zoo.jsontext import json_text
    from scarlet_zoo.latency import Settings, measure
    from scarlet_zoo.report import conditions_line
    from scarlet_zoo.runtimes import runtime_of
    from scarlet_zoo.runtimes.running import cold_start, open_runner, quiet_runtimes, read_description

    settings = Settings(threads=threads, runs=runs, seconds=seconds, spin=spin)
    for file in files:
        if runtime_of(file):
            read_description(file)
        else:
            read_onnx(file)
    with progress_bar("measure") as progress, quiet_runtimes(files):
        timings = measure(files, settings, progress, open_runner=open_runner, cold_start=cold_start)
    records = [timing.to_dict() for timing in timings]
    if out is not None:
        write_text(out, json_text(records) + "\n")

    def render(console: Console) -> None:
        header = (
            "file",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "min ms",
            "variation",
            "runs",
            "load ms",
            "first ms",
            "peak MiB",
        )
        rows = [
            (t.file, f"{t.p50_ms:.3f}", f"{t.p90_ms:.3f}", f"{t.p99_ms:.3f}", f"{t.min_ms:.3f}", f"{t.cv:.1%}",
             t.runs, f"{t.load_ms:.0f}", f"{t.first_ms:.1f}", f"{t.peak_rss_bytes / 2**20:.0f}")
            for t in timings
        ]  # fmt: skip
        console.print(table(header, rows))
        console.print(conditions_line(timings[0].conditions))

    emit(as_json, records, render)


def compare_records(
    records: Annotated[list[Path], typer.Argument(help="Files that bench --out wrote; the first row is the base.")],
    as_json: Json = False,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Of the bootstrap interval.")] = 0.99,
    fail_above: Annotated[float | None, typer.Option(help="Exit code 1 if a ratio is surely above this.")] = None,
) -> None:
    """Compare measurements: the ratio of medians with its interval, refused where conditions differ."""
    from scarlet_zoo.comparison import compare

    rows = [row for path in records for row in _read_records(path)]
    if len(rows) < 2:
        raise RecordError(f"compare: got {len(rows)} record, wanted two or more")
    results = [compare(rows[0], row, confidence) for row in rows[1:]]

    def render(console: Console) -> None:
        cells = [(r.new, f"{r.ratio:.3f}", f"{r.low:.3f} to {r.high:.3f}", r.verdict, "yes" if r.paired else "no")
                 for r in results]  # fmt: skip
        title = f"median latency over that of {rows[0]['file']}, {confidence:.0%} interval"
        console.print(table(("file", "ratio", "interval", "verdict", "paired"), cells, title=title))

    emit(as_json, [result.to_dict() for result in results], render)
    slow = [result for result in results if fail_above is not None and result.low > fail_above]
    if slow:
        raise CheckFailedError(f"{slow[0].new}: ratio {slow[0].ratio:.3f}, at most {fail_above} was wanted")


def _read_records(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}, wanted a file of bench --out") from error
    except ValueError as error:
        raise RecordError(f"{path}: not JSON, wanted a file of bench --out") from error
    rows = content if isinstance(content, list) else [content]
    if not rows or not all(isinstance(row, dict) and "conditions" in row for row in rows):
        raise RecordError(f"{path}: no records in it, wanted a file of bench --out")
    return rows
