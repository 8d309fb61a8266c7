"""Checks of options as they are read: a mistyped name is refused before torch is loaded, which takes seconds."""

from __future__ import annotations

from pathlib import Path


def weights(given: str | None) -> str | None:
    """Check that weights are a word or a weights file."""
    from scarlet_zoo.models.weights.kind import check_given

    if given is not None:
        check_given(given)
    return given


def target(given: str) -> str:
    """Check that a target is known."""
    from scarlet_zoo.deployment.targets import get_target

    get_target(given)
    return given


def targets(given: list[str] | None) -> list[str] | None:
    """Check that targets are known."""
    for name in given or ():
        target(name)
    return given


def calibration(given: str | None) -> str | None:
    """Check that calibration images are there, where they are files."""
    if given is None or Path(given).exists():
        return given
    from scarlet_zoo.data.calibration import RANDOM
    from scarlet_zoo.data.layout import is_named_data
    from scarlet_zoo.errors import DatasetError

    if given != RANDOM and not is_named_data(given):
        raise DatasetError(f"{given}: no such folder, wanted a folder or a list of images")
    return given


def labels(given: Path | None) -> Path | None:
    """Check that class names can be read."""
    from scarlet_zoo.data.labels import read_labels

    if given is not None:
        read_labels(given)
    return given
