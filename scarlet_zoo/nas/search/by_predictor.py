"""Search with a predictor: train some architectures shortly, learn from them, search, and confirm the best."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.data.preprocessing import space_preprocessing
from scarlet_zoo.errors import ScarletWarning, TrainingError
from scarlet_zoo.nas.estimators.predictor import Predictor, fit_predictor
from scarlet_zoo.nas.estimators.zero_cost import find_score
from scarlet_zoo.nas.search.engines import get_engine
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.explore import explore
from scarlet_zoo.nas.search.front import Front, choose_from
from scarlet_zoo.nas.search.journal import Journal
from scarlet_zoo.nas.search.objectives import SCORED, Values
from scarlet_zoo.nas.search.scoring import Scoring
from scarlet_zoo.nas.search.settings import Candidate, Progress, SearchSettings, metrics_of
from scarlet_zoo.nas.search.short_training import Features, ShortTraining, spread_over_cost, train_all
from scarlet_zoo.nas.search.writing import JOURNAL_FILE, write_front
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.ownership import own_folder, with_locks

_LEARNED = 2.0  # times chance, which any training that has begun to learn reaches
TRAININGS_FILE, PREDICTOR_FILE = "trainings.jsonl", "predictor.json"


def _usual() -> TrainSettings:
    return TrainSettings(epochs=4, batch_size=64, lr=0.2, threads=1)


@dataclass(frozen=True, kw_only=True)
class PredictorSettings:
    """What a predictor is made of.

    Attributes:
        candidates: number of architectures that are trained shortly.
        confirm: number of architectures of the front that are trained in the same way at the end.
        training: how each of them is trained.
        images: the most training images.
        zero_cost: names of zero-cost scores that are features, see :mod:`scarlet_zoo.nas.estimators.zero_cost`.

    Raises:
        UnknownNameError: there is no such zero-cost score.
    """

    candidates: int = 40
    confirm: int = 3
    training: TrainSettings = field(default_factory=_usual)
    images: int = 10_000
    zero_cost: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the names of the scores before anything is trained."""
        for name in self.zero_cost:
            find_score(name)


