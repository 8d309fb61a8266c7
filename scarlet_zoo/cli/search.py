"""Verbs that search: search, derive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, progress_bar, table
from scarlet_zoo.cli.options import DataDir, Held, Json, Seed, apply_only
from scarlet_zoo.cli.train import Out
from scarlet_zoo.errors import TrainingError

SupernetFile = Annotated[Path | None, typer.Option(help="The supernet.safetensors of supernet train.", metavar="FILE")]
Objectives = Annotated[
    str | None,
    typer.Option(help="Of accuracy, score, macs, params, latency; each with :max or :min and *WEIGHT if you like."),
]
Limits = Annotated[list[str] | None, typer.Option("--limit", help="Such as 'macs<=5e6' or 'latency<=1.5'; repeatable.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("search")(search_space)
    app.command("derive")(derive)


def search_space(
    out: Out,
    supernet: SupernetFile = None,
    as_json: Json = False,
    space: Annotated[str | None, typer.Option(help="The supernet's when left out.", metavar="NAME|FILE.toml")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="That scores, and its search; the one that trained the supernet if left out.")
    ] = None,
    objectives: Objectives = None,
    limit: Limits = None,
    method: Annotated[
        str | None,
        typer.Option(help="nsga2, nao (for the first objective) or random; the strategy's if left out."),
    ] = None,
    evaluations: Annotated[int, typer.Option(min=2, help="Architectures to evaluate.")] = 200,
    population: Annotated[int, typer.Option(min=2, help="Of a generation.")] = 20,
    data: Annotated[str | None, typer.Option(help="What the supernet was trained on when left out.")] = None,
    data_dir: DataDir = None,
    validation: Held = None,
    validation_images: Annotated[
        int | None, typer.Option(min=1, help="Of those, to score on; all if left out.")
    ] = None,
    calibration_images: Annotated[
        int | None, typer.Option(min=2, help="Training pictures for batch norm statistics; 2000 if left out.")
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray.")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Of engine ray; 2 if left out.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of an evaluation.")] = 1,
    lut: Annotated[
        Path | None, typer.Option(help="A table of lut build that predicts latency; the front is measured.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Search a space; leaves front.json, front.png, front.svg and evaluations.jsonl."""
    from scarlet_zoo.nas.search.objectives import Limit, Objective
    from scarlet_zoo.nas.search.results import SearchPlan, habits_of, run_search
    from scarlet_zoo.nas.search.settings import SearchSettings, metrics_of

    metric, own_method = habits_of(strategy, supernet)
    goals = tuple(Objective.parse(text) for text in (objectives or f"{metric},macs").split(","))
    limits = tuple(Limit.parse(text) for text in limit or [])
    metrics = metrics_of(goals, limits)
    apply_only(engine == "ray", "--engine ray", workers=workers)
    apply_only("latency" in metrics, "latency among the objectives or limits", lut=lut)
    apply_only(
        not {"accuracy", "score"}.isdisjoint(metrics), "accuracy or score among the objectives or limits", data=data,
        data_dir=data_dir, validation=validation, validation_images=validation_images,
        calibration_images=calibration_images,
    )  # fmt: skip
    settings = SearchSettings(
        objectives=goals, limits=limits, method=method or own_method, evaluations=evaluations,
        population=min(population, evaluations), seed=seed, engine=engine, workers=workers or 2,
    )  # fmt: skip
    plan = SearchPlan(
        supernet=supernet, space=space, metrics=metrics, data=data, data_dir=data_dir,
        held_out=validation, validation=validation_images, calibration=calibration_images or 2000, threads=threads,
        lut=lut, strategy=strategy,
    )  # fmt: skip
    with progress_bar("search") as progress:
        report = run_search(plan, settings, out, progress)

    def render(console: Console) -> None:
        names = list(report["front"][0]["values"])
        measured = ["measured_ms"] if report.get("front_measured") else []
        rows = [(row["arch"], *(f"{row['values'][name]:,.4g}" for name in names),
                 *(f"{row[name]:,.4g}" for name in measured)) for row in report["front"]]  # fmt: skip
        console.print(table(("architecture", *names, *measured), rows, title=f"{report['evaluations']} evaluated"))
        console.print(f"{out / 'front.json'}, {out / 'front.png'}")

    emit(as_json, report, render)


def derive(
    front: Annotated[Path, typer.Argument(help="front.json of a search.", metavar="FRONT.json")],
    out: Out,
    as_json: Json = False,
    choose: Annotated[
        str, typer.Option(help="Positions on the front from 0, 'spread:N' for N evenly along it, or 'best:METRIC'.")
    ] = "spread:3",
    limit: Limits = None,
    supernet: SupernetFile = None,
    data: Annotated[str | None, typer.Option(help="For batch norm statistics; the supernet's when left out.")] = None,
    data_dir: DataDir = None,
    names: Annotated[str | None, typer.Option(help="Names for the files, separated by commas.")] = None,
) -> None:
    """Choose architectures of a front; writes archs.json and, with --supernet, each with its supernet weights."""
    from scarlet_zoo.nas.search.objectives import Limit
    from scarlet_zoo.nas.search.results import choose_from, derive_networks, read_front

    apply_only(supernet is not None, "--supernet", data=data, data_dir=data_dir)
    rows = read_front(front, tuple(Limit.parse(text) for text in limit or []))
    chosen = choose_from(rows, choose)
    given = names.split(",") if names else None
    if given is not None and len(given) != len(chosen):
        raise TrainingError(f"names: got {len(given)}, wanted {len(chosen)}, one for each architecture")
    report: list[dict[str, Any]] = derive_networks(chosen, out, supernet, given, data, data_dir)

    def render(console: Console) -> None:
        for row in report:
            console.print(pairs([(key, str(value)) for key, value in row.items()], title=row["name"]))

    emit(as_json, report, render)
