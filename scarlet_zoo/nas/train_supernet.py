"""Train the supernet of a search space by a strategy and write its weights and its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.space_files import check_channels, find_space
from scarlet_zoo.data.preprocessing import space_preprocessing
from scarlet_zoo.models.supernet import save_supernet
from scarlet_zoo.nas.space_of_data import space_of_data
from scarlet_zoo.nas.strategies.base import CROSS_ENTROPY, Strategy
from scarlet_zoo.nas.strategies.registry import create_strategy
from scarlet_zoo.nas.supernet_start import SupernetStart
from scarlet_zoo.training.loop import Progress, train
from scarlet_zoo.training.outcome import Watch
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
from scarlet_zoo.training.state import STEPS_FILE, read_steps
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.ownership import own_folder, with_locks

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


@with_locks
def train_supernet(
    space: SearchSpace | str | None = None,
    *,
    data: DataPlan | str | Path,
    out: str | Path,
    settings: TrainSettings | None = None,
    strategy: str | None = None,
    skip: str | None = None,
    options: Mapping[str, str] | None = None,
    start: str | Path | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> TrainedSupernet:
    """Train the supernet of a search space; ``out`` gets ``supernet.safetensors``, ``run.json`` and ``steps.jsonl``.

    The same call continues a stopped training to the same result, bit for bit.

    Args:
        space: a search space, its name, or its TOML file; its number of classes becomes the data's. When left out, that
            of ``start``, else the built-in space that suits the data, which a warning names.
        data: a data set's name, a folder that holds a folder of images for each class, or a plan with more choices.
        out: folder of the run.
        settings: how to train; the defaults of :class:`TrainSettings` when left out.
        strategy: name of a strategy of :mod:`scarlet_zoo.nas.strategies.registry`; SCARLET's sampling with plain skips
            when left out.
        skip: the module on skips, see :class:`scarlet_zoo.models.supernet.Supernet`; the strategy's default when left
            out.
        options: options of the strategy, by name, as text.
        start: file of a trained supernet of the same space, whose weights this one starts from; its classifier too if
            it is for the same classes. Strategy and skips are its own when left out.
        progress: called with (steps done, steps in all).
        watch: called after each step with what can be told of it.

    Raises:
        TrainingError: ``out`` holds another run, or the strategy refuses an option or a setting.
        UnknownNameError: no such space or strategy; the message lists the near ones.
        DatasetError: no such data.
        DivergedError: the loss is no longer finite.
    """
    plan, out = DataPlan.of(data), Path(out)
    settings, plan = as_begun(settings or TrainSettings(), plan, out)
    settings = settings.for_supernet()
    donor = SupernetStart.read(Path(start)) if start is not None else None
    if space is None:
        space = donor.space if donor is not None else space_of_data(plan, out)
    asked = space if isinstance(space, SearchSpace) else find_space(space, for_images=True)
    check_channels(asked, f"search space {asked.name!r}: ")
    own_folder(out)
    images = plan.open(space_preprocessing(asked))
    settings = settings.for_data(images)
    set_up(settings)
    asked = replace(asked, num_classes=len(images.classes))
    strategy, skip = (strategy, skip) if donor is None else (strategy or donor.strategy, skip or donor.skip)
    recipe = create_strategy(strategy, asked, skip, options or {}, settings.seed)
    supernet = recipe.supernet
    facts = donor.load_into(supernet, images) if donor is not None else {"weights": f"random, seed {settings.seed}"}
    words = donor.words(facts) if donor is not None else "scratch"
    done = train(recipe, images, settings, out, progress, {"start": words}, watch)
    report = {
        "space": recipe.space.name,
        "strategy": recipe.name,
        "options": asdict(recipe.options),
        "skip": supernet.skip,
        "batch_share": recipe.batch_share,
        "from": words,
        "start": facts,
        "params": sum(parameter.numel() for parameter in supernet.parameters()),
        **run_report(images, settings, done),
        "path_loss": _path_loss(recipe, out, max(len(images.part("train")) // settings.batch_size, 1)),
        "path": str(out / SUPERNET_FILE),
    }
    supernet.load_state_dict(done.state)
    if is_main_process():
        metadata = {**run_metadata(plan, images, settings), **recipe.metadata()}
        save_supernet(supernet, out / SUPERNET_FILE, metadata)
        write_text(out / RUN_FILE, json_text(report, indent=1) + "\n")
    wait_for_the_files()
    return TrainedSupernet(path=out / SUPERNET_FILE, space=recipe.space, strategy=recipe.name, report=report)


def _path_loss(recipe: Strategy, out: Path, per_epoch: int) -> float | None:
    """Mean cross-entropy of a path in the last epoch's steps; None where their log has none.

    It compares with that of a guess, which the loss of a step does not: a strategy may add up several paths, and other
    terms.
    """
    rows = read_steps(out / STEPS_FILE)[-per_epoch:]
    found = [row["loss_terms"][CROSS_ENTROPY] for row in rows if CROSS_ENTROPY in row.get("loss_terms", {})]
    return sum(found) / len(found) / recipe.summed if found else None
