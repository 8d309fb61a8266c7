"""The verb rank: which recipe ranks architectures as stand-alone training does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, progress_bar, table
from scarlet_zoo.cli.former_flags import taking
from scarlet_zoo.cli.options import BatchNormImages, BatchSize, DataDir, Json, Out, Rate, ValidationImages, Workers


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    former = {"--strategy": "--recipe", "--calibration-images": "--bn-images"}
    app.command("rank", cls=taking(former))(rank)


def rank(
    out: Out,
    truth: Annotated[Path, typer.Option(help="Folder of a ground truth, with plan.toml and ground_truth.csv.")],
    as_json: Json = False,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="Strategy to compare, with its options, such as skip=...; every strategy when left out. It may be "
            "given several times.",
            metavar="NAME[:KEY=VALUE...]",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of supernets for each recipe, with seeds from 0.")] = 3,
    budget: Annotated[int, typer.Option(min=1, help="Number of images run through paths in each training.")] = 300_000,
    architectures: Annotated[
        int | None,
        typer.Option(
            min=2, help="Number of architectures of the ground truth to use, from the first; all when left out."
        ),
    ] = None,
    bn_images: BatchNormImages = 1000,
    validation_images: ValidationImages = 2000,
    batch_size: BatchSize = 64,
    lr: Rate = 0.1,
    data_dir: DataDir = None,
    workers: Workers = 1,
) -> None:
    """Compare how well strategies rank architectures.

    Each ranking is compared with a ground truth of stand-alone trainings. Writes rank.json, rank.png and rank.svg.
    Running the same command again continues the run. Each of the --workers computes one ranking, on one thread.
    """
    from scarlet_zoo.nas.ranking.rank import RankPlan, run_rank
    from scarlet_zoo.nas.ranking.ranker import Recipe, parse_recipe
    from scarlet_zoo.nas.strategies.registry import STRATEGIES

    how: dict[str, Any] = {"budget": budget, "batch_size": batch_size, "lr": lr, "calibration": bn_images,
                           "validation": validation_images}  # fmt: skip
    recipes: tuple[Recipe, ...] = tuple(parse_recipe(text, **how) for text in recipe or STRATEGIES)
    plan = RankPlan(truth=truth, recipes=recipes, seeds=tuple(range(seeds)), data_dir=data_dir,
                    architectures=architectures, workers=workers)  # fmt: skip
    with progress_bar("rank") as progress:
        report = run_rank(plan, out, progress)
    emit(as_json, report, lambda console: _render(console, report, out))


def _render(console: Console, report: dict[str, Any], out: Path) -> None:
    rows = []
    for row in report["rows"]:
        tau = row["tau"]
        cost = ["", "", ""]
        if row["strategy"] is not None:
            cost = [f"{row['images'] / 1e3:,.0f}", f"{row['train_core_seconds']:,.0f}", f"{row['spread']:.2f}"]
        rows.append((row["recipe"], f"{tau['value']:.3f}", f"{tau['low']:.3f} to {tau['high']:.3f}",
                     f"{row['beyond_macs']['value']:.3f}", f"{row['regret']['value']:.2f}", *cost))  # fmt: skip
    header = ("ranker", "tau-b", "95 % interval", "beyond MACs", "regret", "k images", "core s", "one-shot spread")
    title = (f"{report['architectures']} architectures, {report['truth_seeds']} seeds each; "
             "regret and spread in percentage points")  # fmt: skip
    console.print(table(header, rows, title=title))
    if report["ceiling"]:
        best = report["ceiling"]["one_another"]
        console.print(f"ceiling: one stand-alone training ranks another with tau-b {best['value']:.3f}")
    console.print(f"{out / 'rank.json'}, {out / 'rank.png'}")
