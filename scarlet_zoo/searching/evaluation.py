"""What an architecture is worth: the values of the metrics, each from where it can be had."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from scarlet_zoo.arch import Arch
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.files import file_sha256
from scarlet_zoo.latency import cpu_model
from scarlet_zoo.lut.table import LatencyTable, read_table
from scarlet_zoo.searching.objectives import CLOSED_FORM, closed_form
from scarlet_zoo.space import SearchSpace


@dataclass(frozen=True)
class Evaluation:
    """How architectures are evaluated; called with one, it gives its values by metric.

    It holds names and paths only, so that it travels to other processes and machines.

    Attributes:
        space: of the architectures.
        metrics: names among ``accuracy macs params latency``.
        supernet: file of the weights that accuracy is measured with.
        data: name of the data set, its folder, and how many pictures are held out.
        calibration: training pictures that batch norm statistics are taken from.
        validation: validation pictures that count; all when None.
        threads: of ONNX Runtime, for latency, and of torch.
        reference_ms: see :class:`scarlet_zoo.searching.meter.LatencyMeter`; measured when None.
        lut: file of a latency table that predicts latency; measured when None.
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
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if "accuracy" in self.metrics and (self.supernet is None or self.data is None):
            raise TrainingError("search: the objective accuracy needs a supernet and its data, wanted --supernet FILE")
        if self.lut is not None:
            table = read_table(self.lut)
            table.require(space=replace(self.space, num_classes=table.search_space.num_classes), threads=self.threads)
            table.require_here()
            self._loaded["table"] = table

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": {}}

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Values of the metrics."""
        told = closed_form(arch) if set(CLOSED_FORM) & set(self.metrics) else {}
        if "accuracy" in self.metrics:
            told["accuracy"] = self._scorer(arch)
        if "latency" in self.metrics:
            told["latency"] = self._meter(arch) if self.table is None else float(self.table.predict([arch])[0, 0])
        return {name: told[name] for name in self.metrics}

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """What the values depend on, as JSON values."""
        said: dict[str, Any] = {"space": self.space.to_json(), "metrics": list(self.metrics)}
        if "accuracy" in self.metrics and self.supernet is not None and self.data is not None:
            from scarlet_zoo.checkpoint import read_metadata

            # Of the tensors: the file's own bytes differ from one writing to the next.
            digest = read_metadata(self.supernet).get("sha256") or file_sha256(self.supernet)
            said |= {"supernet_sha256": digest, "data": self.data[0], "held_out": self.data[2],
                     "calibration": self.calibration, "validation": self.validation}  # fmt: skip
        if "latency" in self.metrics and self.table is not None:
            said["latency_table"] = self.table.stamp.model_dump(mode="json")
            said["latency_table_sha256"] = file_sha256(Path(str(self.lut)))
        elif "latency" in self.metrics:
            import onnxruntime

            said |= {
                "device": cpu_model(),
                "runtime": f"onnxruntime {onnxruntime.__version__}",
                "threads": self.threads,
            }
        return said

    @property
    def table(self) -> LatencyTable | None:
        """What predicts latency, where something does."""
        if self.lut is not None and "table" not in self._loaded:
            self._loaded["table"] = read_table(self.lut)
        table: LatencyTable | None = self._loaded.get("table")
        return table

    @property
    def _scorer(self) -> Any:
        from scarlet_zoo.searching.scores import SupernetScorer

        if "scorer" not in self._loaded:
            assert self.supernet is not None
            assert self.data is not None
            pictures = (self.calibration, self.validation)
            self._loaded["scorer"] = SupernetScorer(self.supernet, self.data, *pictures, self.threads)
        return self._loaded["scorer"]

    @property
    def _meter(self) -> Any:
        from scarlet_zoo.searching.meter import LatencyMeter

        if "meter" not in self._loaded:
            self._loaded["meter"] = LatencyMeter(self.space, self.threads, self.reference_ms)
        return self._loaded["meter"]
