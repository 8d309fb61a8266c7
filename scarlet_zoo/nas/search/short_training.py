"""Short trainings of architectures: what a predictor is fitted to."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.zoo import safe_name
from scarlet_zoo.data.batches import Batch
from scarlet_zoo.data.folders import evenly
from scarlet_zoo.data.preprocessing import space_preprocessing
from scarlet_zoo.inference.accuracy import judge
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.nas.estimators.traits import traits
from scarlet_zoo.nas.estimators.zero_cost import zero_cost
from scarlet_zoo.nas.search.encoding import Encoded
from scarlet_zoo.nas.search.engines import Engine
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.journal import Journal
from scarlet_zoo.nas.search.objectives import Limit, Values, closed_form
from scarlet_zoo.nas.search.reach import Reach
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.training.train_network import train

ONE_SHOT = "one-shot loss"
_BATCH, _POOL, _TRIES = 64, 20, 50


@dataclass(frozen=True)
class Features:
    """The features of an architecture from which a predictor predicts.

    Attributes:
        one_shot: the evaluation of a supernet's loss, whose value is a feature; None without a supernet.
        scores: names of zero-cost scores that are features.
        data: the images that zero-cost scores are computed on.
    """

    one_shot: Evaluation | None
    scores: tuple[str, ...]
    data: DataPlan
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": {}}

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Return the features by name."""
        found = traits(arch)
        if self.one_shot is not None:
            found[ONE_SHOT] = self.one_shot(arch)["loss"]
        return {**found, **zero_cost(arch, self.scores, *self._batch(arch))} if self.scores else found

    def _batch(self, arch: Arch) -> tuple[Tensor, Tensor]:
        """The first images of training, the same for all architectures."""
        if "batch" not in self._loaded:
            part = self.data.open(space_preprocessing(arch.space)).part("train")
            self._loaded["batch"] = part.__getitems__(Batch(evenly(len(part), _BATCH), 0))
        images, labels = self._loaded["batch"]
        return images, labels

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """What the features depend on, as JSON values."""
        supernet = self.one_shot.conditions if self.one_shot is not None else None
        return {"one_shot": supernet, "zero_cost": list(self.scores)}


@dataclass(frozen=True)
class ShortTraining:
    """Trains an architecture shortly; calling it returns ``loss`` and ``accuracy``, and the features.

    Attributes:
        data: the images to train and validate on.
        settings: how long and by which method.
        features: the features that are written beside the result.
        work: folder of the trainings; one that was killed continues from its checkpoint.
    """

    data: DataPlan
    settings: TrainSettings
    features: Features
    work: Path

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Train the architecture from scratch and return its loss and accuracy on the validation images."""
        trained = train(str(arch), data=self.data, out=self.folder(arch), settings=self.settings, space=arch.space)
        network = load_network(str(trained.path))
        images = self.data.open(space_preprocessing(arch.space))
        found = judge(network.model, images.part("validation"))
        return {"loss": found.loss, "accuracy": found.accuracy.percent, **closed_form(arch), **self.features(arch)}

    def folder(self, arch: Arch) -> Path:
        """The folder of an architecture's training."""
        return self.work / safe_name(str(arch))

    @property
    def conditions(self) -> dict[str, Any]:
        """Everything that the results depend on, as JSON values."""
        how = {key: value for key, value in self.settings.to_dict().items() if key not in {"threads", "workers"}}
        data = {"name": self.data.name, "validation": self.data.validation, "images": self.data.images}
        data |= {"validation_data": str(self.data.validation_data)} if self.data.validation_data is not None else {}
        return {"training": how, "data": data, "features": self.features.conditions}


def train_all(
    archs: Sequence[Arch], short: ShortTraining, engine: Engine, book: Journal, moved: Callable[[int, int], None]
) -> list[Values]:
    """Train the architectures that the journal does not have yet; return the values of all in their order.

    A training's folder is removed when its row is written, or by the next call if the process was killed before.
    """
    new = [arch for arch in dict.fromkeys(archs) if book.get(arch) is None]
    for arch in set(archs) - set(new):
        shutil.rmtree(short.folder(arch), ignore_errors=True)
    moved(len(archs) - len(new), len(archs))
    for done, (position, values, seconds) in enumerate(engine.run(new), start=1):
        book.add(new[position], values, seconds)
        shutil.rmtree(short.folder(new[position]), ignore_errors=True)
        moved(len(archs) - len(new) + done, len(archs))
    return [found for arch in archs if (found := book.get(arch)) is not None]


def spread_over_cost(evaluation: Evaluation, limits: Sequence[Limit], count: int, seed: int) -> list[Arch]:
    """Draw different architectures that are spread evenly over the ranks of latency, or of multiply-adds.

    Of twenty times as many random architectures that satisfy the limits that add up over decisions, those at equal
    distances in the order of the latency that the table predicts; without a table, of their multiply-adds.

    Raises:
        TrainingError: no architecture satisfies the limits.
    """
    reach = Reach(evaluation.space, limits, evaluation.table)
    reach.check()
    random = np.random.default_rng(seed)
    rows: dict[tuple[int, ...], Encoded] = {}
    for _ in range(_TRIES * _POOL * count):
        encoded = reach.encoding.draw(random)
        if reach.keeps(encoded):
            rows[tuple(encoded.tolist())] = encoded
        if len(rows) == _POOL * count:
            break
    if len(rows) < count:
        reach.complete(rows, count, random)
    archs = [reach.encoding.arch(row) for row in rows.values()]
    table = evaluation.table
    costs = [closed_form(arch)["macs"] for arch in archs] if table is None else table.predict(archs)[:, 0].tolist()
    order = np.argsort(np.asarray(costs), kind="stable")
    places = [int((number + 0.5) * len(archs) / count) for number in range(min(count, len(archs)))]
    return [archs[int(order[place])] for place in places]
