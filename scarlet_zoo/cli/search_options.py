"""The options of the verbs that search: what is searched for, and how architectures are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    from scarlet_zoo.nas.search.by_predictor import PredictorSettings
    from scarlet_zoo.nas.search.scoring import Scoring

Objectives = Annotated[
    str | None,
    typer.Option(
        help="Objectives, separated by commas: loss (cross-entropy of the validation images), accuracy (percent "
        "top-1), score (the strategy's), macs (multiply-adds), params (parameters), latency (milliseconds); each may "
        "end in :max or :min and *WEIGHT. When left out: loss,latency with a supernet or a predictor (score,latency "
        "for bn-nas and parsec), else macs:max,latency.",
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


Candidates = Annotated[
    int | None,
    typer.Option(
        min=8, help="Number of architectures that --method predictor trains shortly; 40 when left out.",
        show_default=False,
    ),
]  # fmt: skip
Confirm = Annotated[
    int | None,
    typer.Option(
        min=0, help="Number of architectures of the front that --method predictor trains to confirm them; 3 when left "
        "out.", show_default=False,
    ),
]  # fmt: skip
TrainingEpochs = Annotated[
    int | None,
    typer.Option(
        "--training-epochs",
        min=1,
        help="Epochs of each training of --method predictor; 4 when left out.",
        show_default=False,
    ),
]
TrainingPictures = Annotated[
    int | None,
    typer.Option(
        "--training-pictures", min=1, help="Most training images of --method predictor; 10,000 when left out.",
        show_default=False,
    ),
]  # fmt: skip
ZeroCost = Annotated[
    str | None,
    typer.Option(
        help="Zero-cost scores from which --method predictor predicts too, separated by commas: naswot, jacov, snip."
    ),
]


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Options that say how the architectures of a search are scored, and what a predictor is made of."""

    strategy: StrategyOrNone = None
    data: DataOrNone = None
    data_dir: DataDir = None
    validation: Held = None
    validation_data: ValidationData = None
    validation_images: ValidationImagesOrAll = None
    bn_images: BatchNormImagesOrUsual = None
    threads: Threads = 1
    lut: LutFileOrNone = None
    candidates: Candidates = None
    confirm: Confirm = None
    training_epochs: TrainingEpochs = None
    training_pictures: TrainingPictures = None
    zero_cost: ZeroCost = None

    def predictor(self, method: str) -> PredictorSettings | None:
        """Return what a predictor is made of; None for another method.

        Raises:
            ScarletError: an option of the predictor was given for another method.
        """
        if method != "predictor":
            apply_only(
                False, "--method predictor", candidates=self.candidates, confirm=self.confirm, zero_cost=self.zero_cost,
                training_epochs=self.training_epochs, training_pictures=self.training_pictures,
            )  # fmt: skip
            return None
        from scarlet_zoo.nas.search.by_predictor import PredictorSettings

        usual = PredictorSettings()
        return PredictorSettings(
            candidates=self.candidates or usual.candidates,
            confirm=usual.confirm if self.confirm is None else self.confirm,
            training=replace(
                usual.training, epochs=self.training_epochs or usual.training.epochs, threads=self.threads
            ),
            images=self.training_pictures or usual.images,
            zero_cost=tuple(self.zero_cost.split(",")) if self.zero_cost else (),
        )

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
