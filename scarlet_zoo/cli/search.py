"""Verbs that search a space: search, derive."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, next_step, pairs, progress_bar, remark, say, sentence, table
from scarlet_zoo.cli.former_flags import taking
from scarlet_zoo.cli.options import (
    DataDir,
    DataOrNone,
    Json,
    Out,
    Seed,
    SpaceOrNone,
    SupernetFile,
    WorkersOrNone,
    apply_only,
)
from scarlet_zoo.cli.search_options import Limits, Objectives, SearchOptions, preset_option
from scarlet_zoo.cli.shared import with_shared_options
from scarlet_zoo.utils.figures import short_count

_NOISE = 2.0  # points of accuracy, from which on chance is told
_SHOWN = 5  # architectures of a baseline; front.json has all


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("search", cls=taking({"--calibration-images": "--bn-images"}))(search_space)
    app.command("derive")(derive_networks)


@with_shared_options
def search_space(
    out: Out,
    how: SearchOptions,
    supernet: SupernetFile = None,
    as_json: Json = False,
    space: SpaceOrNone = None,
    preset: preset_option(lambda preset: preset.search) = None,  # type: ignore[valid-type]  # noqa: ARG001
    objectives: Objectives = None,
    limit: Limits = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Search method: nsga2, nao (first objective only), random, or predictor (learns from short trainings, "
            "with or without a supernet); the strategy's own when left out."
        ),
    ] = None,
    evaluations: Annotated[int, typer.Option(min=2, help="Number of architectures to evaluate.")] = 200,
    population: Annotated[int, typer.Option(min=2, help="Number of architectures in a generation.")] = 20,
    engine: Annotated[
        str,
        typer.Option(
            help="Where architectures are evaluated: local (this process) or ray (several processes or machines)."
        ),
    ] = "local",
    workers: WorkersOrNone = None,
    seed: Seed = 0,
) -> None:
    """Search a space for the best trade-offs between objectives.

    Writes front.json, front.png, front.svg and evaluations.jsonl. Running the same command again continues the search.
    Space, data and strategy are the supernet's when left out. Beside the front it reports what the most multiply-adds
    and the most parameters would have chosen from the same architectures, without a supernet. With --lut, that table
    predicts latency, and the architectures of the front are measured at the end. --workers needs --engine ray and is 2
    when left out.
    """
    from scarlet_zoo.nas.search.search import default_settings, search
    from scarlet_zoo.nas.search.settings import SearchSettings, metrics_of

    apply_only(engine == "ray", "--engine ray", workers=workers)
    usual = default_settings(how.strategy, supernet, method)
    settings = SearchSettings(
        objectives=objectives.split(",") if objectives else usual.objectives, limits=limit or (),
        method=method or usual.method, evaluations=evaluations, population=min(population, evaluations), seed=seed,
        engine=engine, workers=workers or 2,
    )  # fmt: skip
    scoring, predictor = how.scoring(metrics_of(settings.goals, settings.bounds)), how.predictor(settings.method)
    with progress_bar("search") as progress:
        report = search(supernet, out=out, settings=settings, scoring=scoring, space=space, predictor=predictor,
                        progress=progress, stage=say).to_dict()  # fmt: skip
    emit(as_json, report, lambda console: _print_front(console, report, out))
    _remark_on_noise(report)


def _print_front(console: Console, report: dict[str, Any], out: Path) -> None:
    from scarlet_zoo.nas.search.front import spread

    names = list(report["front"][0]["values"])
    measured = ["measured_ms"] if report.get("front_measured") else []
    title = f"{report['evaluations']} architectures evaluated"
    heads = ("architecture", *map(_head, names))
    console.print(table((*heads, *(["measured ms"] if measured else [])), _rows(report["front"], names, measured),
                        title=title))  # fmt: skip
    on_front = {row["arch"] for row in report["front"]}
    for baseline in report["baselines"]:
        shared = sum(row["arch"] in on_front for row in baseline["front"])
        chosen = ",".join(baseline["objectives"])
        title = f"without a supernet, {chosen} would choose of these ({shared} are on the front above)"
        shown = spread(baseline["front"], _SHOWN)
        console.print(table(heads, _rows(shown, names, []), title=title))
    if report["baselines"]:
        sentence(console, verdict(report))
    if "predictor" in report:
        _print_predictor(console, report["predictor"], report["confirmed"])
    console.print(f"{out / 'front.json'}, {out / 'front.png'}")
    front = shlex.quote(str(out / "front.json"))
    next_step(console, f"scarlet-zoo derive {front} --choose {_choice(report['objectives'][0])} --out DIR")


def verdict(report: dict[str, Any]) -> str:
    """One sentence on whether the front holds anything that size alone would not have chosen."""
    kinds = " or ".join(found["objectives"][0].partition(":")[0] for found in report["baselines"])
    by_size = {row["arch"] for found in report["baselines"] for row in found["front"]}
    count = len(report["front"])
    own = sum(row["arch"] not in by_size for row in report["front"])
    if not own:
        return (f"size alone ({kinds}) would have chosen the whole front too, so here it is as good as the "
                "search")  # fmt: skip
    return (f"size alone ({kinds}) would not have chosen {own} of the {count} on the front; that they are better is "
            "what the search says, and a training of them and of one that size chooses confirms it or not")  # fmt: skip


def _remark_on_noise(report: dict[str, Any]) -> None:
    """Say how far apart accuracies are by chance, where they are of few images."""
    noise = report.get("accuracy_noise", 0.0)
    if noise > _NOISE:
        more = ("more --validation-images" if report["conditions"].get("validation") else
                "search --validation-data FOLDER, or a supernet trained with a larger --validation")  # fmt: skip
        remark(f"judged on {report['validation_pictures']:,} validation images: differences below about {noise:.0f} "
               f"points of accuracy are none, and losses are as uncertain; for more images: {more}")  # fmt: skip


def _choice(objective: str) -> str:
    """The --choose that takes the best by an objective, which for an unusual direction is the first of the front."""
    from scarlet_zoo.nas.search.objectives import METRICS, Objective

    goal = Objective.parse(objective)
    return f"best:{goal.name}" if goal.maximise == METRICS[goal.name][1] else "0"


def _head(name: str) -> str:
    """The head of a metric's column, with its unit."""
    return {"accuracy": "accuracy %", "latency": "latency ms"}.get(name, name)


