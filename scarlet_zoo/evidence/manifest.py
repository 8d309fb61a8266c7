"""The manifest of ``export/``: the files of each network for each target, their weights and conditions."""

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
    """The allowed difference between file and network, see :class:`scarlet_zoo.deployment.parity.Tolerance`."""

    max_rel_err: NonNegativeFloat
    rounding_factor: NonNegativeFloat
    unlike_factor: NonNegativeFloat
    min_sqnr_db: FiniteFloat
    min_top1_agreement: Share
    reason: Text


class RowParity(_Strict):
    """The measured difference between file and network, see :class:`scarlet_zoo.deployment.parity.Parity`.

    Attributes:
        images: description of the images that the four numbers are of.
        sqnr_db: in decibels; None where all bits are equal.
    """

    images: Text
    max_abs_err: NonNegativeFloat
    max_rel_err: NonNegativeFloat
    sqnr_db: FiniteFloat | None
    top1_agreement: Share
    tolerance: Bound


class Calibration(_Strict):
    """How an int8 file was calibrated: images, their number, method, and the preset of instruction sets."""

    images: Text
    count: PositiveInt
    method: Literal["minmax", "percentile", "mse"]
    isa: Text


class Conditions(_Strict):
    """The conditions under which a file was made.

    Attributes:
        versions: versions of Python and of the packages that made the file.
        processor, machine: name and architecture of the processor, as the operating system reports them.
        instruction_sets: those of its instruction sets that matter to the file.
        date: ISO 8601, UTC.
    """

    versions: dict[str, Text]
    processor: Text
    machine: Text
    instruction_sets: list[Text]
    date: Text


class ExportRow(_Strict):
    """The row of a network for a target.

    Attributes:
        weights, weights_sha256: source of the weights, and the digest of the state dict.
        files: SHA-256 of each file, by path below the folder of the target; ``file`` is the one to open.
        operators: number of nodes of each type in the graph; None for formats that we do not read.
        parity: difference from the network; None where this machine cannot run the file.
        calibration: calibration of an int8 file; None for other files.
        seconds: duration of the export and its verification.
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
        """The key of the row: network and target."""
        return self.network, self.target


class LeftOut(_Strict):
    """A target that this machine cannot export to, with the reason."""

    target: Text
    reason: Text


class Manifest(_Strict):
    """All rows, and the targets that were left out."""

    rows: tuple[ExportRow, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def row(self, network: str, target: str) -> ExportRow | None:
        """Return the row of a network and a target, or None."""
        return next((row for row in self.rows if row.key == (network, target)), None)

    def with_row(self, new: ExportRow, networks: Iterable[str], targets: Iterable[str]) -> Manifest:
        """Return a manifest in which a row replaces the older one, in the order of networks and targets."""
        order = [(network, target) for network in networks for target in targets]
        rows = {row.key: row for row in (*self.rows, new)}
        known = [rows.pop(key) for key in order if key in rows]
        return Manifest(rows=(*known, *rows.values()), left_out=self.left_out)

    def with_left_out(self, reasons: dict[str, str], asked: Iterable[str]) -> Manifest:
        """Return a manifest with the reasons why targets are left out; targets that have rows are not left out.

        Args:
            reasons: new reasons by target.
            asked: targets that were tried; their older reasons are dropped.
        """
        have = {row.target for row in self.rows}
        older = {entry.target: entry.reason for entry in self.left_out if entry.target not in set(asked)}
        both = {target: reason for target, reason in (older | reasons).items() if target not in have}
        entries = [LeftOut(target=target, reason=both[target]) for target in sorted(both)]
        return Manifest(rows=self.rows, left_out=tuple(entries))


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; it is empty where there is no file.

    Raises:
        RecordError: the file cannot be read or is invalid; the message names the first wrong field.
    """
    if not path.exists():
        return Manifest()
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "whole"
        raise RecordError(f"{path}: {place}: {first['msg']}; wanted a manifest that export_zoo.py wrote") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest atomically, with one line for each row, so that a diff shows the rows that changed."""
    content = json.loads(json_text(manifest.model_dump(mode="json")))
    rows, left_out = (",\n".join("  " + json_text(entry) for entry in content[key]) for key in ("rows", "left_out"))
    write_text(path, f'{{\n "rows": [\n{rows}\n ],\n "left_out": [\n{left_out}\n ]\n}}\n')
