"""How long a tour takes on this machine, told from a moment of each of its parts, and what fits into the time given."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TypeVar

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.nas.search.scoring import Scoring
from scarlet_zoo.nas.strategies.scarlet import Scarlet
from scarlet_zoo.nas.tour_settings import TourSettings
from scarlet_zoo.nas.train_supernet import train_supernet
from scarlet_zoo.training.outcome import Watch
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.training.train_network import train
from scarlet_zoo.utils.files import json_text, make_folder, write_text
from scarlet_zoo.utils.reading import bounded_text, parse_json

PLAN_FILE = "plan.json"
_STEPS, _FIRST_STEPS, _DRAWS = 10, 3, 2  # the first steps of a process are slower
_FILE_SECONDS = 45.0  # to fold, export, verify and measure a small network, which its images have no part in
_SPARE = 0.85  # of the time given: a machine's speed varies
_FEWEST_BATCHES = 4

Trained = TypeVar("Trained")


@dataclass(frozen=True)
class TourTime:
    """The time that the parts of a tour take, in seconds.

    Attributes:
        images: number of training images that it is for.
        supernet, search, network, file: time of each part.
    """

    images: int
    supernet: float
    search: float
    network: float
    file: float = _FILE_SECONDS

    @property
    def minutes(self) -> float:
        """The whole time in minutes."""
        return (self.supernet + self.search + self.network + self.file) / 60

    def __str__(self) -> str:
        parts = {"the supernet": self.supernet, "the search": self.search, "the network": self.network,
                 "its file": self.file}  # fmt: skip
        told = ", ".join(f"{name} {seconds / 60:.0f}" for name, seconds in parts.items())
        return f"with {self.images:,} training images this takes about {self.minutes:.0f} minutes here: {told}"

    def within(self, minutes: float, fewest: int) -> TourTime:
        """The same tour with as many training images as fit into so many minutes, at least ``fewest`` of them."""
        fixed, rest = self.search + self.file, self.supernet + self.network
        fitting = int(self.images * max(minutes * 60 * _SPARE - fixed, 0.0) / rest)
        images = min(max(fitting, fewest), self.images)
        share = images / self.images
        return replace(self, images=images, supernet=self.supernet * share, network=self.network * share)


def planned(out: Path, settings: TourSettings, data: DataPlan, space: str | None, minutes: float) -> TourTime:
    """Measure a moment of each part and return what fits into the time; ``out`` keeps it for when the tour goes on.

    Args:
        out: folder of the tour.
        settings: settings of the tour.
        data: the images.
        space: the search space; the one that suits the data when None.
        minutes: the most minutes that the tour is to take.

    Raises:
        ScarletError: as for the parts of the tour.
    """
    if (out / PLAN_FILE).is_file():
        return TourTime(**parse_json(bounded_text(out / PLAN_FILE)))
    fewest = _FEWEST_BATCHES * max(settings.supernet.batch_size, settings.network.batch_size)
    found = measured(settings, data, space).within(minutes, fewest)
    make_folder(out)
    write_text(out / PLAN_FILE, json_text(asdict(found), indent=1) + "\n")
    return found


def measured(settings: TourSettings, data: DataPlan, space: str | None) -> TourTime:
    """Run a moment of each part of a tour, and return the time that the whole parts would take."""
    with tempfile.TemporaryDirectory(prefix="scarlet-zoo-") as folder:
        trained, supernet = _timed(
            lambda how, watch: train_supernet(space, data=data, out=f"{folder}/supernet", settings=how,
                                              strategy=Scarlet.name, watch=watch),
            settings.supernet)  # fmt: skip
        images = int(trained.report["pictures"])
        scoring = Scoring(data=data.name, data_dir=data.folder, validation=settings.validation)
        evaluate = scoring.evaluation(trained.path, None, ("loss", "accuracy", "latency"))
        archs = [Arch.of(trained.space, [tokens[place % len(tokens)] for tokens in trained.space.decisions])
                 for place in range(_DRAWS + 1)]  # fmt: skip
        evaluate(archs[0])  # opens the images
        start = time.monotonic()
        for arch in archs[1:]:
            evaluate(arch)
        search = (time.monotonic() - start) / _DRAWS * settings.evaluations
        _, network = _timed(
            lambda how, watch: train(str(archs[1]), data=data, out=f"{folder}/network", settings=how,
                                     supernet=trained.path, watch=watch),
            settings.network)  # fmt: skip
    each = [_steps(images, how) * step for how, step in ((settings.supernet, supernet), (settings.network, network))]
    return TourTime(images, each[0], search, each[1])


def _steps(images: int, how: TrainSettings) -> int:
    return how.epochs * max(images // how.batch_size, 1)


def _timed(run: Callable[[TrainSettings, Watch], Trained], how: TrainSettings) -> tuple[Trained, float]:
    """Run some steps of a training; returns its result and the median time of a step in seconds."""
    times: list[float] = []
    done = run(replace(how, max_steps=_STEPS), lambda _: times.append(time.monotonic()))
    # The last step validates.
    return done, median(after - before for before, after in pairwise(times[_FIRST_STEPS:-1]))