def _cell(name: str, value: float) -> str:
    return short_count(value) if name in ("macs", "params") else f"{value:,.4g}"


def _print_predictor(console: Console, found: dict[str, Any], confirmed: list[dict[str, Any]]) -> None:
    metric = found["metric"]
    unit = "points" if metric == "accuracy" else "nats"
    low, high = found["error_interval"]
    title = f"what {found['trained']} short trainings say of {metric}, in {unit} for one standard deviation"
    rows = [(one["feature"], f"{one['effect']:+.3g}", f"{one['interval'][0]:+.3g} to {one['interval'][1]:+.3g}")
            for one in found["learned"]]  # fmt: skip
    console.print(table(("feature", "effect", "95 % interval"), rows, title=title))
    console.print(f"error for architectures that were held out: {found['error']:.3g} {unit} ({low:.3g} to {high:.3g}); "
                  f"tau-b {found['tau']:.2f} ({found['tau_interval'][0]:.2f} to {found['tau_interval'][1]:.2f}), by "
                  f"multiply-adds alone {found['macs_tau']:.2f}")  # fmt: skip
    if confirmed:
        names = list(confirmed[0])
        rows = [(row["arch"], *(f"{row[name]:.4g}" for name in names[1:])) for row in confirmed]
        console.print(table([name.replace("_", " ") for name in names], rows, title="trained to confirm them"))


def _rows(front: list[dict[str, Any]], names: list[str], others: list[str]) -> list[tuple[str, ...]]:
    return [
        (row["arch"], *(_cell(name, row["values"][name]) for name in names), *(f"{row[name]:,.4g}" for name in others))
        for row in front
    ]


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
            values = [(_head(name), _cell(name, value)) for name, value in row["values"].items()]
            files = [(key, row[key]) for key in ("path", "sha256") if key in row]
            console.print(pairs([("architecture", row["arch"]), *values, *files], title=row["name"]))
        next_step(console, _next_of(report[0], supernet))

    emit(as_json, report, render)


def _next_of(row: dict[str, Any], supernet: Path | None) -> str:
    """The command that comes after a choice: one that trains it, or deploys what has weights already."""
    if supernet is not None:
        return f"scarlet-zoo deploy {shlex.quote(row['path'])} --out DIR"
    return f"scarlet-zoo train {row['arch']} --supernet SUPERNET.safetensors --data FOLDER --out DIR"
