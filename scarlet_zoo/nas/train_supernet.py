"""Train the supernet of a search space by a strategy and write its weights and its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.spaces import find_space
from scarlet_zoo.data.preprocessing import space_preprocessing
from scarlet_zoo.models.supernet import save_supernet
from scarlet_zoo.nas.strategies.registry import create_strategy
from scarlet_zoo.training.loop import Progress, train
from scarlet_zoo.training.run import (
    RUN_FILE,
    DataPlan,
    as_begun,
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
class TrainedSupernet:
    """A trained supernet.

    Attributes:
        path: the weights, a safetensors file.
        space: the search space; the strategy may have extended the one that was asked for.
        strategy: name of the strategy that trained it.
        report: the content of ``run.json``.
    """

    path: Path
    space: SearchSpace
    strategy: str
    report: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``run.json`` as JSON values."""
        return dict(self.report)


def train_supernet(
    space: SearchSpace | str,
    *,
    data: DataPlan | str | Path,
    out: str | Path,
    settings: TrainSettings | None = None,
    strategy: str | None = None,
    skip: str | None = None,
    options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> TrainedSupernet:
    """Train the supernet of a search space; ``out`` gets ``supernet.safetensors``, ``run.json`` and ``steps.jsonl``.

    The same call continues a stopped training to the same result, bit for bit.

    Args:
        space: a search space, its name, or its TOML file; its number of classes becomes the data's.
        data: a data set's name, a folder that holds a folder of images for each class, or a plan with more choices.
        out: folder of the run.
        settings: how to train; the defaults of :class:`TrainSettings` when left out.
        strategy: name of a strategy of :mod:`scarlet_zoo.nas.strategies.registry`; SCARLET's sampling with plain skips
            when left out.
        skip: the module on skips, see :class:`scarlet_zoo.models.supernet.Supernet`; the strategy's default when left
            out.
        options: options of the strategy, by name, as text.
        progress: called with (steps done, steps in all).

    Raises:
        TrainingError: ``out`` holds another run, or the strategy refuses an option or a setting.
        UnknownNameError: no such space or strategy; the message lists the near ones.
        DatasetError: no such data.
        DivergedError: the loss is no longer finite.
    """
    plan, out = DataPlan.of(data), Path(out)
    settings, plan = as_begun(settings or TrainSettings(), plan, out)
    asked = space if isinstance(space, SearchSpace) else find_space(space)
    make_folder(out)
    images = plan.open(space_preprocessing(asked))
    settings = settings.for_data(images)
    set_up(settings)
    asked = replace(asked, num_classes=len(images.classes))
    recipe = create_strategy(strategy, asked, skip, options or {}, settings.seed)
    supernet = recipe.supernet
    done = train(recipe, images, settings, out, progress)
    report = {
        "space": recipe.space.name,
        "strategy": recipe.name,
        "options": asdict(recipe.options),
        "skip": supernet.skip,
        "batch_share": recipe.batch_share,
        "params": sum(parameter.numel() for parameter in supernet.parameters()),
        **run_report(images, settings, done),
        "path": str(out / SUPERNET_FILE),
    }
    supernet.load_state_dict(done.state)
    if is_main_process():
        metadata = {**run_metadata(plan, images, settings), **recipe.metadata()}
        save_supernet(supernet, out / SUPERNET_FILE, metadata)
        write_text(out / RUN_FILE, json_text(report, indent=1) + "\n")
    wait_for_the_files()
    return TrainedSupernet(path=out / SUPERNET_FILE, space=recipe.space, strategy=recipe.name, report=report)
