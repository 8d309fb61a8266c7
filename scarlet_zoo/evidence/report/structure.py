"""The parts of a report: sections and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Cell = str | float | None


@dataclass(frozen=True)
class Table:
    """A table whose cells are text, or numbers with the decimals of their column.

    Attributes:
        header: names of the columns, each with its unit.
        decimals: decimals of each column's numbers.
        conditions: the conditions of the numbers, in one line.
    """

    title: str
    header: tuple[str, ...]
    decimals: tuple[int, ...]
    rows: tuple[tuple[Cell, ...], ...]
    conditions: str = ""

    def texts(self) -> list[list[str]]:
        """Return the cells as text."""
        return [
            [
                "" if cell is None else cell if isinstance(cell, str) else f"{cell:,.{places}f}"
                for cell, places in zip(row, self.decimals, strict=True)
            ]
            for row in self.rows
        ]


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        words: its sentences.
        drawings: functions that draw its plots as SVG, by name.
    """

    heading: str
    words: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    drawings: Mapping[str, Callable[[], str]] = field(default_factory=dict)
