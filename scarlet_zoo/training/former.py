"""Runs that an earlier version of this package began: they continue as they began, to the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from scarlet_zoo.data.augmentations import USUAL, AugmentPlan, former_augment
from scarlet_zoo.data.datasets import ImageData
from scarlet_zoo.data.preprocessing import RULE
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.training.settings import TORCH, TrainSettings
from scarlet_zoo.training.state import load_checkpoint

RULE_KEY = "preprocessing_rule"  # of a checkpoint: the version of the rule by which its images were prepared
_FIRST_RULE = 1  # of checkpoints that do not state it


def settings_then(settings: TrainSettings, name: str, out: Path) -> TrainSettings | None:
    """Return the settings with which an earlier version began the run in a folder; None if it did not.

    Earlier versions cropped at least 8 % of the area of every data set but Fashion-MNIST.

    Args:
        settings: the settings that are asked for.
        name: name of the data set.
        out: folder of the run.
    """
    run = _run_in(out)
    if run is None or "balance" in run:
        return None
    asked = AugmentPlan() if settings.augment == USUAL else settings.augment
    if isinstance(asked, AugmentPlan) and asked.recipe == USUAL:
        return replace(settings, augment=replace(former_augment(name), **asked.changes))
    return settings


def with_layers_then(settings: TrainSettings, out: Path) -> TrainSettings:
    """Return the settings with torch's layers, if the run in a folder began before there were others."""
    run = _run_in(out)
    return settings if run is None or "layers" in run else replace(settings, layers=TORCH)


def _run_in(out: Path) -> dict[str, str] | None:
    try:
        return dict(load_checkpoint(out / "checkpoint.pt", mmap=True)["run"])
    except TrainingError:
        return None


def refuse_other_rule(out: Path, checkpoint: Mapping[str, Any], data: ImageData) -> None:
    """Refuse to continue a run whose images were prepared by another version of the rule, to other bits.

    Args:
        out: folder of the run.
        checkpoint: its checkpoint.
        data: the images. A run of the first version continues where none of them was prepared otherwise then.

    Raises:
        TrainingError: some of the images are prepared otherwise now.
    """
    then = int(checkpoint.get(RULE_KEY, _FIRST_RULE))
    if then == RULE or (then == _FIRST_RULE and not data.altered):
        return
    images = f"{data.altered:,} of the images" if data.altered else "images"
    raise TrainingError(
        f"{out}: a run that another version of this package began by version {then} of the preprocessing, here version "
        f"{RULE}: it took {images} otherwise, without the camera's rotation for example, so it would not end as it "
        "began; wanted another --out"
    )
