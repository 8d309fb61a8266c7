"""The verb tour: every stage, from images to a measured file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, progress_bar, say
from scarlet_zoo.cli.options import Data, DataDir, Held, Json, Out, SkipBroken, SpaceOrNone, TorchThreads


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("tour")(run_tour)


def run_tour(
    out: Out = Path("out/tour"),
    as_json: Json = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Run every stage for a moment only, to see that it works.")
    ] = False,
    space: SpaceOrNone = None,
    data: Data = "fashion-mnist",
    data_dir: DataDir = None,
    validation: Held = None,
    skip_broken: SkipBroken = False,
    threads: TorchThreads = 0,
    minutes: Annotated[
        float,
        typer.Option(
            min=1, help="Most minutes that the tour takes; where all images would take longer, fewer are trained on."
        ),
    ] = 45.0,
) -> None:
    """Run every stage, from images to a measured file.

    Trains a supernet, searches it, and trains, folds, exports, verifies, measures and validates a network that the
    search found. First a moment of each part is run, to say how long the whole will take. Running the same command
    again continues the run.
    """
    from scarlet_zoo.nas.space_of_data import number_of_images
    from scarlet_zoo.nas.tour import tour, tour_rows
    from scarlet_zoo.nas.tour_settings import TourSettings
    from scarlet_zoo.training.run import DataPlan

    images = DataPlan(name=data, folder=data_dir, validation=validation, skip_broken=skip_broken)
    settings = (TourSettings.smoke(threads, data) if smoke
                else TourSettings.usual(threads, data).for_images(number_of_images(images), out))  # fmt: skip
    with progress_bar("tour") as progress:
        report = tour(out, settings, images, space, say, progress, None if smoke else minutes)

    def render(console: Console) -> None:
        console.print(pairs(tour_rows(report), title="from images to a file"))
        console.print(f"report: {out / 'tour.md'}, {out / 'tour.json'}")

    emit(as_json, report, render)
