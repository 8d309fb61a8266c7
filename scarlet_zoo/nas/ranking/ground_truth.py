"""Ground truth: architectures of a small space, each trained on its own with several seeds.

Its folder holds three files: ``plan.toml`` says what is trained and how, ``ground_truth.csv`` has a row for each
training, and ``datapackage.json`` (Frictionless Data Package) describes the columns and their sources.
"""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, PositiveInt, ValidationError

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.branches import OFF
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.space_files import space_of
from scarlet_zoo.errors import DatasetError
from scarlet_zoo.utils.files import write_text
from scarlet_zoo.utils.reading import bounded_text, parse_toml

PLAN_FILE, ROWS_FILE, PACKAGE_FILE = "plan.toml", "ground_truth.csv", "datapackage.json"
_FIXED = ("arch", "seed", "macs", "params", "latency_ms", "core_seconds")
_EPOCH = "top1_epoch_"
_CONCENTRATION = 0.25  # of the Dirichlet distribution of a wide draw
Percent = Annotated[FiniteFloat, Field(ge=0, le=100)]


class TruthPlan(BaseModel):
    """The plan of a ground truth: which architectures are trained, and how.

    Attributes:
        title: title of the ground truth, for people.
        architectures, draw: number of different architectures that are drawn, and the seed of the draw.
        wide: None draws each layer uniformly, which makes whole networks much alike. A number in (0, 1] makes them
            differ: each network has its own share of skips, uniform from 0 to this number, and its own probabilities
            of the blocks, from a symmetric Dirichlet distribution of concentration 1/4, by which its layers are drawn.
        seeds: seeds of training; each architecture is trained once with each seed.
        data: name of the data set.
        pictures: number of training images that are used.
        training: fields of :class:`scarlet_zoo.training.settings.TrainSettings`.
        space: definition of the space, as in its TOML file, see :mod:`scarlet_zoo.arch.spaces`.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    title: str
    architectures: Annotated[int, Field(ge=2)]
    draw: NonNegativeInt
    wide: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = None
    seeds: Annotated[list[NonNegativeInt], Field(min_length=1)]
    data: str
    pictures: PositiveInt
    training: dict[str, int | float]
    space: dict[str, Any]

    @cached_property
    def search_space(self) -> SearchSpace:
        """The search space that ``space`` defines."""
        return space_of(self.space)

    @cached_property
    def archs(self) -> tuple[Arch, ...]:
        """The architectures, in the order in which they were drawn.

        Raises:
            DatasetError: the space has fewer than twice as many architectures.
        """
        rng, found = random.Random(self.draw), dict[str, Arch]()
        if self.search_space.size < 2 * self.architectures:
            raise DatasetError(f"ground truth: got {self.architectures} architectures to draw, wanted at most half of "
                               f"the {self.search_space.size} of the space")  # fmt: skip
        while len(found) < self.architectures:
            arch = _drawn(self.search_space, rng, self.wide)
            found[str(arch)] = arch
        return tuple(found.values())

    @property
    def trainings(self) -> list[tuple[Arch, int]]:
        """Every architecture with the first seed, then every one with the next seed, and so on."""
        return [(arch, seed) for seed in self.seeds for arch in self.archs]


def _drawn(space: SearchSpace, rng: random.Random, wide: float | None) -> Arch:
    if wide is None:
        return Arch.sample(space, rng)
    share = rng.uniform(0, wide)
    # Normalised gamma variates are a Dirichlet variate; a weighted draw needs no normalisation. The smallest positive
    # number is added so that a layer can be drawn even if the variates of all its blocks are zero.
    weights = {token: rng.gammavariate(_CONCENTRATION, 1.0) + sys.float_info.min for token, _ in space.choices}
    tokens = []
    for layer in space.layers:
        skips = [token for token in layer.tokens if space.choice(token).is_skip]
        blocks = [token for token in layer.tokens if token not in skips]
        skipped = bool(skips) and rng.random() < share
        tokens.append(skips[0] if skipped else rng.choices(blocks, [weights[token] for token in blocks])[0])
    return Arch.of(space, [*tokens, *(OFF for _ in space.branches)])


class TruthRow(BaseModel):
    """The row of one training.

    Attributes:
        arch: identity string of the architecture.
        macs, params: multiply-adds and parameters of the network.
        latency_ms: median of the measured latency, in milliseconds; None if it was not measured.
        core_seconds: processor time of the training, including validation, in seconds.
        top1: validation accuracy in percent after each epoch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arch: str
    seed: NonNegativeInt
    macs: PositiveInt
    params: PositiveInt
    latency_ms: Annotated[FiniteFloat, Field(gt=0)] | None
    core_seconds: Annotated[FiniteFloat, Field(gt=0)]
    top1: Annotated[list[Percent], Field(min_length=1)]

    @property
    def key(self) -> tuple[str, int]:
        """The key of the row: identity string and seed."""
        return self.arch, self.seed


