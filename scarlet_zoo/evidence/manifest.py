"""The manifest of ``export/``: what each network became for each target, from which weights, and made under what."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeFloat, PositiveInt, ValidationError

from scarlet_zoo.errors import RecordError
from scarlet_zoo.utils.files import json_text, write_text

Text = Annotated[str, Field(min_length=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Bound(_Strict):
    """How far the file may be from its network, fields of :class:`scarlet_zoo.deployment.parity.Tolerance`."""

    max_rel_err: NonNegativeFloat
    rounding_factor: NonNegativeFloat
    unlike_factor: NonNegativeFloat
    min_sqnr_db: FiniteFloat
    min_top1_agreement: Share
    reason: Text


class RowParity(_Strict):
    """How far the file is from its network, see :class:`scarlet_zoo.deployment.parity.Parity`.

    Attributes:
        images: which images these four numbers are from.
        sqnr_db: None where the file is equal to the last bit.
    """

    images: Text
    max_abs_err: NonNegativeFloat
    max_rel_err: NonNegativeFloat
    sqnr_db: FiniteFloat | None
    top1_agreement: Share
    tolerance: Bound


class Calibration(_Strict):
    """What integers were calibrated on, and how; ``isa`` is the preset of instruction sets."""

    images: Text
    count: PositiveInt
    method: Literal["minmax", "percentile", "mse"]
    isa: Text


class Conditions(_Strict):
    """What a row was made under.

    Attributes:
        versions: of Python and of the packages that had a hand in the file.
        processor: its name and its machine as the system gives them, and those of its instruction sets that matter.
        date: ISO 8601, UTC.
    """

    versions: dict[str, Text]
    processor: Text
    machine: Text
    instruction_sets: list[Text]
    date: Text


class ExportRow(_Strict):
    """A network for a target.

    Attributes:
        weights, weights_sha256: where the weights come from, and the digest of the state dict.
        files: SHA-256 by path below the network's folder of the target; ``file`` is the one to open.
        operators: how many nodes of each type the graph in the file has; None where the format is not read here.
        parity: None where this machine cannot run the file.
        calibration: of integers.
        seconds: that the export and its verification took.
    """

    network: Text
    target: Text
    arch: Text
    graph_variant: Text
    runtime: Text
    precision: Text
    weights: Text
    weights_sha256: Digest
    file: Text
    files: Annotated[dict[Text, Digest], Field(min_length=1)]
    bytes: PositiveInt
    opset: PositiveInt | None
    operators: dict[str, PositiveInt] | None
    parity: RowParity | None
    calibration: Calibration | None
    seconds: NonNegativeFloat
    conditions: Conditions

    @property
    def key(self) -> tuple[str, str]:
        """What there is one row of."""
        return self.network, self.target


class LeftOut(_Strict):
    """A target that this machine cannot export to, and why."""

    target: Text
    reason: Text


class Manifest(_Strict):
    """All rows, and the targets that have none."""

    rows: tuple[ExportRow, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def row(self, network: str, target: str) -> ExportRow | None:
        """The row of a network and a target, if there is one."""
        return next((row for row in self.rows if row.key == (network, target)), None)

    def with_row(self, new: ExportRow, networks: Iterable[str], targets: Iterable[str]) -> Manifest:
        """With a row in the place of the older one, in the order of networks and targets."""
        order = [(network, target) for network in networks for target in targets]
        rows = {row.key: row for row in (*self.rows, new)}
        known = [rows.pop(key) for key in order if key in rows]
        return Manifest(rows=(*known, *rows.values()), left_out=self.left_out)

    def with_left_out(self, reasons: dict[str, str], asked: Iterable[str]) -> Manifest:
        """With why targets are left out, of those that were asked for; a target that has rows is not left out."""
        have = {row.target for row in self.rows}
        kept = {entry.target: entry.reason for entry in self.left_out if entry.target not in set(asked)}
        both = {target: reason for target, reason in (kept | reasons).items() if target not in have}
        entries = [LeftOut(target=target, reason=both[target]) for target in sorted(both)]
        return Manifest(rows=self.rows, left_out=tuple(entries))


def read_manifest(path: Path) -> Manifest:
    """Read a manifest strictly; an empty one where there is no file.

    Raises:
        RecordError: the first thing that is wrong with it, and where.
    """
    if not path.exists():
        return Manifest()
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "whole"
        raise RecordError(f"{path}: {place}: {first['msg']}; wanted a manifest of export_zoo.py") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest atomically, one line a row, so that a change of one row is a change of one line."""
    content = json.loads(json_text(manifest.model_dump(mode="json")))
    rows, left_out = (",\n".join("  " + json_text(entry) for entry in content[key]) for key in ("rows", "left_out"))
    write_text(path, f'{{\n "rows": [\n{rows}\n ],\n "left_out": [\n{left_out}\n ]\n}}\n')
