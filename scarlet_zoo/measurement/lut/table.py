"""A device's latency table: what was measured, how it predicts, and how wrong it is.

A table is stamped with what its numbers hold for and never travels without its error on networks that it has not seen.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import TableError
from scarlet_zoo.measurement.lut.keys import HEAD, STEM, decision_key
from scarlet_zoo.utils.files import write_text

Milliseconds = Annotated[FiniteFloat, Field(gt=0)]
Share = Annotated[FiniteFloat, Field(ge=0)]
# Architectures as positions of their decisions among those that the space allows, (architectures, decisions).
Genes = NDArray[np.int64]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Stamp(_Strict):
    """What the numbers hold for."""

    device: str
    machine: str
    cpu_features: list[str]
    runtime: str
    runtime_version: str
    threads: PositiveInt
    spin: bool
    precision: Literal["float32", "int8"]
    form: str
    date: str


class Network(_Strict):
    """A whole network, measured and predicted without it.

    Attributes:
        stable: whether its runs varied by at most 5 %; None in a table that does not say it.
    """

    arch: str
    measured_ms: Milliseconds
    predicted_ms: Milliseconds
    stable: bool | None = None


class Calibration(_Strict):
    """From a sum of blocks to a network: ``offset_ms + slope * sum``, and the error that is to be expected.

    Attributes:
        error: share of the prediction; so much above and below lie ``coverage`` of all networks.
        networks: each predicted by a calibration on the others.
    """

    offset_ms: FiniteFloat
    slope: Annotated[FiniteFloat, Field(gt=0)]
    error: Share
    coverage: Annotated[FiniteFloat, Field(gt=0, lt=1)]
    networks: list[Network]


class Errors(_Strict):
    """How wrong predictions were on networks that calibration has not seen, as shares of what was measured."""

    mean: Share
    p95: Share
    largest: Share
    spearman: FiniteFloat


class HeldOut(_Strict):
    """The table's own error.

    Attributes:
        predictor: of the predictions.
        block_sum: of the plain sum of blocks.
        macs: of a line through multiply-adds, fitted to the same calibration networks.
        covered: share of the networks inside their interval.
        repeat: of one half of the measurements as a prediction of the other half.
    """

    predictor: Errors
    block_sum: Errors
    macs: Errors
    covered: Share
    repeat: Errors
    networks: list[Network]


class LatencyTable(_Strict):
    """Latency of every block of a search space on one device.

    Attributes:
        space: the definition of the search space.
        blocks: milliseconds by :func:`scarlet_zoo.measurement.lut.keys.piece_key`.
    """

    format: Literal[1] = 1
    space: str
    stamp: Stamp
    blocks: dict[str, Milliseconds]
    calibration: Calibration
    held_out: HeldOut

    @cached_property
    def search_space(self) -> SearchSpace:
        """The space that the table is for."""
        return SearchSpace.from_json(self.space)

    @property
    def measured_networks(self) -> list[Network]:
        """The whole networks that the table stands on: those of its calibration, and those of its error."""
        return [*self.calibration.networks, *self.held_out.networks]

    @property
    def stable(self) -> bool | None:
        """Whether every whole network was measured steadily; None in a table that does not say it."""
        marks = {network.stable for network in self.measured_networks}
        return False if False in marks else None if None in marks else True

    def require(self, **wanted: Any) -> None:
        """Refuse to be used for something else.

        Args:
            wanted: fields of the stamp, or ``space`` with a search space; None is anything.

        Raises:
            TableError: the table is for another; both values are named. On the device of the table, the runtime that
                is installed must be the table's, too.
        """
        space = wanted.pop("space", None)
        if space is not None and space != self.search_space:
            raise TableError(f"latency table: of space {self.search_space.name!r}, wanted {space.name!r} as it is now")
        told = self.stamp.model_dump()
        apart = [f"{key} {told[key]!r}, wanted {value!r}" for key, value in wanted.items()
                 if value is not None and told[key] != value]  # fmt: skip
        if apart:
            raise TableError(f"latency table: of {'; '.join(apart)}")

    def require_here(self) -> None:
        """On the device of the table, refuse a runtime that is not the table's."""
        import onnxruntime

        if self.is_of_this_device and self.stamp.runtime == "onnxruntime":
            self.require(runtime_version=onnxruntime.__version__)

    @property
    def is_of_this_device(self) -> bool:
        """Whether it was measured on a processor like this one."""
        from scarlet_zoo.latency import cpu_features, cpu_model

        here = (cpu_model(), platform.machine(), cpu_features())
        return here == (self.stamp.device, self.stamp.machine, self.stamp.cpu_features)

    @cached_property
    def _sums(self) -> tuple[float, list[NDArray[np.float64]]]:
        """Of stem and head, and by decision and token."""
        space = self.search_space
        keys = [[decision_key(space, position, token) for token in allowed]
                for position, allowed in enumerate(space.decisions)]  # fmt: skip
        values = [np.array([0.0 if key is None else self.blocks[key] for key in row]) for row in keys]
        return self.blocks[STEM] + self.blocks[HEAD], values

    @cached_property
    def _places(self) -> list[dict[str, int]]:
        return [{token: place for place, token in enumerate(allowed)} for allowed in self.search_space.decisions]

    def genes(self, archs: Sequence[Arch]) -> Genes:
        """Architectures as positions of their decisions."""
        decided = [arch.decisions for arch in archs]
        columns = [[places[row[index]] for row in decided] for index, places in enumerate(self._places)]
        return np.array(columns, dtype=np.int64).T.reshape(len(archs), len(self._places))

    def block_sum(self, genes: Genes) -> NDArray[np.float64]:
        """Plain sums of blocks, in milliseconds."""
        edge, decisions = self._sums
        total = np.full(len(genes), edge)
        for index, values in enumerate(decisions):
            total += values[genes[:, index]]
        return total

    def predict_genes(self, genes: Genes) -> NDArray[np.float64]:
        """``p50_ms low_ms high_ms`` of architectures given as positions of their decisions, (N, 3)."""
        p50 = self.calibration.offset_ms + self.calibration.slope * self.block_sum(genes)
        error = self.calibration.error
        return np.stack([p50, p50 * (1 - error), p50 * (1 + error)], axis=1)

    def predict(self, archs: Sequence[Arch]) -> NDArray[np.float64]:
        """``p50_ms low_ms high_ms`` of architectures, (N, 3); the interval covers ``calibration.coverage`` of them."""
        return self.predict_genes(self.genes(archs))

    def write(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        write_text(path, self.model_dump_json(indent=1) + "\n")


def read_table(path: Path) -> LatencyTable:
    """A table that was written.

    Raises:
        TableError: it cannot be read, is no table, or lacks a block of its own space.
    """
    try:
        table = LatencyTable.model_validate_json(path.read_text(encoding="utf-8"))
        assert table._sums
        return table
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror}, wanted a file of lut build") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "whole"
        raise TableError(f"{path}: {place}: {first['msg']}; wanted a file of lut build") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not text, wanted a file of lut build") from error
    except KeyError as error:
        raise TableError(f"{path}: block {error} is not in it, wanted every block of its space") from error
