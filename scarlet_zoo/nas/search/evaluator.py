"""Evaluate architectures: accuracy by a supernet, size in closed form, latency measured or from a table."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.data.pixel_kinds import turned_grey_line
from scarlet_zoo.data.preprocessing import RULE
from scarlet_zoo.errors import ScarletError, ScarletWarning, TrainingError
from scarlet_zoo.latency import cpu_model
from scarlet_zoo.measurement.lut.table import LatencyTable, read_table
from scarlet_zoo.nas.search.objectives import CLOSED_FORM, METRICS, SCORED, closed_form
from scarlet_zoo.utils.files import file_sha256

if TYPE_CHECKING:
    from scarlet_zoo.data.datasets import ImageData

# Data sets whose images every version of the rule of preprocessing prepares alike, so that it is no condition of them.
_LIKE_BEFORE = ("fashion-mnist", "torchvision:")


class Estimator(Protocol):
    """Estimates what a supernet would else score."""

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Return the estimates of an architecture by metric."""

    @property
    def conditions(self) -> dict[str, Any]:
        """What the estimates depend on, as JSON values."""


@dataclass(frozen=True)
class Evaluation:
    """How architectures are evaluated; calling it with an architecture returns the values by metric.

    Further numbers that a strategy returns, such as a variance, are among the values under their own names. The
    fields are names and paths only, so that an evaluation can be sent to other processes and machines.

    Attributes:
        space: search space of the architectures.
        metrics: names among ``loss accuracy score macs params latency``; ``score`` is what the strategy ranks by, which
            for many strategies is the accuracy.
        supernet: file of the supernet whose weights accuracy is measured with.
        data: name of the data set, its folder, and the number of validation images split off the training images.
        calibration: number of training images that batch norm statistics are computed from.
        validation: number of validation images that are used; all when None.
        threads: intra-op threads of ONNX Runtime, for latency, and threads of torch.
        reference_ms: see :class:`scarlet_zoo.nas.search.latency_meter.LatencyMeter`; measured when None.
        lut: file of a latency table that predicts latency; latency is measured when None.
        strategy: name of the strategy that scores; the one that trained the supernet when None.
        validation_data: folder of one's own validation images; no training images are then split off.
        predictor: predicts loss or accuracy in the place of a supernet; see
            :mod:`scarlet_zoo.nas.search.by_predictor`.

    Raises:
        TrainingError: accuracy or score is wanted without a supernet and its data.
    """

    space: SearchSpace
    metrics: tuple[str, ...]
    supernet: Path | None = None
    data: tuple[str, Path | None, int | None] | None = None
    calibration: int = 2000
    validation: int | None = None
    threads: int = 1
    reference_ms: float | None = None
    lut: Path | None = None
    strategy: str | None = None
    validation_data: str | None = None
    predictor: Estimator | None = None
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._is_scored and (self.supernet is None or self.data is None):
            name = next(name for name in self.metrics if name in SCORED)
            raise TrainingError(f"search: the objective {name} needs a supernet and its data, wanted --supernet FILE")
        if self.lut is not None:
            table = read_table(self.lut)
            table.require(space=replace(self.space, num_classes=table.search_space.num_classes), threads=self.threads)
            table.require_here()
            if (got := table.search_space.num_classes) != self.space.num_classes:
                wanted = self.space.num_classes
                warnings.warn(
                    f"{self.lut}: the table is of networks of {got} classes, and these have {wanted}, so predicted "
                    f"times are off by a constant; num_classes = {wanted} in the space of the table makes them right",
                    ScarletWarning,
                    stacklevel=2,
                )
            self._loaded["table"] = table

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": {}}

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Return the values of the metrics, by name."""
        values = closed_form(arch) if set(CLOSED_FORM) & set(self.metrics) else {}
        if self.predictor is not None:
            values |= self.predictor(arch)
        elif self._is_scored:
            values |= self._score(arch)
        if "latency" in self.metrics:
            values["latency"] = self.latency(arch)
        others = {name: value for name, value in values.items() if name not in METRICS}
        return {**{name: values[name] for name in self.metrics}, **others}

    def latency(self, arch: Arch) -> float:
        """Return the latency of an architecture in milliseconds, measured or as the table predicts it."""
        return float(self._meter(arch) if self.table is None else self.table.predict([arch])[0, 0])

    @property
    def _is_scored(self) -> bool:
        """Whether a supernet scores."""
        return self.predictor is None and not SCORED.isdisjoint(self.metrics)

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """Everything that the values depend on, as JSON values."""
        conditions: dict[str, Any] = {"space": self.space.to_json(), "metrics": list(self.metrics)}
        if self.predictor is not None:
            conditions |= self.predictor.conditions
        if self._is_scored and self.supernet is not None and self.data is not None:
            from scarlet_zoo.models.weights.checkpoint import read_metadata

            # The digest of the tensors, since the bytes of the file differ each time that it is written.
            digest = read_metadata(self.supernet).get("sha256") or file_sha256(self.supernet)
            conditions |= {"supernet_sha256": digest, "data": self.data[0], "held_out": self.data[2],
                     "calibration": self.calibration, "validation": self.validation}  # fmt: skip
            conditions |= {"strategy": self.strategy} if self.strategy is not None else {}
            if not self.data[0].startswith(_LIKE_BEFORE):
                conditions["preprocessing_rule"] = RULE
            conditions |= {"validation_data": self.validation_data} if self.validation_data is not None else {}
        if "latency" in self.metrics and self.table is not None:
            conditions["latency_table"] = self.table.stamp.model_dump(mode="json")
            conditions["latency_table_sha256"] = file_sha256(Path(str(self.lut)))
        elif "latency" in self.metrics:
            import onnxruntime

            conditions |= {
                "device": cpu_model(),
                "runtime": f"onnxruntime {onnxruntime.__version__}",
                "threads": self.threads,
            }
        return conditions

    @property
    def table(self) -> LatencyTable | None:
        """The latency table that predicts latency, or None where latency is measured."""
        if self.lut is not None and "table" not in self._loaded:
            self._loaded["table"] = read_table(self.lut)
        table: LatencyTable | None = self._loaded.get("table")
        return table

    def tell_grey(self) -> bool:
        """Whether the images of the score show colour and are turned grey, which a warning then says.

        Images that cannot be opened are the business of the score, which may not need them.
        """
        if not self._is_scored or self.space.in_chans != 1:
            return False
        with suppress(ScarletError):
            images: ImageData = self._bench.images
            if images.turned_grey:
                line = turned_grey_line(f"data {images.name}: the images", f"the space {self.space.name}")
                warnings.warn(line, ScarletWarning, stacklevel=3)
            return images.turned_grey
        return False

    @property
    def validation_pictures(self) -> int | None:
        """Number of validation images that a supernet is judged on; None where none scores, or they are not here."""
        if self._is_scored:
            with suppress(ScarletError):
                count = len(self._bench.validation)
                return count if self.validation is None else min(count, self.validation)
        return None

    @property
    def _bench(self) -> Any:
        from scarlet_zoo.nas.one_shot import OneShot

        if "bench" not in self._loaded:
            assert self.supernet is not None
            assert self.data is not None
            self._loaded["bench"] = OneShot(self.supernet, self.data, self.calibration, self.validation, self.threads,
                                            self.validation_data)  # fmt: skip
        return self._loaded["bench"]

    def _score(self, arch: Arch) -> dict[str, float]:
        """The numbers of the strategy, with accuracy and loss where the metrics have them beside another score."""
        from scarlet_zoo.nas.strategies.registry import scorer_of

        if "scorer" not in self._loaded:
            self._loaded["scorer"] = scorer_of(self._bench, self.strategy)
        values: dict[str, float] = self._loaded["scorer"](arch)
        if not {"accuracy", "loss"}.isdisjoint(set(self.metrics) - set(values)):
            values = {**self._bench.scores(arch), **values}
        return {**values, "score": values["score"] if "score" in values else values["accuracy"]}

    @property
    def _meter(self) -> Any:
        from scarlet_zoo.nas.search.latency_meter import LatencyMeter

        if "meter" not in self._loaded:
            self._loaded["meter"] = LatencyMeter(self.space, self.threads, self.reference_ms)
        return self._loaded["meter"]
