"""Train a network by name and write its weights and its report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scarlet_zoo.arch.architecture import Arch, is_identity_string
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.data.class_folders import Logits
from scarlet_zoo.data.datasets import ImageData
from scarlet_zoo.data.held_out import TrainingImages
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ArchError, TrainingError
from scarlet_zoo.models.blocks import Stabilizer
from scarlet_zoo.models.loading import preprocessing_of
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.models.supernet import Supernet, load_supernet
from scarlet_zoo.models.weights.checkpoint import save_state
from scarlet_zoo.training import loop
from scarlet_zoo.training.learner import NetworkLearner
from scarlet_zoo.training.loop import Progress
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
class TrainedNetwork:
    """A trained network.

    Attributes:
        name: the name that was asked for.
        arch: identity string of the architecture; None for a network that is not of a search space.
        path: the weights, a safetensors file.
        top1: validation accuracy in percent after each epoch.
        report: the content of ``run.json``.
    """

    name: str
    arch: str | None
    path: Path
    top1: tuple[float, ...]
    report: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``run.json`` as JSON values."""
        return dict(self.report)


def train(
    network: str | nn.Module,
    *,
    data: DataPlan | str | Path,
    out: str | Path,
    settings: TrainSettings | None = None,
    supernet: str | Path | None = None,
    space: SearchSpace | None = None,
    input_size: int | None = None,
    name: str | None = None,
    progress: Progress | None = None,
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
        space: search space of an identity string, if this package has no space of that name; a supernet's space
            takes its place.
        input_size: side of the input in pixels; the network's own when left out.
        name: name of your own torch model in the report.
        progress: called with (steps done, steps in all).

    Raises:
        TrainingError: ``out`` holds another run, the supernet has other classes, or the network cannot run on images
            of its size.
        ArchError: an invalid identity string, or one of another space than the supernet's.
        DatasetError: no such data.
        DivergedError: the loss is no longer finite.
    """
    plan, out = DataPlan.of(data), Path(out)
    settings = (settings or TrainSettings()).for_data(plan.name)
    source = Path(supernet) if supernet is not None else None
    own = network if isinstance(network, nn.Module) else None
    label = name or (type(network).__name__ if isinstance(network, nn.Module) else network)
    make_folder(out)
    set_up(settings)
    donor = load_supernet(source) if source is not None else None
    wanted = _network_of(label, source, donor[0].space if donor else space) if own is None else label
    bare = own if own is not None else create_model(wanted)
    feed = preprocessing_of(bare, input_size)
    images = plan.open(feed, _logits_of(source, donor) if donor is not None else None)
    start = "scratch"
    if donor is not None and source is not None:
        assert isinstance(wanted, Arch)
        TrainingImages(str(source), donor[1]).require(images.division, plan.name, plan.validation)
        bare, start = _subnet(source, donor[0], wanted, images), f"supernet {donor[1].get('sha256', '')[:12]}"
    elif own is None:
        # Initialise again from the seed: the first network has drawn random numbers and may have other classes.
        torch.manual_seed(settings.seed)
        bare = create_model(wanted, num_classes=len(images.classes))
    _try_out(bare, feed, label)
    identity = {"name": label, "start": start, "preprocessing": feed.to_json()}
    done = loop.train(NetworkLearner(bare), images, settings, out, progress, identity)
    arch: Arch | None = getattr(bare, "arch", None)
    report = {
        "name": label,
        "arch": str(arch) if arch is not None else None,
        "from": start,
        "params": sum(parameter.numel() for parameter in bare.parameters()),
        **run_report(images, settings, done),
        "top1": list(done.top1),
        "path": str(out / NETWORK_FILE),
    }
    if is_main_process():
        described = {"name": label, "preprocessing": feed.to_json(), "validation_top1": str(done.top1[-1])}
        described |= {**run_metadata(plan, images, settings), **_anatomy(bare)}
        save_state(done.state, out / NETWORK_FILE, described)
        write_text(out / RUN_FILE, json_text(report, indent=1) + "\n")
    wait_for_the_files()
    return TrainedNetwork(name=label, arch=report["arch"], path=out / NETWORK_FILE, top1=done.top1, report=report)


def _anatomy(model: nn.Module) -> dict[str, str]:
    """The metadata from which the network of a weights file is built again."""
    arch: Arch | None = getattr(model, "arch", None)
    if arch is None:
        return {}
    stabilized = any(isinstance(module, Stabilizer) for module in model.modules())
    return {"arch": str(arch), "space": arch.space.to_json(), "stabilized": str(stabilized)}


def _network_of(name: str, supernet: Path | None, space: SearchSpace | None) -> Arch | str:
    """The architecture of a registered name or an identity string; any other name unchanged.

    Raises:
        ArchError: an invalid identity string, or another name although a supernet is to give the weights.
    """
    text = ZOO[name].arch if name in ZOO else name
    if is_identity_string(text):
        return Arch.parse(text, space)
    if supernet is not None:
        raise ArchError(f"network {name!r}: not an architecture of a search space, wanted one of the supernet's space")
    return name


def _logits_of(file: Path | None, donor: tuple[Supernet, Mapping[str, str]]) -> Logits | None:
    """The logits of a supernet, in whose order the classes are wanted; None if its file does not name them."""
    supernet, described = donor
    labels = json.loads(described["labels"]) if "labels" in described else None
    return None if labels is None else Logits(str(file), supernet.space.num_classes, labels)


def _subnet(file: Path, supernet: Supernet, arch: Arch, data: ImageData) -> nn.Module:
    classes = supernet.space.num_classes
    if classes != len(data.classes):
        raise TrainingError(
            f"{file}: got a supernet for {classes} classes, wanted {len(data.classes)} as in {data.name}"
        )
    return supernet.subnet(arch).train()


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