@dataclass(frozen=True)
class GroundTruth:
    """The architectures that have been trained with every seed.

    Attributes:
        plan: the plan of the trainings.
        archs: the architectures, in the order of the plan.
        top1: validation accuracy in percent, (seeds, architectures, epochs).
        macs, params, latency_ms: costs, (architectures,); latency is NaN where it was not measured.
    """

    plan: TruthPlan
    archs: tuple[Arch, ...]
    top1: NDArray[np.float64]
    macs: NDArray[np.float64]
    params: NDArray[np.float64]
    latency_ms: NDArray[np.float64]

    @property
    def final(self) -> NDArray[np.float64]:
        """Accuracy after the last epoch, (seeds, architectures)."""
        last: NDArray[np.float64] = self.top1[:, :, -1]
        return last


def read_plan(folder: Path) -> TruthPlan:
    """Read the plan of a ground truth from its folder.

    Raises:
        DatasetError: there is no plan, or it is invalid.
    """
    path = folder / PLAN_FILE
    try:
        return TruthPlan.model_validate(parse_toml(bounded_text(path)))
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file, wanted the plan of a ground truth") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DatasetError(f"{path}: {where}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a plan in TOML: {str(error).splitlines()[0]}") from error


def read_rows(path: Path, epochs: int) -> list[TruthRow]:
    """Read the rows of a file; there are none where the file does not exist.

    An incomplete last line is dropped.

    Raises:
        DatasetError: the file has other columns or an invalid value; the message names file and line.
    """
    table = _cells_of(path)
    header = next(table, (1, _header(epochs)))[1]
    if header != _header(epochs):
        raise DatasetError(f"{path}: got columns {','.join(header)}, wanted {','.join(_header(epochs))}")
    rows: dict[tuple[str, int], TruthRow] = {}
    for number, cells in table:
        row = _row_of(cells, f"{path}, line {number}", len(header))
        if row.key in rows:
            raise DatasetError(
                f"{path}, line {number}: got {row.arch} with seed {row.seed} a second time, wanted it once"
            )
        rows[row.key] = row
    return list(rows.values())


def _cells_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The cells of each complete line of a CSV file, with its number; none where there is no file."""
    try:
        text = bounded_text(path) if path.exists() else ""
        table = csv.reader(line for line in text.splitlines(keepends=True) if line.endswith("\n"))
        yield from ((table.line_num, cells) for cells in table)
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(f"{path}: not the rows of a ground truth: {error}") from error


def _row_of(cells: list[str], where: str, columns: int) -> TruthRow:
    if len(cells) != columns:
        raise DatasetError(f"{where}: got {len(cells)} cells, wanted {columns}")
    fixed: Mapping[str, Any] = dict(zip(_FIXED, cells, strict=False))
    try:
        return TruthRow.model_validate(
            {**fixed, "latency_ms": fixed["latency_ms"] or None, "top1": cells[len(_FIXED) :]}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise DatasetError(f"{where}, {first['loc'][0]}: got {first['input']!r}: {first['msg']}") from error


def write_rows(path: Path, rows: Iterable[TruthRow], epochs: int) -> None:
    """Write all rows to a file, atomically."""
    lines = [_header(epochs), *(_cells(row) for row in rows)]
    write_text(path, "".join(",".join(line) + "\n" for line in lines))


def _header(epochs: int) -> list[str]:
    return [*_FIXED, *(f"{_EPOCH}{epoch}" for epoch in range(1, epochs + 1))]


def _cells(row: TruthRow) -> list[str]:
    latency = "" if row.latency_ms is None else f"{row.latency_ms:.4g}"
    top1 = (f"{value:.3f}" for value in row.top1)
    return [row.arch, str(row.seed), str(row.macs), str(row.params), latency, f"{row.core_seconds:.4g}", *top1]


def read_truth(folder: Path) -> GroundTruth:
    """Read the ground truth of a folder; architectures that lack a training with some seed are left out.

    Raises:
        DatasetError: plan or rows are missing or invalid, a row is not of the plan, or fewer than two architectures
            are complete.
    """
    plan = read_plan(folder)
    path = folder / ROWS_FILE
    found = {row.key: row for row in read_rows(path, int(plan.training["epochs"]))}
    strangers = found.keys() - {(str(arch), seed) for arch, seed in plan.trainings}
    if strangers:
        raise DatasetError(f"{path}: {min(strangers)} is not one of the trainings of {PLAN_FILE}")
    archs = tuple(a for a in plan.archs if all((str(a), seed) in found for seed in plan.seeds))
    if len(archs) < 2:
        raise DatasetError(f"{path}: got {len(archs)} architectures with every seed, wanted 2 or more")
    rows = [[found[str(arch), seed] for arch in archs] for seed in plan.seeds]
    first = rows[0]
    latency = [row.latency_ms if row.latency_ms is not None else np.nan for row in first]
    macs, params = ([float(getattr(row, name)) for row in first] for name in ("macs", "params"))
    top1 = np.array([[row.top1 for row in seed] for seed in rows])
    return GroundTruth(plan, archs, top1, np.array(macs), np.array(params), np.array(latency))
