"""From a search space and a strategy to a trained supernet on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.data.preprocessing import space_preprocessing
from scarlet_zoo.models.supernet import save_supernet
from scarlet_zoo.nas.strategies.registry import create_strategy
from scarlet_zoo.training.loop import Progress, train
from scarlet_zoo.training.run import (
    RUN_FILE,
    DataPlan,
    is_main_process,
    run_metadata,
    run_report,
    set_up,
    wait_for_the_files,
)
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.utils.files import json_text, make_folder, write_text

SUPERNET_FILE = "supernet.safetensors"


@dataclass(frozen=True, kw_only=True)
class SupernetPlan:
    """What supernet to train.

    Attributes:
        space: its classes become those of the data.
        strategy: how it is trained, see :mod:`scarlet_zoo.nas.strategies.registry`; the default recipe when None.
        skip: what stands on its skips, see :class:`scarlet_zoo.models.supernet.Supernet`; the choice of the
            strategy or of the default recipe when None.
        options: of the strategy, by name, as text.
    """

    space: SearchSpace
    data: DataPlan
    strategy: str | None = None
    skip: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


def run_supernet(plan: SupernetPlan, settings: TrainSettings, out: Path, progress: Progress | None = None
                 ) -> dict[str, Any]:  # fmt: skip
    """Train a supernet; ``out`` gets ``supernet.safetensors``, ``run.json`` and ``steps.jsonl``.

    Returns:
        What ``run.json`` holds.

    Raises:
        TrainingError: ``out`` holds another run.
    """
    make_folder(out)
    data = plan.data.open(space_preprocessing(plan.space))
    set_up(settings)
    space = replace(plan.space, num_classes=len(data.classes))
    strategy = create_strategy(plan.strategy, space, plan.skip, plan.options, settings.seed)
    supernet = strategy.supernet
    done = train(strategy, data, settings, out, progress)
    said = {"strategy": strategy.name, "options": asdict(strategy.options)}
    report = {
        "space": strategy.space.name,
        **said,
        "skip": supernet.skip,
        "batch_share": strategy.batch_share,
        "params": sum(parameter.numel() for parameter in supernet.parameters()),
        **run_report(data, settings, done),
        "path": str(out / SUPERNET_FILE),
    }
    supernet.load_state_dict(done.state)
    if is_main_process():
        metadata = {**run_metadata(plan.data, data, settings), **strategy.metadata()}
        save_supernet(supernet, out / SUPERNET_FILE, metadata)
        write_text(out / RUN_FILE, json_text(report, indent=1) + "\n")
    wait_for_the_files()
    return report
