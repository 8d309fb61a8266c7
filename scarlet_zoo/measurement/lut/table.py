"""A device's latency table: measured blocks, the prediction of whole networks, and its error.

A table's stamp says which device, runtime and settings its numbers hold for. A table always has its error on networks
that its calibration has not seen.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError, field_validator

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import TableError
from scarlet_zoo.latency import CPU
from scarlet_zoo.measurement.lut.keys import HEAD, STEM, decision_key
from scarlet_zoo.utils.files import write_text
from scarlet_zoo.utils.reading import bounded_text, parse_json
from scarlet_zoo.utils.schema_versions import SCHEMAS, refuse_newer

Milliseconds = Annotated[FiniteFloat, Field(gt=0)]
Share = Annotated[FiniteFloat, Field(ge=0)]
# The encoding of architectures: for each decision the index of its token among those that the space allows,
# (architectures, decisions).
Encoded = NDArray[np.int64]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Stamp(_Strict):
    """The device, runtime and settings that a table's numbers hold for; early tables lack the provider."""

    device: str
    machine: str
    cpu_features: list[str]
    runtime: str
    runtime_version: str
    provider: str = CPU
    threads: PositiveInt
    spin: bool
    precision: Literal["float32", "int8"]
    form: str
    date: str


class Network(_Strict):
    """A whole network's measured latency, and its prediction by a calibration that has not seen it.

    Attributes:
        stable: whether its runs varied by at most 5 %; None in an early table, which lacks the field.
    """

    arch: str
    measured_ms: Milliseconds
    predicted_ms: Milliseconds
    stable: bool | None = None


class Calibration(_Strict):
    """Prediction of a network from the sum of its blocks, ``offset_ms + slope * sum``, and the error to expect.

    Attributes:
        error: relative error of the prediction that a share ``coverage`` of all networks stays within.
        networks: the calibration networks, each predicted by a calibration on the others.
    """

    offset_ms: FiniteFloat
    slope: Annotated[FiniteFloat, Field(gt=0)]
    error: Share
    coverage: Annotated[FiniteFloat, Field(gt=0, lt=1)]
    networks: list[Network]


class Errors(_Strict):
    """Relative errors on networks that calibration has not seen (mean, 95th percentile, largest); rank correlation."""

    mean: Share
    p95: Share
    largest: Share
    spearman: FiniteFloat


class HeldOut(_Strict):
    """The table's error on its held-out networks.

    Attributes:
        predictor: errors of the table's predictions.
        block_sum: errors of the plain sum of blocks.
        macs: errors of a line through multiply-adds, fitted to the same calibration networks.
        covered: share of the networks whose latency is inside the predicted interval.
        repeat: errors of one half of the rounds as a prediction of the other half; None for one round, which has no
            halves, and None is read for the zeros that early tables of one round hold.
        networks: the held-out networks.
    """

    predictor: Errors
    block_sum: Errors
    macs: Errors
    covered: Share
    repeat: Errors | None
    networks: list[Network]

    @field_validator("repeat")
    @classmethod
    def _of_halves(cls, repeat: Errors | None) -> Errors | None:
        return None if repeat is not None and repeat.largest == 0 else repeat


