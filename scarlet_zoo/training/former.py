"""Runs that an earlier version of this package began: they continue as they began, to the same bits."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import torch

from scarlet_zoo.data.augmentations import USUAL, AugmentPlan, former_augment
from scarlet_zoo.training.settings import TrainSettings


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
