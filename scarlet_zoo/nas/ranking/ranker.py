"""Make a ranker: train a supernet and score the architectures of a ground truth with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from scarlet_zoo.errors import TrainingError
from scarlet_zoo.nas.ranking.ground_truth import GroundTruth
from scarlet_zoo.nas.ranking.schedule import Schedule
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.journal import Journal
from scarlet_zoo.nas.strategies.base import read_options
from scarlet_zoo.nas.strategies.registry import find_strategy
from scarlet_zoo.nas.train_supernet import SUPERNET_FILE, TrainedSupernet, train_supernet
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.training.state import read_steps
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.reading import parse_json

RANKER_FILE = "ranker.json"
# The ground truth has chains only, so that branches would be trained for nothing.
_OPTIONS: Mapping[str, Mapping[str, str]] = {"st-nas": {"branches": "false"}}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a supernet is trained and scored, without its seed.

    Attributes:
        strategy: name of the strategy, see :mod:`scarlet_zoo.nas.strategies.registry`.
        skip: kind of the skip connections; the strategy's own when None.
        options: options of the strategy that differ from its defaults.
        budget: number of images that are run through paths in training, with or without gradient; an image that runs
            through several paths counts once for each, and images that only a teacher sees do not count. A strategy
            that runs ten paths in a step gets a tenth of the steps, but one epoch at least.
        batch_size, lr, clip_norm: settings of the training; gradients are clipped in all recipes, so that no training
            diverges.
        calibration, validation: number of images for batch norm statistics and for accuracy.
    """

    strategy: str
    skip: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    budget: int
    batch_size: int = 64
    lr: float = 0.1
    clip_norm: float = 5.0
    calibration: int = 1000
    validation: int = 2000

    @property
    def name(self) -> str:
        """The strategy, with everything that is not its default."""
        added = [f"skip={self.skip}"] if self.skip else []
        return " ".join([self.strategy, *added, *(f"{key}={value}" for key, value in sorted(self.options.items()))])

    def schedule(self, epochs: int, seed: int) -> Schedule:
        """Return the schedule of a training of this many epochs."""
        return Schedule(epochs=epochs, batch_size=self.batch_size, lr=self.lr, clip_norm=self.clip_norm, seed=seed)


@dataclass(frozen=True, kw_only=True)
class RankerJob:
    """A ranker to make, with everything that a process needs for it."""

    truth: GroundTruth
    recipe: Recipe
    seed: int
    data_dir: Path | None
    out: Path


