"""What trainings of networks and of supernets have in common: their data, their set-up, and what they leave on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scarlet_zoo.data.datasets import ImageData, open_data, trained_on
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.training.loop import Training
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.utils.files import json_text

RUN_FILE = "run.json"


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """Which pictures: arguments of :func:`scarlet_zoo.data.datasets.open_data`.

    Attributes:
        pictures: of the training part that are trained on, see :func:`scarlet_zoo.data.datasets.trained_on`; all when
            None.
    """

    name: str
    folder: Path | None = None
    validation: int | None = None
    pictures: int | None = None

    @classmethod
    def of(cls, data: DataPlan | str | Path) -> DataPlan:
        """A plan as it is; of a name or a folder, the plan with nothing but that."""
        return data if isinstance(data, DataPlan) else cls(name=str(data))

    def open(self, preprocessing: Preprocessing) -> ImageData:
        """The data for a network that is fed so."""
        data = open_data(self.name, preprocessing, self.folder, self.validation)
        return data if self.pictures is None else trained_on(data, self.pictures)


def set_up(settings: TrainSettings) -> None:
    """Threads and the seed of a training."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)


def is_main_process() -> bool:
    """Whether this process is the one of a training that writes files."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def run_report(data: ImageData, settings: TrainSettings, done: Training) -> dict[str, Any]:
    """What ``run.json`` says of every training."""
    return {
        "data": data.name,
        "classes": len(data.classes),
        "pictures": len(data.part("train")),
        "validation_pictures": len(data.part("validation")),
        "steps": done.steps,
        "seconds": round(done.seconds, 1),
        "core_seconds": round(done.core_seconds, 1),
        "settings": settings.to_dict(),
    }


def run_metadata(plan: DataPlan, data: ImageData, settings: TrainSettings) -> dict[str, str]:
    """What a weights file says of the training that it comes from."""
    return {
        "data": plan.name,
        "validation": str(len(data.part("validation"))),
        "labels": json.dumps(list(data.classes)),
        "settings": json_text(settings.to_dict()),
    }


def wait_for_the_files() -> None:
    """Whoever comes next reads what the main process has written."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
