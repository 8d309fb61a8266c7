"""Train a network by name and write its weights and its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.inference.right_answers import Accuracy
from scarlet_zoo.models.blocks import Stabilizer
from scarlet_zoo.models.loading import InputSize
from scarlet_zoo.models.weights.checkpoint import save_state
from scarlet_zoo.training import loop
from scarlet_zoo.training.learner import NetworkLearner
from scarlet_zoo.training.loop import Progress
from scarlet_zoo.training.outcome import Training, Watch
from scarlet_zoo.training.run import (
    NETWORK_FILE,
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
from scarlet_zoo.training.start import (
    Open,
    Start,
    from_run,
    from_scratch,
    from_supernet,
    from_weights,
    own_model,
)
from scarlet_zoo.training.teacher import load_teacher
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.ownership import own_folder, with_locks


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A trained network.

    Attributes:
        name: the name that was asked for.
        arch: identity string of the architecture; None for a network that is not of a search space.
        path: the weights, a safetensors file.
        top1: validation accuracy in percent after each epoch.
        epoch: number of the epoch whose weights these are, from 1: the last one, or with ``patience`` the best.
        accuracy: its validation accuracy, with number of images and interval.
        report: the content of ``run.json``.
    """

    name: str
    arch: str | None
    path: Path
    top1: tuple[float, ...]
    epoch: int
    accuracy: Accuracy
    report: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``run.json`` as JSON values."""
        return dict(self.report)


@with_locks
def train(
    network: str | nn.Module,
    *,
    data: DataPlan | str | Path,
    out: str | Path,
    settings: TrainSettings | None = None,
    supernet: str | Path | None = None,
    weights: str | Path | None = None,
    continue_from: str | Path | None = None,
    space: SearchSpace | None = None,
    input_size: InputSize | None = None,
    name: str | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> TrainedNetwork:
    """Train a network; ``out`` gets ``model.safetensors``, ``run.json`` and ``steps.jsonl``.

    The same call continues a stopped training to the same result, bit for bit.

    Args:
        network: a registered name, an identity string, any timm name, or your own torch model that maps images
            (N, C, H, W) to logits (N, classes).
        data: a data set's name, a folder that holds a folder of images for each class, or a plan with more choices.
        out: folder of the run.
        settings: how to train; the defaults of :class:`TrainSettings` when left out.
        supernet: file of the supernet whose weights the network starts from.
        weights: trained weights that the network starts from, a file or ``pretrained``, as for
            :func:`scarlet_zoo.models.loading.load_network`; with other classes it gets a new classifier.
        continue_from: folder of a finished run whose result the network starts from, with a new optimiser and the
            whole schedule of ``settings``.
        space: search space of an identity string, if this package has no space of that name; a supernet's space
            takes its place.
        input_size: side of the input in pixels, or (height, width); the network's or the weights' own when left out.
        name: name of your own torch model in the report.
        progress: called with (steps done, steps in all).
        watch: called after each step with what can be told of it.

    Raises:
        TrainingError: ``out`` holds another run, the supernet has other classes, or the network cannot run on images
            of its size or be trained as the settings say.
        ArchError: an invalid identity string, or one of another space than the supernet's.
        DatasetError: no such data.
        DivergedError: the loss is no longer finite.
    """
    plan, out = DataPlan.of(data), Path(out)
    settings, plan = as_begun(settings or TrainSettings(), plan, out)
    label = name or (type(network).__name__ if isinstance(network, nn.Module) else network)
    own_folder(out)
    set_up(settings)
    sources = {"supernet": supernet, "weights": weights, "continue_from": continue_from}
    start = _start(network, plan.open, input_size, space, settings.seed, sources)
    settings = settings.for_data(start.images)
    _try_out(start.model, start.feed, label)
    teacher = (load_teacher(settings.teacher, start.images), start.feed) if settings.teacher is not None else None
    learner = NetworkLearner(start.model, settings, teacher, label)
    identity = {"name": label, "start": start.words, "preprocessing": start.feed.to_json()}
    done = loop.train(learner, start.images, settings, out, progress, identity, watch)
    return _written(label, plan, start, settings, done, out, teacher[0].source if teacher is not None else None)


def _start(
    network: str | nn.Module,
    opened: Open,
    size: InputSize | None,
    space: SearchSpace | None,
    seed: int,
    sources: Mapping[str, str | Path | None],
) -> Start:
    """The network and the weights that it starts from, of the one source that is given."""
    given = {key: str(value) for key, value in sources.items() if value is not None}
    if len(given) > 1:
        raise TrainingError(f"training: got {' and '.join(given)}, wanted one of them to start from")
    if isinstance(network, nn.Module):
        if given:
            raise TrainingError(
                f"training: got {next(iter(given))} for a torch model, wanted the model with its weights"
            )
        return own_model(network, opened, size)
    if "supernet" in given:
        return from_supernet(network, opened, size, Path(given["supernet"]))
    if "weights" in given:
        return from_weights(network, opened, size, space, given["weights"], seed)
    if "continue_from" in given:
        return from_run(network, opened, size, space, Path(given["continue_from"]), seed)
    return from_scratch(network, opened, size, space, seed)


def _written(
    label: str, plan: DataPlan, start: Start, settings: TrainSettings, done: Training, out: Path, teacher: str | None
) -> TrainedNetwork:
    """Write the weights and the report of a finished training."""
    model, arch = start.model, getattr(start.model, "arch", None)
    report = {
        "name": label,
        "arch": str(arch) if arch is not None else None,
        "from": start.words,
        "start": dict(start.facts),
        "teacher": teacher,
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "trained_params": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        **run_report(start.images, settings, done),
        "top1": list(done.top1),
        "path": str(out / NETWORK_FILE),
    }
    if is_main_process():
        described = {"name": label, "preprocessing": start.feed.to_json(), "from": start.words,
                     "validation_top1": str(done.top1[done.epoch - 1])}  # fmt: skip
        described |= {**run_metadata(plan, start.images, settings), **_anatomy(model)}
        save_state(done.state, out / NETWORK_FILE, described)
        write_text(out / RUN_FILE, json_text(report, indent=1) + "\n")
    wait_for_the_files()
    assert done.accuracy is not None
    return TrainedNetwork(name=label, arch=report["arch"], path=out / NETWORK_FILE, top1=done.top1, epoch=done.epoch,
                          accuracy=done.accuracy, report=report)  # fmt: skip


def _anatomy(model: nn.Module) -> dict[str, str]:
    """The metadata from which the network of a weights file is built again."""
    arch: Arch | None = getattr(model, "arch", None)
    if arch is None:
        return {}
    stabilized = any(isinstance(module, Stabilizer) for module in model.modules())
    return {"arch": str(arch), "space": arch.space.to_json(), "stabilized": str(stabilized)}


def _try_out(model: nn.Module, feed: Preprocessing, name: str) -> None:
    """Run the network once on zeros, to raise an error before the training if it cannot take its input."""
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, feed.channels, *feed.size))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        height, width = feed.size
        raise TrainingError(f"network {name!r}: cannot run on images of {height} x {width} pixels: {reason}") from error
    model.train()
