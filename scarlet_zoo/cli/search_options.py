"""The options of the verbs that search: what is searched for, and how architectures are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scarlet_zoo.cli.console import remark
from scarlet_zoo.cli.options import (
    BatchNormImagesOrUsual,
    DataDir,
    DataOrNone,
    Held,
    LutFileOrNone,
    StrategyOrNone,
    Threads,
    ValidationData,
    ValidationImagesOrAll,
    apply_only,
)

if TYPE_CHECKING:
    from scarlet_zoo.nas.presets import Preset
    from scarlet_zoo.nas.search.scoring import Scoring

Objectives = Annotated[
    str | None,
    typer.Option(
        help="Objectives, separated by commas: loss (cross-entropy of the validation images), accuracy (percent "
        "top-1), score (the strategy's), macs (multiply-adds), params (parameters), latency (milliseconds); each may "
        "end in :max or :min and *WEIGHT. When left out, loss,latency with a supernet (score,latency for bn-nas and "
        "parsec), and macs:max,latency without one.",
        show_default=False,
    ),
]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        help="Limit such as 'macs<=5M' (or 5e6, multiply-adds), 'params<=1.2M' (parameters), 'latency<=5ms' (or 5, "
        "milliseconds), 'accuracy>=90%' (or 90, percent top-1), 'loss<=0.5' (cross-entropy), 'score>=0.5' (the "
        "strategy's). It may be given several times.",
    ),
]


def preset_option(part: Callable[[Preset], Any]) -> Any:
    """Return the type of ``--preset``, which sets the options of a paper that are not given.

    Args:
        part: which of a preset's options are those of the verb.
    """

    def take(context: typer.Context, name: str | None) -> str | None:
        from scarlet_zoo.nas.presets import find_preset

        if name is not None:
            preset = find_preset(name)
            context.default_map = dict(part(preset))
            remark(preset.said_of(part(preset)))
        return name

    help_text = "Recipe of a paper: scarlet, fairnas or spos. It sets the options that are known of it and not given."
    return Annotated[str | None, typer.Option("--preset", help=help_text, callback=take, is_eager=True)]


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """Options that say how the architectures of a search are scored."""

    strategy: StrategyOrNone = None
    data: DataOrNone = None
    data_dir: DataDir = None
    validation: Held = None
    validation_data: ValidationData = None
    validation_images: ValidationImagesOrAll = None
    bn_images: BatchNormImagesOrUsual = None
    threads: Threads = 1
    lut: LutFileOrNone = None

    def scoring(self, metrics: tuple[str, ...]) -> Scoring:
        """Return how architectures are scored by these metrics.

        Raises:
            ScarletError: an option was given that these metrics do not need.
        """
        from scarlet_zoo.nas.search.objectives import SCORED
        from scarlet_zoo.nas.search.scoring import Scoring

        apply_only("latency" in metrics, "latency among the objectives or limits", lut=self.lut)
        apply_only(
            not SCORED.isdisjoint(metrics), "accuracy, loss or score among the objectives or limits", data=self.data,
            data_dir=self.data_dir, validation=self.validation, validation_data=self.validation_data,
            validation_images=self.validation_images, bn_images=self.bn_images,
        )  # fmt: skip
        return Scoring(
            data=self.data, data_dir=self.data_dir, held_out=self.validation, validation=self.validation_images,
            calibration=self.bn_images or 2000, threads=self.threads, lut=self.lut, strategy=self.strategy,
            validation_data=self.validation_data,
        )  # fmt: skip
