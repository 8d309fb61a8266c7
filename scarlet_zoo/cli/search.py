"""Verbs that search a space: search, derive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, progress_bar, table
from scarlet_zoo.cli.former_flags import taking
from scarlet_zoo.cli.options import (
    BatchNormImagesOrUsual,
    DataDir,
    DataOrNone,
    Held,
    Json,
    LutFileOrNone,
    Out,
    Seed,
    SpaceOrNone,
    StrategyOrNone,
    SupernetFile,
    Threads,
    ValidationData,
    ValidationImagesOrAll,
    WorkersOrNone,
    apply_only,
)

Objectives = Annotated[
    str | None,
    typer.Option(
        help="Objectives, separated by commas: accuracy (percent top-1), loss (cross-entropy of the validation "
        "images), score (the strategy's), macs (multiply-adds), params (parameters), latency (milliseconds); each may "
        "end in :max or :min and *WEIGHT."
    ),
]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        help="Limit such as 'macs<=5M' (or 5e6, multiply-adds), 'params<=1.2M' (parameters), 'latency<=5ms' (or 5, "
        "milliseconds), 'accuracy>=90%' (or 90, percent top-1), 'loss<=0.5' (cross-entropy), 'score>=0.5' (the "
        "strategy's). It may be given several times.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("search", cls=taking({"--calibration-images": "--bn-images"}))(search_space)
    app.command("derive")(derive_networks)


def search_space(
    out: Out,
    supernet: SupernetFile = None,
    as_json: Json = False,
    space: SpaceOrNone = None,
    strategy: StrategyOrNone = None,
    objectives: Objectives = None,
    limit: Limits = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Search method: nsga2, nao (first objective only) or random; the strategy's own when left out."
        ),
    ] = None,
    evaluations: Annotated[int, typer.Option(min=2, help="Number of architectures to evaluate.")] = 200,
    population: Annotated[int, typer.Option(min=2, help="Number of architectures in a generation.")] = 20,
    data: DataOrNone = None,
    data_dir: DataDir = None,
    validation: Held = None,
    validation_data: ValidationData = None,
    validation_images: ValidationImagesOrAll = None,
    bn_images: BatchNormImagesOrUsual = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Where architectures are evaluated: local (this process) or ray (several processes or machines)."
        ),
    ] = "local",
    workers: WorkersOrNone = None,
    threads: Threads = 1,
    lut: LutFileOrNone = None,
    seed: Seed = 0,
) -> None:
    """Search a space for the best trade-offs between objectives.

    Writes front.json, front.png, front.svg and evaluations.jsonl. Running the same command again continues the search.
    Space, data and strategy are the supernet's when left out. With --lut, that table predicts latency, and the
    architectures of the front are measured at the end. --workers needs --engine ray and is 2 when left out.
    """
    from scarlet_zoo.nas.search.objectives import SCORED
    from scarlet_zoo.nas.search.scoring import Scoring
    from scarlet_zoo.nas.search.search import default_settings, search
    from scarlet_zoo.nas.search.settings import SearchSettings, metrics_of

    apply_only(engine == "ray", "--engine ray", workers=workers)
    usual = default_settings(strategy, supernet)
    settings = SearchSettings(
        objectives=objectives.split(",") if objectives else usual.objectives, limits=limit or (),
        method=method or usual.method, evaluations=evaluations, population=min(population, evaluations), seed=seed,
        engine=engine, workers=workers or 2,
    )  # fmt: skip
    metrics = metrics_of(settings.goals, settings.bounds)
    apply_only("latency" in metrics, "latency among the objectives or limits", lut=lut)
    apply_only(
        not SCORED.isdisjoint(metrics), "accuracy, loss or score among the objectives or limits", data=data,
        data_dir=data_dir, validation=validation, validation_data=validation_data, validation_images=validation_images,
        bn_images=bn_images,
    )  # fmt: skip
    scoring = Scoring(
        data=data, data_dir=data_dir, held_out=validation, validation=validation_images,
        calibration=bn_images or 2000, threads=threads, lut=lut, strategy=strategy,
        validation_data=validation_data,
    )  # fmt: skip
    with progress_bar("search") as progress:
        report = search(supernet, out=out, settings=settings, scoring=scoring, space=space, progress=progress).to_dict()

    def render(console: Console) -> None:
        names = list(report["front"][0]["values"])
        measured = ["measured_ms"] if report.get("front_measured") else []
        rows = [(row["arch"], *(f"{row['values'][name]:,.4g}" for name in names),
                 *(f"{row[name]:,.4g}" for name in measured)) for row in report["front"]]  # fmt: skip
        console.print(
            table(("architecture", *names, *measured), rows, title=f"{report['evaluations']} architectures evaluated")
        )
        console.print(f"{out / 'front.json'}, {out / 'front.png'}")

    emit(as_json, report, render)


def derive_networks(
    front: Annotated[Path, typer.Argument(help="A front.json that 'search' wrote.", metavar="FRONT.json")],
    out: Out,
    as_json: Json = False,
    choose: Annotated[
        str,
        typer.Option(
            help="Positions on the front, counted from 0; 'spread:N' for N evenly along it; or 'best:METRIC'."
        ),
    ] = "spread:3",
    limit: Limits = None,
    supernet: SupernetFile = None,
    data: DataOrNone = None,
    data_dir: DataDir = None,
    names: Annotated[str | None, typer.Option(help="Names of the files, separated by commas.")] = None,
) -> None:
    """Choose architectures from the front of a search.

    Writes archs.json and, with --supernet, a file with the supernet's weights for each architecture; a front of other
    weights is refused. Batch norm statistics are computed on --data, or on the data of the search when it is left out.
    """
    from scarlet_zoo.nas.search.derive import derive

    apply_only(supernet is not None, "--supernet", data=data, data_dir=data_dir)
    networks = derive(front, out=out, choose=choose, limits=limit or (), supernet=supernet,
                      names=names.split(",") if names else None, data=data, data_dir=data_dir)  # fmt: skip
    report = [network.to_dict() for network in networks]

    def render(console: Console) -> None:
        for row in report:
            console.print(pairs([(key, str(value)) for key, value in row.items()], title=row["name"]))

    emit(as_json, report, render)
