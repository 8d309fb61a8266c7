"""Runs that an earlier version of this package began: they continue as they began, to the same bits."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.augmentations import USUAL, AugmentPlan, former_augment
from scarlet_zoo.training.settings import TrainSettings

# Facts of a run that earlier checkpoints do not state, as they were then.
_THEN = {"mixup": "0.0", "cutmix": "0.0", "mixup_prob": "1.0", "balance": "none", "crops_from": "None"}


def as_written_now(run: Mapping[str, str]) -> dict[str, str]:
    """Return the identity of a run, as a checkpoint states it, with what earlier versions did not state."""
    now = {**_THEN, **run}
    try:
        augment = ast.literal_eval(run.get("augment", ""))
    except (ValueError, SyntaxError):
        return now
    if isinstance(augment, dict):
        now["augment"] = str({**asdict(Augment()), **augment})
    return now


def settings_then(settings: TrainSettings, name: str, out: Path) -> TrainSettings | None:
    """Return the settings with which an earlier version began the run in a folder; None if it did not.

    Earlier versions cropped at least 8 % of the area of every data set but Fashion-MNIST.

    Args:
        settings: the settings that are asked for.
        name: name of the data set.
        out: folder of the run.
    """
    try:
        run = torch.load(out / "checkpoint.pt", map_location="cpu", weights_only=True, mmap=True)["run"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError):
        return None
    if "balance" in run:
        return None
    asked = AugmentPlan() if settings.augment == USUAL else settings.augment
    if isinstance(asked, AugmentPlan) and asked.recipe == USUAL:
        return replace(settings, augment=replace(former_augment(name), **asked.changes))
    return settings