@dataclass(frozen=True)
class Predicting:
    """A fitted predictor with its features: what an evaluation asks in the place of a supernet."""

    predictor: Predictor
    features: Features

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Return the predicted metric of an architecture."""
        return {self.predictor.metric: self.predictor(self.features(arch))}

    @property
    def conditions(self) -> dict[str, Any]:
        """What the predictions depend on, as JSON values."""
        return {"predictor": self.predictor.ridge.to_dict(), "features": self.features.conditions}


@with_locks
def search_by_predictor(
    supernet: Path | None,
    folder: Path,
    settings: SearchSettings,
    scoring: Scoring,
    how: PredictorSettings | None = None,
    space: str | SearchSpace | None = None,
    progress: Progress | None = None,
    stage: Callable[[str], None] | None = None,
) -> Front:
    """Search with a predictor of loss or accuracy that is fitted to short trainings.

    The architectures that are trained are spread over latency (with a latency table) or multiply-adds. A ridge
    regression on their traits predicts the others; with a supernet its loss is a trait too. NSGA-II searches with it,
    and the best are trained in the same way to confirm them. The folder gets ``trainings.jsonl``, ``predictor.json``
    and the files of a search. The same call continues a search that was stopped; no training is made twice.

    Args:
        supernet: file of a supernet whose one-shot loss is one more feature, or None.
        folder: folder of the search.
        settings: objectives, of which one is loss or accuracy; limits; and how to search.
        scoring: the data, and how latency and the one-shot loss are evaluated.
        how: the number and the kind of the short trainings; the defaults when left out.
        space: space to search; by default the supernet's.
        progress: called with (done, expected) within a part.
        stage: called with the name of each part when it begins.

    Raises:
        TrainingError: no data, not exactly one objective that is loss or accuracy, limits that no architecture keeps,
            or the folder holds another search.
    """
    how, say = how or PredictorSettings(), stage or _quiet
    metric = settings.predicted
    metrics = tuple(name for name in metrics_of(settings.goals, settings.bounds) if name not in SCORED)
    evaluation = scoring.evaluation(supernet, space, metrics)
    plan = _plan_of(evaluation)
    images = plan.open(space_preprocessing(evaluation.space))
    plan = replace(plan, images=min(how.images, len(images.part("train"))))
    short = _short_training(evaluation, scoring, how, plan, folder)
    evaluation = replace(evaluation, space=replace(evaluation.space, num_classes=len(images.classes)))
    archs = spread_over_cost(evaluation, settings.bounds, how.candidates, settings.seed)
    own_folder(folder)
    book = Journal(folder / TRAININGS_FILE, {"space": evaluation.space.to_json(), **short.conditions})

    def trained(wanted: Sequence[Arch]) -> list[Values]:
        return train_all(wanted, short, engine, book, progress or _quiet)

    try:
        engine = get_engine(settings.engine, short, settings.workers)
        say(f"train {len(archs)} architectures shortly")
        rows = trained(archs)
        _warn_of_chance(rows, len(images.classes))
        predictor = _fitted(rows, metric, settings.seed)
        write_text(folder / PREDICTOR_FILE, json_text(predictor.to_dict(), indent=1) + "\n")
        say("search with the predictor")
        evaluation = replace(evaluation, metrics=(metric, *metrics), predictor=Predicting(predictor, short.features))
        result = explore(evaluation, replace(settings, method="nsga2"), folder / JOURNAL_FILE, progress)
        best = choose_from(result.front, f"spread:{how.confirm}") if how.confirm else []
        say("train the best to confirm them")
        confirmed = _beside(best, trained([one.arch for one in best]), metric)
    finally:
        book.close()
    more = {"turned_grey": images.turned_grey, "predictor": predictor.to_dict(), "confirmed": confirmed}
    return write_front(folder, evaluation, settings, result, more)


def _plan_of(evaluation: Evaluation) -> DataPlan:
    """The data that architectures are trained on, those of the search."""
    if evaluation.data is None:
        raise TrainingError("search: the method predictor trains networks, wanted --data, or a supernet with its data")
    name, folder, held = evaluation.data
    return DataPlan(name=name, folder=folder, validation=held, validation_data=evaluation.validation_data)


def _short_training(
    evaluation: Evaluation, scoring: Scoring, how: PredictorSettings, data: DataPlan, folder: Path
) -> ShortTraining:
    supernet = evaluation.supernet
    one_shot = scoring.evaluation(supernet, evaluation.space, ("loss",)) if supernet is not None else None
    return ShortTraining(data, how.training, Features(one_shot, how.zero_cost, data), folder / "trainings")


def _warn_of_chance(rows: Sequence[Values], classes: int) -> None:
    """Say so if the trainings were too short for any network to learn, since a predictor then learns noise."""
    best, chance = max(row["accuracy"] for row in rows), 100 / classes
    if best < _LEARNED * chance:
        warnings.warn(
            f"search: the best of {len(rows)} short trainings is right on {best:.1f} % of the validation images, where "
            f"chance is {chance:.1f} %; wanted longer ones (--training-epochs, --training-pictures)",
            ScarletWarning,
            stacklevel=4,
        )


def _fitted(rows: Sequence[Values], metric: str, seed: int) -> Predictor:
    """The predictor of rows of short trainings, which hold results and costs beside the features."""
    results = {"loss", "accuracy", "macs", "params"}
    features = [{name: value for name, value in row.items() if name not in results} for row in rows]
    return fit_predictor(features, [row[metric] for row in rows], metric, seed)


def _beside(best: Sequence[Candidate], rows: Sequence[Values], metric: str) -> list[dict[str, Any]]:
    """What the short trainings of the best say beside what was predicted."""
    return [
        {
            "arch": str(one.arch),
            f"predicted_{metric}": one.values[metric],
            "loss": row["loss"],
            "accuracy": row["accuracy"],
        }
        for one, row in zip(best, rows, strict=True)
    ]


def _quiet(*_told: object) -> None:
    """Progress that nobody watches."""