class Ranker(BaseModel):
    """The scores that a trained supernet gives to the architectures, and what they cost.

    Attributes:
        recipe, strategy, seed: recipe, strategy and seed of the supernet.
        scores: what the strategy ranks by, by identity string.
        accuracies: one-shot accuracy in percent, by identity string.
        epochs, steps: length of the training.
        images: number of images that were run through paths in training, counted as in :class:`Recipe`.
        train_core_seconds, score_core_seconds: processor time of training and of scoring, in seconds.
        conditions: everything that the numbers depend on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    strategy: str
    seed: int
    scores: dict[str, float]
    accuracies: dict[str, float]
    epochs: int
    steps: int
    images: int
    train_core_seconds: float
    score_core_seconds: float
    conditions: dict[str, Any]


def make_ranker(job: RankerJob) -> Ranker:
    """Train and score a supernet, or read the ranker if it was made before.

    A training or scoring that was killed continues where it stopped.

    Raises:
        TrainingError: the folder has a ranker of other conditions.
    """
    file, conditions = job.out / RANKER_FILE, _conditions(job)
    earlier = read_ranker(file) if file.is_file() else None
    if earlier is not None and earlier.conditions == conditions:
        return earlier
    if earlier is not None:
        raise TrainingError(f"{file}: got a ranker of other conditions, wanted the same ones, or another --out")
    report = _train(job)
    begun = time.process_time()
    scored = _score(job)
    spent = time.process_time() - begun
    lines = read_steps(job.out / "steps.jsonl")
    ranker = Ranker(
        recipe=job.recipe.name, strategy=job.recipe.strategy, seed=job.seed,
        scores={arch: values["score"] for arch, values in scored.items()},
        accuracies={arch: values["accuracy"] for arch, values in scored.items()},
        epochs=report["settings"]["epochs"], steps=report["steps"],
        images=round(report["batch_share"] * sum(line["images"] * len(line["archs"]) for line in lines)),
        train_core_seconds=report["core_seconds"], score_core_seconds=round(spent, 1), conditions=conditions,
    )  # fmt: skip
    write_text(file, ranker.model_dump_json(indent=1) + "\n")
    return ranker


def read_ranker(path: Path) -> Ranker:
    """Read a ranker from its file.

    Raises:
        TrainingError: the file is not a ranker.
    """
    try:
        return TypeAdapter(Ranker).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise TrainingError(f"{path}: not a ranker: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _conditions(job: RankerJob) -> dict[str, Any]:
    plan, recipe = job.truth.plan, job.recipe
    conditions = {"space": plan.search_space.to_json(), "data": plan.data, "pictures": plan.pictures, "seed": job.seed,
            "recipe": asdict(recipe), "archs": len(job.truth.archs)}  # fmt: skip
    return dict(parse_json(json_text(conditions)))


def _train(job: RankerJob) -> dict[str, Any]:
    plan, recipe = job.truth.plan, job.recipe
    options = {**_OPTIONS.get(recipe.strategy, {}), **recipe.options}
    data = DataPlan(name=plan.data, folder=job.data_dir, images=plan.pictures)
    of_supernet = partial(train_supernet, plan.search_space, data=data, strategy=recipe.strategy, skip=recipe.skip,
                          options=options)  # fmt: skip
    epochs = max(1, round(recipe.budget / (plan.pictures * _batches_of_a_step(of_supernet, recipe, job.out / "probe"))))
    return of_supernet(settings=recipe.schedule(epochs, job.seed).settings(), out=job.out).to_dict()


def _batches_of_a_step(of_supernet: Callable[..., TrainedSupernet], recipe: Recipe, out: Path) -> float:
    """How many batches the strategy runs through paths in a step, found by running one step."""
    report = of_supernet(settings=recipe.schedule(1, 0).settings(max_steps=1), out=out).report
    (step,) = read_steps(out / "steps.jsonl")
    return float(report["batch_share"]) * max(len(step["archs"]), 1)


def _score(job: RankerJob) -> dict[str, dict[str, float]]:
    plan, recipe, file = job.truth.plan, job.recipe, job.out / SUPERNET_FILE
    evaluation = Evaluation(plan.search_space, ("score", "accuracy"), file, (plan.data, job.data_dir, None),
                            recipe.calibration, recipe.validation)  # fmt: skip
    journal = Journal(job.out / "evaluations.jsonl", evaluation.conditions)
    scores = {}
    for arch in job.truth.archs:
        values = journal.get(arch)
        if values is None:
            begun = time.monotonic()
            values = evaluation(arch)
            journal.add(arch, values, time.monotonic() - begun)
        scores[str(arch)] = dict(values)
    journal.close()
    return scores


def parse_recipe(text: str, **how: Any) -> Recipe:
    """Parse a recipe: ``scarlet``, ``scarlet:skip=plain``, ``sandwich:KEY=VALUE:KEY=VALUE``.

    Args:
        text: strategy, then the options that differ from its defaults; ``skip`` is one of the keys.
        how: the other fields of :class:`Recipe`.

    Raises:
        UnknownNameError: there is no such strategy.
        TrainingError: an option has no value, or the strategy has no such option.
    """
    name, *given = text.split(":")
    pairs = [option.partition("=") for option in given]
    wrong = next((option for option, (_, mark, _) in zip(given, pairs, strict=True) if not mark), None)
    if wrong is not None:
        raise TrainingError(f"strategy {text!r}: got {wrong!r}, wanted KEY=VALUE")
    options = {key: value for key, _, value in pairs}
    skip = options.pop("skip", None)
    read_options(find_strategy(name).Options, options, name)
    return Recipe(strategy=name, skip=skip, options=options, **how)
