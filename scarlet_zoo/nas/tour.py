"""The whole way from images to a file: train a supernet, search it, train a network, deploy and measure it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.deployment.deploy import deploy
from scarlet_zoo.inference.accuracy import validate_part
from scarlet_zoo.inference.load import load
from scarlet_zoo.nas.search.derive import derive
from scarlet_zoo.nas.search.front import Front
from scarlet_zoo.nas.search.scoring import Scoring
from scarlet_zoo.nas.search.search import search
from scarlet_zoo.nas.search.settings import SearchSettings
from scarlet_zoo.nas.strategies.scarlet import Scarlet
from scarlet_zoo.nas.tour_settings import TourSettings
from scarlet_zoo.nas.tour_time import TourTime, planned
from scarlet_zoo.nas.train_supernet import train_supernet
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.training.train_network import train
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.markdown import markdown_table, unstable_mark
from scarlet_zoo.utils.ownership import own_folder, with_locks

Move = Callable[[int, int], None]


@with_locks
def tour(
    out: Path,
    settings: TourSettings,
    data: DataPlan,
    space: str | None = None,
    stage: Callable[[str], None] | None = None,
    progress: Move | None = None,
    minutes: float | None = None,
) -> dict[str, Any]:
    """Train a supernet, search it for loss against measured latency, train, deploy and validate a network.

    ``out`` gets a folder for each part, and ``tour.json`` and ``tour.md``; the same call continues a stopped tour.
    The supernet is trained by SCARLET's strategy with a stabilizer on every skip, so that the fold has stabilizers
    to remove. The network in the middle of the front is chosen and starts from its supernet weights.

    Args:
        out: folder of the tour.
        settings: of the trainings and the search.
        data: which images to use.
        space: a search space's name or its TOML file; the built-in space that suits the data when left out.
        stage: called with the name of each part when it begins.
        progress: called with (done, expected) within a part.
        minutes: the most minutes that the tour is to take; where all images would take longer, fewer are trained on.
            With None all are, and nothing is said about the time.

    Returns:
        The content of ``tour.json``.

    Raises:
        ScarletError: any part failed, such as no such data or another run in ``out``.
    """
    say = stage or (lambda _: None)
    expected: TourTime | None = None
    if minutes is not None:
        say("measure a moment of each part")
        expected = planned(out, settings, data, space, minutes)
        data = replace(data, images=expected.images)
        say(str(expected))
    own_folder(out)
    say("train the supernet")
    trained = train_supernet(space, data=data, out=out / "supernet", settings=settings.supernet,
                             strategy=Scarlet.name, progress=progress)  # fmt: skip
    say("search the supernet")
    front = _search(out, trained.path, settings, data, progress)
    say("train the network in the middle of the front")
    middle = str(len(front.candidates) // 2)
    (derived,) = derive(front, out=out / "derived", choose=middle, supernet=trained.path, data=data.name,
                        data_dir=data.folder)  # fmt: skip
    network = train(str(derived.arch), data=data, out=out / "network", settings=settings.network,
                    supernet=trained.path, progress=progress)  # fmt: skip
    say("fold, export, verify, measure and validate the network")
    deployed = deploy(str(derived.arch), out / "deployed", weights=str(network.path))
    report = {
        "space": space or trained.space.name,
        "data": data.name,
        "expected_minutes": round(expected.minutes, 1) if expected is not None else None,
        "supernet": trained.to_dict(),
        "search": {key: front.report[key] for key in ("objectives", "evaluations", "front")},
        "chosen": {"arch": str(derived.arch), "values": dict(derived.values), "one_shot": str(derived.path)},
        "network": network.to_dict(),
        "deployment": deployed.to_dict(),
        "validation_top1": _validate(deployed.artifact.path, data),
    }
    write_text(out / "tour.json", json_text(report, indent=1) + "\n")
    write_text(out / "tour.md", _markdown(report))
    return report


def _search(out: Path, supernet: Path, settings: TourSettings, data: DataPlan, progress: Move | None) -> Front:
    how = SearchSettings(objectives=("loss", "latency"), evaluations=settings.evaluations,
                         population=settings.population)  # fmt: skip
    scoring = Scoring(data=data.name, data_dir=data.folder, validation=settings.validation)
    return search(supernet, out=out / "search", settings=how, scoring=scoring, progress=progress)


def _validate(path: Path, data: DataPlan) -> float:
    classifier = load(str(path), "auto")
    images = open_data(data.name, classifier.preprocessing, data.folder, data.validation)
    return validate_part(classifier, images, "validation", batch=500).top1


def tour_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the summary of a tour's report as rows of (what, value)."""
    supernet, network, deployment = report["supernet"], report["network"], report["deployment"]
    timing, values = deployment["timing"], report["chosen"]["values"]
    return [
        (
            "data",
            f"{report['data']}: {supernet['pictures']:,} training images, "
            f"{supernet['validation_pictures']:,} validation images",
        ),
        ("supernet", f"{supernet['params']:,} parameters, {supernet['steps']:,} steps, {supernet['seconds']:.0f} s"),
        (
            "search",
            f"{report['search']['evaluations']} architectures evaluated, {len(report['search']['front'])} on the front",
        ),
        ("chosen", report["chosen"]["arch"]),
        ("one-shot accuracy", f"{values['accuracy']:.2f} %"),
        ("network", f"{deployment['params']:,} parameters, {deployment['macs']:,} multiply-adds"),
        (
            "trained",
            f"{network['steps']:,} steps, {network['seconds']:.0f} s, {network['top1'][-1]:.2f} % top-1",
        ),
        ("fold", deployment["fold"]["summary"]),
        ("file", f"{deployment['artifact']['path']}, verified: {'yes' if deployment['parity']['passed'] else 'NO'}"),
        ("top-1 of the file", f"{report['validation_top1']:.2f} % of the validation images"),
        (
            "latency p50",
            f"{timing['p50_ms']:.3f} ms{unstable_mark(timing.get('stable'))}, "
            f"{timing['conditions']['device']}, 1 thread",
        ),
    ]


def _markdown(report: dict[str, Any]) -> str:
    table = markdown_table(("what", "value"), tour_rows(report))
    return f"# From images to a file\n\n{table}\n\n![the front](search/front.png)\n"