class LatencyTable(_Strict):
    """Latency of every block of a search space on one device.

    Attributes:
        space: the definition of the search space.
        stamp: what the numbers hold for.
        format: the version of the schema, which other files call ``schema_version``.
        blocks: latency of each block in milliseconds, by :func:`scarlet_zoo.measurement.lut.keys.piece_key`.
    """

    format: PositiveInt = SCHEMAS["latency table"]
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
        """All whole networks that were measured: calibration networks and held-out networks."""
        return [*self.calibration.networks, *self.held_out.networks]

    @property
    def stable(self) -> bool | None:
        """Whether every whole network was measured steadily; None in an early table, which lacks the marks."""
        marks = {network.stable for network in self.measured_networks}
        return False if False in marks else None if None in marks else True

    def require(self, **wanted: Any) -> None:
        """Check that the table is for this search space and these fields of the stamp.

        Args:
            wanted: values by field of the stamp, or ``space`` with a search space; None accepts any value.

        Raises:
            TableError: the table is for something else; the message names both values.
        """
        space = wanted.pop("space", None)
        if space is not None and space != self.search_space:
            raise TableError(
                f"latency table: is for space {self.search_space.name!r}, wanted {space.name!r} as now defined"
            )
        stamp = self.stamp.model_dump()
        apart = [f"{key} {stamp[key]!r}, wanted {value!r}" for key, value in wanted.items()
                 if value is not None and stamp[key] != value]  # fmt: skip
        if apart:
            raise TableError(f"latency table: is for {'; '.join(apart)}")

    def require_here(self) -> None:
        """On the table's own device, check that the installed runtime is the table's; raises TableError if not."""
        import onnxruntime

        if self.is_of_this_device and self.stamp.runtime == "onnxruntime":
            self.require(runtime_version=onnxruntime.__version__)

    @property
    def is_of_this_device(self) -> bool:
        """Whether the table was measured on a processor like this machine's."""
        from scarlet_zoo.latency import cpu_features, cpu_model

        here = (cpu_model(), platform.machine(), cpu_features())
        return here == (self.stamp.device, self.stamp.machine, self.stamp.cpu_features)

    @cached_property
    def _sums(self) -> tuple[float, list[NDArray[np.float64]]]:
        """Milliseconds of stem and head together, and of each token by decision."""
        space = self.search_space
        keys = [[decision_key(space, position, token) for token in allowed]
                for position, allowed in enumerate(space.decisions)]  # fmt: skip
        values = [np.array([0.0 if key is None else self.blocks[key] for key in row]) for row in keys]
        return self.blocks[STEM] + self.blocks[HEAD], values

    @cached_property
    def _places(self) -> list[dict[str, int]]:
        return [{token: place for place, token in enumerate(allowed)} for allowed in self.search_space.decisions]

    def encode(self, archs: Sequence[Arch]) -> Encoded:
        """The encoding of architectures, (architectures, decisions)."""
        decided = [arch.decisions for arch in archs]
        columns = [[places[row[index]] for row in decided] for index, places in enumerate(self._places)]
        return np.array(columns, dtype=np.int64).T.reshape(len(archs), len(self._places))

    def block_sum(self, encoded: Encoded) -> NDArray[np.float64]:
        """Plain sums of blocks in milliseconds, (architectures,), of encoded architectures."""
        edge, decisions = self._sums
        total = np.full(len(encoded), edge)
        for index, values in enumerate(decisions):
            total += values[encoded[:, index]]
        return total

    def predict_encoded(self, encoded: Encoded) -> NDArray[np.float64]:
        """Predicted ``p50_ms low_ms high_ms`` of encoded architectures, (N, 3)."""
        p50 = self.calibration.offset_ms + self.calibration.slope * self.block_sum(encoded)
        error = self.calibration.error
        return np.stack([p50, p50 * (1 - error), p50 * (1 + error)], axis=1)

    def predict(self, archs: Sequence[Arch]) -> NDArray[np.float64]:
        """Predicted ``p50_ms low_ms high_ms``, (N, 3); the interval covers a share ``calibration.coverage`` of them."""
        return self.predict_encoded(self.encode(archs))

    def parts_ms(self) -> tuple[float, list[NDArray[np.float64]]]:
        """Predicted milliseconds as a sum: those of every network, and for each decision those of each option."""
        edge, decisions = self._sums
        line = self.calibration
        return line.offset_ms + line.slope * edge, [line.slope * values for values in decisions]

    @property
    def reach_ms(self) -> tuple[float, float]:
        """Predicted milliseconds of the fastest and of the slowest network of the space."""
        edge, decisions = self.parts_ms()
        low, high = (edge + sum(float(pick(values)) for values in decisions) for pick in (np.min, np.max))
        return low, high

    def write(self, path: Path) -> None:
        """Write the table as JSON, atomically."""
        write_text(path, self.model_dump_json(indent=1) + "\n")


def read_table(path: Path) -> LatencyTable:
    """Read a table from the file that :meth:`LatencyTable.write` wrote.

    Raises:
        TableError: the file cannot be read, is not a table, is of a newer schema, or lacks a block of its own space.
    """
    try:
        text = bounded_text(path)
        refuse_newer("latency table", parse_json(text, finite=False), path, TableError, "format")
        table = LatencyTable.model_validate_json(text)
        assert table._sums
        return table
    except TableError:
        raise
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror}, wanted a file of lut build") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "whole"
        raise TableError(f"{path}: {place}: {first['msg']}; wanted a file of lut build") from error
    except ValueError as error:
        raise TableError(f"{path}: cannot be read: {error}, wanted a file of lut build") from error
    except KeyError as error:
        raise TableError(f"{path}: block {error} is missing, wanted every block of its space") from error
