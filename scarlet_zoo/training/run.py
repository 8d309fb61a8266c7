"""What the trainings of networks and of supernets share: the choice of data, the set-up, and the report on disk."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.class_folders import Logits
from scarlet_zoo.data.datasets import ImageData, trained_on
from scarlet_zoo.data.own_validation import open_with_validation
from scarlet_zoo.data.pixel_cache import CACHE_GB
from scarlet_zoo.data.pixel_kinds import turned_grey_line
from scarlet_zoo.data.preprocessing import RULE, Preprocessing
from scarlet_zoo.errors import DatasetError, ScarletWarning, TrainingError
from scarlet_zoo.training.former import settings_then, with_layers_then
from scarlet_zoo.training.guess import Guess
from scarlet_zoo.training.outcome import Training
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.utils.files import json_text
from scarlet_zoo.utils.reading import bounded_text, parse_json
from scarlet_zoo.utils.schema_versions import SCHEMA_KEY, SCHEMAS, refuse_newer

NETWORK_FILE, RUN_FILE = "model.safetensors", "run.json"


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """Which images a training uses.

    Attributes:
        name: name of a data set, or a folder that holds a folder of images for each class.
        folder: where the files of a named data set are; its usual place when None.
        validation: number of training images set aside for validation; the data set's default when None.
        validation_data: folder of your own validation images, see :mod:`scarlet_zoo.data.own_validation`; then no
            training images are set aside.
        images: number of training images that are used, see :func:`scarlet_zoo.data.datasets.trained_on`; all when
            None.
        skip_broken: whether image files that cannot be read are left out; otherwise they are refused.
        cache_gb: largest size in GB of the files that hold decoded images, see
            :mod:`scarlet_zoo.data.pixel_cache`; 0 for none.
        by_class: whether validation images are taken from every class in proportion, see
            :func:`scarlet_zoo.data.datasets.open_data`.
    """

    name: str
    folder: Path | None = None
    validation: int | None = None
    validation_data: str | Path | None = None
    images: int | None = None
    skip_broken: bool = False
    cache_gb: float = CACHE_GB
    by_class: bool = True

    @classmethod
    def of(cls, data: DataPlan | str | Path) -> DataPlan:
        """Return a plan unchanged, or the plan of a data set's name or folder."""
        return data if isinstance(data, DataPlan) else cls(name=str(data))

    def open(self, preprocessing: Preprocessing, logits: Logits | None = None) -> ImageData:
        """Open the data set for a network with this preprocessing, and warn of what may spoil the training.

        Args:
            preprocessing: the network's preprocessing.
            logits: logits that the classes are matched to by their names; None for the data's own order.

        Raises:
            DatasetError: no such data, images that cannot be read, fewer images than asked for, or one class only.
        """
        data = open_with_validation(
            self.name, preprocessing, self.folder, self.validation, self.validation_data, self.cache_gb,
            skip_broken=self.skip_broken, logits=logits, by_class=self.by_class,
        )  # fmt: skip
        if len(data.classes) < 2:
            raise DatasetError(f"data {self.name}: got images of one class only ({' '.join(data.classes)}), wanted two "
                               "or more, each in a folder of its own")  # fmt: skip
        for line in data.remarks:
            warnings.warn(line, ScarletWarning, stacklevel=3)
        if data.turned_grey:
            line = turned_grey_line(f"data {self.name}: the images", "the network")
            warnings.warn(line, ScarletWarning, stacklevel=3)
        return data if self.images is None else trained_on(data, self.images)


def as_begun(settings: TrainSettings, plan: DataPlan, out: Path) -> tuple[TrainSettings, DataPlan]:
    """Return settings and data for the run in a folder; as they are, unless an earlier version has begun it.

    Earlier versions took crops from the original images, and validation images without regard to classes.

    Args:
        settings: the settings that are asked for.
        plan: the data that is asked for.
        out: folder of the run.
    """
    settings = with_layers_then(settings, out)
    then = settings_then(settings, plan.name, out)
    if then is None:
        return settings, plan
    cropped = isinstance(then.augment, Augment) and then.augment.crop < 1
    plan = replace(plan, by_class=False)
    return then, replace(plan, cache_gb=0.0) if cropped else plan


def set_up(settings: TrainSettings) -> None:
    """Set torch's number of threads and its seed for a training."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)


def is_main_process() -> bool:
    """Return whether this process is the one that writes the files of a training."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def run_report(data: ImageData, settings: TrainSettings, done: Training) -> dict[str, Any]:
    """Return the fields of ``run.json`` that every training has."""
    return {
        SCHEMA_KEY: SCHEMAS["run report"],
        "data": data.name,
        "classes": len(data.classes),
        "pictures": len(data.part("train")),
        "validation_pictures": len(data.part("validation")),
        "split": None if data.division is None else asdict(data.division),
        "turned_grey": data.turned_grey,
        "preprocessing_rule": RULE,
        "steps": done.steps,
        "seconds": round(done.seconds, 1),
        "core_seconds": round(done.core_seconds, 1),
        "hardware": done.hardware,
        "loss": done.loss,
        "guess": Guess.of(data, settings).to_dict(),
        **_outcome(done),
        "settings": settings.to_dict(),
    }


def read_run(folder: Path) -> dict[str, Any]:
    """Return the ``run.json`` of a finished run.

    Raises:
        TrainingError: the file cannot be read, is no report, or a newer version of this package wrote it.
    """
    path = folder / RUN_FILE
    try:
        report = parse_json(bounded_text(path))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: cannot be read: {error}, wanted the report of a training") from error
    if not isinstance(report, dict):
        raise TrainingError(f"{path}: got no table of fields, wanted the report of a training")
    refuse_newer("run report", report, path, TrainingError)
    return report


def _outcome(done: Training) -> dict[str, Any]:
    """The validation accuracy of the result, for a network; a supernet has none."""
    if done.accuracy is None:
        return {}
    return {"epoch": done.epoch, "stopped_early": done.stopped_early, "accuracy": done.accuracy.to_dict()}


def run_metadata(plan: DataPlan, data: ImageData, settings: TrainSettings) -> dict[str, str]:
    """Return the metadata of a weights file that describe its training."""
    return {
        "data": plan.name,
        "validation": str(len(data.part("validation"))),
        **({"validation_data": str(plan.validation_data)} if plan.validation_data is not None else {}),
        "labels": json.dumps(list(data.classes)),
        "settings": json_text(settings.to_dict()),
        **({} if data.division is None else {"split": data.division.to_json()}),
    }


def wait_for_the_files() -> None:
    """Wait until the main process has written its files, so that every process can read them."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
