"""From a network's name to a finished training on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scarlet_zoo.arch.architecture import Arch, is_identity_string
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.data.datasets import ImageData
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ArchError, TrainingError
from scarlet_zoo.models.blocks import Stabilizer
from scarlet_zoo.models.loading import preprocessing_of
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.models.supernet import Supernet, load_supernet
from scarlet_zoo.models.weights.checkpoint import save_state
from scarlet_zoo.training.learner import NetworkLearner
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

NETWORK_FILE = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class NetworkPlan:
    """What network to train.

    Attributes:
        name: a registered name, an identity string, or any timm name.
        supernet: file of the supernet whose weights it starts from.
        space: that an identity string is of, where this package does not name it; the supernet's, if there is one.
        input_size: side of the input in pixels; the network's own when left out.
    """

    name: str
    data: DataPlan
    supernet: Path | None = None
    space: SearchSpace | None = None
    input_size: int | None = None


def run_network(plan: NetworkPlan, settings: TrainSettings, out: Path, progress: Progress | None = None,
                model: nn.Module | None = None) -> dict[str, Any]:  # fmt: skip
    """Train a network; ``out`` gets ``model.safetensors``, ``run.json`` and ``steps.jsonl``.

    Args:
        plan: what to train.
        settings: how.
        out: folder of the run; the same call continues it.
        progress: told (steps done, steps in all).
        model: a network of one's own, in place of the one that ``plan`` names.

    Returns:
        What ``run.json`` holds; ``top1`` has the validation accuracy in percent after each epoch.

    Raises:
        TrainingError: ``out`` holds another run, or the supernet is of another space or other classes.
    """
    make_folder(out)
    set_up(settings)
    supernet = load_supernet(plan.supernet) if plan.supernet is not None else None
    network = _network_of(plan, supernet[0].space if supernet else plan.space)
    bare = model if model is not None else create_model(network)
    feed = preprocessing_of(bare, plan.input_size)
    data = plan.data.open(feed)
    start = "scratch"
    if supernet is not None:
        assert isinstance(network, Arch)
        bare, start = _subnet(plan, supernet[0], network, data), f"supernet {supernet[1].get('sha256', '')[:12]}"
    elif model is None:
        # The weights are drawn once more, with the seed's first numbers.
        torch.manual_seed(settings.seed)
        bare = create_model(network, num_classes=len(data.classes))
    _try_out(bare, feed, plan.name)
    identity = {"name": plan.name, "start": start, "preprocessing": feed.to_json()}
    done = train(NetworkLearner(bare), data, settings, out, progress, identity)
    arch: Arch | None = getattr(bare, "arch", None)
    report = {
        "name": plan.name,
        "arch": str(arch) if arch is not None else None,
        "from": start,
        "params": sum(parameter.numel() for parameter in bare.parameters()),
        **run_report(data, settings, done),
        "top1": list(done.top1),
        "path": str(out / NETWORK_FILE),
    }
    if is_main_process():
        said = {"name": plan.name, "preprocessing": feed.to_json(), "validation_top1": str(done.top1[-1])}
        said |= {**run_metadata(plan.data, data, settings), **_anatomy(bare)}
        save_state(done.state, out / NETWORK_FILE, said)
        write_text(out / RUN_FILE, json_text(report, indent=1) + "\n")
    wait_for_the_files()
    return report


def _anatomy(model: nn.Module) -> dict[str, str]:
    """What a file must say for its network to be built again."""
    arch: Arch | None = getattr(model, "arch", None)
    if arch is None:
        return {}
    stabilized = any(isinstance(module, Stabilizer) for module in model.modules())
    return {"arch": str(arch), "space": arch.space.to_json(), "stabilized": str(stabilized)}


def _network_of(plan: NetworkPlan, space: SearchSpace | None) -> Arch | str:
    """The architecture that a plan names, decoded with the space it is of; else its name.

    Raises:
        ArchError: an identity string with a fault, or no architecture where a supernet is to give the weights.
    """
    text = ZOO[plan.name].arch if plan.name in ZOO else plan.name
    if is_identity_string(text):
        return Arch.parse(text, space)
    if plan.supernet is not None:
        raise ArchError(f"network {plan.name!r}: no architecture of a search space, wanted one of the supernet's")
    return plan.name


def _subnet(plan: NetworkPlan, supernet: Supernet, arch: Arch, data: ImageData) -> nn.Module:
    classes = supernet.space.num_classes
    if classes != len(data.classes):
        raise TrainingError(f"{plan.supernet}: a supernet for {classes} classes, {data.name} has {len(data.classes)}")
    return supernet.subnet(arch).train()


def _try_out(model: nn.Module, feed: Preprocessing, name: str) -> None:
    """Refuse a network that does not take its input before any data is read."""
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, feed.channels, *feed.size))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise TrainingError(f"network {name!r}: does not run on {feed.size} pixels: {reason}") from error
    model.train()
