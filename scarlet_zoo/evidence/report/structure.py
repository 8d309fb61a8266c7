"""What a report consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Cell = str | float | None


@dataclass(frozen=True)
class Table:
    """Rows of cells: text, or a number with the decimals of its column.

    Attributes:
        header: names of the columns, each with its unit.
        decimals: of the columns' numbers.
        conditions: under which the numbers hold, in a line.
    """

    title: str
    header: tuple[str, ...]
    decimals: tuple[int, ...]
    rows: tuple[tuple[Cell, ...], ...]
    conditions: str = ""

    def texts(self) -> list[list[str]]:
        """The cells as they are read."""
        return [
            [
                "" if cell is None else cell if isinstance(cell, str) else f"{cell:,.{places}f}"
                for cell, places in zip(row, self.decimals, strict=True)
            ]
            for row in self.rows
        ]


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        words: sentences.
        drawings: by name, each made when it is asked for, as SVG.
    """

    heading: str
    words: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    drawings: Mapping[str, Callable[[], str]] = field(default_factory=dict)
