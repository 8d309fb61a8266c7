"""Train supernets under conditions that each differ in one thing from a base, and measure inside them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.models._efficientnet_blocks import InvertedResidual
from torch import nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.data.preprocessing import space_preprocessing
from scarlet_zoo.data.splits import in_order
from scarlet_zoo.errors import DivergedError
from scarlet_zoo.evidence.findings.similarity import feature_shift, layer_similarity, parameter_shift
from scarlet_zoo.models.batchnorm import batch_statistics
from scarlet_zoo.nas.ranking.schedule import Schedule
from scarlet_zoo.nas.strategies.base import Strategy
from scarlet_zoo.nas.strategies.registry import create_strategy
from scarlet_zoo.training.loop import train
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.utils.jobs import stored_result

_PATHS, _SCORED, _IMAGES, _GRADIENT_PAIRS = 8, 32, 500, 8
_LAST_STEPS = 0.2


@dataclass(frozen=True, kw_only=True)
class Condition:
    """The conditions of one supernet.

    Attributes:
        name: name of the condition.
        space: space of the supernet, with the classes of the data.
        skip: kind of its skip connections.
        shortcuts: whether blocks have residual additions; without them a block is a plain chain of convolutions.
        strategy: name of the strategy that trains it.
        schedule: schedule of the training.
    """

    name: str
    space: SearchSpace
    skip: str
    shortcuts: bool = True
    strategy: str = "spos"
    schedule: Schedule

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, the space by its definition."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "space": self.space.to_json(), "schedule": asdict(self.schedule)}


def look_into(condition: Condition, data: DataPlan, out: Path) -> dict[str, Any]:
    """Train a supernet and measure inside it, or read the result if it exists.

    Returns:
        ``layers`` (similarities of the choices of each layer that may be skipped), ``feature_shift`` and
        ``parameter_shift`` by layer, ``one_shot`` (accuracies of random paths in percent, with the batch norm
        statistics of the images), ``chance`` (in percent), ``loss`` and ``loss_deviation`` of the last fifth of the
        steps, and ``asked``, the fields of the condition. A training that diverges has only ``diverged``, the error
        message, and ``asked``.

    Raises:
        ScarletError: ``out`` holds the result of another condition.
    """
    return stored_result(out / "inside.json", condition.to_dict(), lambda: _looked_into(condition, data, out))


def _looked_into(condition: Condition, data: DataPlan, out: Path) -> dict[str, Any]:
    try:
        strategy = _trained(condition, data, out)
    except DivergedError as error:
        return {"diverged": str(error).partition(": ")[2]}
    chance = 100 / condition.space.num_classes
    return {"chance": chance, **_losses(out / "steps.jsonl"), **_measured(strategy, data)}


def _trained(condition: Condition, data: DataPlan, out: Path) -> Strategy:
    torch.set_num_threads(1)
    seed = condition.schedule.seed
    torch.manual_seed(seed)
    strategy = create_strategy(condition.strategy, condition.space, condition.skip, seed=seed)
    if not condition.shortcuts:
        without_shortcuts(strategy.supernet)
    images = data.open(space_preprocessing(condition.space))
    identity = {"shortcuts": str(condition.shortcuts)}
    done = train(strategy, images, condition.schedule.settings(), out, identity=identity)
    strategy.supernet.load_state_dict(done.state)
    return strategy


def without_shortcuts(model: nn.Module) -> None:
    """Remove the residual additions from all of timm's inverted residual blocks, in place."""
    for module in model.modules():
        if isinstance(module, InvertedResidual):
            module.has_skip = False


def _measured(strategy: Strategy, data: DataPlan) -> dict[str, Any]:
    supernet, rng = strategy.supernet.eval(), random.Random(0)
    space = supernet.space
    split = data.open(space_preprocessing(space)).part("validation")
    images, targets = next(in_order(split, _IMAGES, _IMAGES))
    scored = [Arch.sample(space, rng) for _ in range(_SCORED)]
    archs = scored[:_PATHS]
    skippable = [
        index for index, layer in enumerate(space.layers) if any(space.choice(t).is_skip for t in layer.tokens)
    ]
    pairs = list(zip(archs[::2], archs[1::2], strict=True))
    with torch.inference_mode(), batch_statistics(supernet):
        one_shot = [100 * float((supernet(images, arch).argmax(1) == targets).double().mean()) for arch in scored]
    return {
        "one_shot": one_shot,
        "layers": [asdict(layer_similarity(supernet, layer, images, archs)) for layer in skippable],
        "feature_shift": feature_shift(supernet, images, pairs),
        "parameter_shift": parameter_shift(supernet, images, targets, rng, _GRADIENT_PAIRS),
    }


def _losses(log: Path) -> Mapping[str, float]:
    """Mean loss of the last steps, and the standard deviation from step to step."""
    losses = np.array([json.loads(line)["loss"] for line in log.read_text(encoding="utf-8").splitlines()])
    last = losses[-max(int(_LAST_STEPS * len(losses)), 2) :]
    # The deviation is of differences, so that a loss that is still falling does not look unsteady.
    return {"loss": float(last.mean()), "loss_deviation": float(np.diff(last).std() / np.sqrt(2))}
