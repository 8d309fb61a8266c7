"""The curves of a training: its loss by step, and the validation accuracy by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from scarlet_zoo.errors import TrainingError
from scarlet_zoo.training.outcome import accuracy_of
from scarlet_zoo.training.run import RUN_FILE, read_run
from scarlet_zoo.training.state import STEPS_FILE, read_losses
from scarlet_zoo.utils.plotting import new_figure, save_as

_POINTS = 60


def plot_training(folder: Path, file: Path) -> None:
    """Draw the curves of a finished run to a file, ``.png`` or ``.svg``.

    The loss is drawn for each step and, thicker, as means over a sixtieth of the steps. Accuracies have their 95 %
    intervals, and the epoch whose weights are the result is marked.

    Raises:
        TrainingError: the folder holds no finished run.
        ScarletError: the file's name ends with neither, or matplotlib is not installed.
    """
    losses = read_losses(folder / STEPS_FILE)
    if not losses or not (folder / RUN_FILE).is_file():
        raise TrainingError(f"{folder}: holds no finished run, wanted {STEPS_FILE} and {RUN_FILE} in it")
    report = read_run(folder)
    top1 = report.get("top1") or []
    figure = new_figure(7, 6 if top1 else 3.5)
    panels = figure.subplots(2 if top1 else 1, 1, squeeze=False)[:, 0]
    _draw_losses(panels[0], losses)
    if top1:
        _draw_accuracies(panels[1], top1, report)
    save_as(figure, file)


def _draw_losses(axes: Any, losses: Sequence[float]) -> None:
    width = math.ceil(len(losses) / _POINTS)
    means = [(min(start + width, len(losses)), fmean(losses[start : start + width]))
             for start in range(0, len(losses), width)]  # fmt: skip
    axes.plot(range(1, len(losses) + 1), losses, color="0.8", linewidth=0.6, label="step")
    if width > 1:
        axes.plot(*zip(*means, strict=True), color="#2166ac", linewidth=1.6, label=f"mean of {width} steps")
    axes.set(xlabel="step", ylabel="loss")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)


def _draw_accuracies(axes: Any, top1: Sequence[float], report: dict[str, Any]) -> None:
    images, best = int(report["validation_pictures"]), int(report.get("epoch", len(top1)))
    epochs = range(1, len(top1) + 1)
    bounds = [accuracy_of(value, images).interval for value in top1]
    axes.fill_between(epochs, *zip(*bounds, strict=True), color="#b2182b", alpha=0.15, label="95 % interval")
    axes.plot(epochs, top1, "o-", color="#b2182b", markersize=3, linewidth=1)
    axes.plot([best], [top1[best - 1]], "*", color="black", markersize=10, label=f"result: epoch {best}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="epoch", ylabel=f"accuracy on {images:,} validation images (%)")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
