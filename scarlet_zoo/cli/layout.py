"""Layout of results on a terminal of any width: names, paths and identity strings are never cut or broken."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from scarlet_zoo.utils.markdown import nodes_line, provider_mark, unstable_mark

if TYPE_CHECKING:
    from scarlet_zoo.deployment.tune import Tuning
    from scarlet_zoo.measurement.records import Record

_GAP, _INDENT, _SHORT = 2, 2, 16


@dataclass(frozen=True)
class Layout:
    """The layout of a table's columns for a given width.

    Attributes:
        shown: positions of the columns that are shown.
        widths: widths of the shown columns, in terminal cells.
        headers: headers of the shown columns, each as its lines.
        stacked: whether the first column has a line of its own above the others.
    """

    shown: tuple[int, ...]
    widths: tuple[int, ...]
    headers: tuple[tuple[str, ...], ...]
    stacked: bool

    @property
    def width(self) -> int:
        """Total width of the columns that stand side by side, in terminal cells."""
        beside = self.widths[1:] if self.stacked else self.widths
        return sum(beside) + _GAP * (len(beside) - 1) + (_INDENT if self.stacked else 0)


@dataclass(frozen=True)
class Grid:
    """A table whose columns after the first are aligned to the right.

    A table that is too wide is narrowed in steps. First its headers take several lines. Then the first column gets a
    line of its own, which the terminal may wrap. Then columns are left out from the right, and a last line lists them.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str | None = None
    left: tuple[int, ...] = ()

    def layout(self, width: int) -> Layout:
        """The first layout that fits ``width`` terminal cells, else the narrowest one."""
        whole = tuple(range(len(self.header)))
        # Only long first columns get a line of their own: names, paths, identity strings.
        stack = max((cell_len(row[0]) for row in self.rows), default=0) > _SHORT
        plans = [(whole, False, False), (whole, True, False)]
        plans += [(whole, False, True), (whole, True, True)] if stack else []
        plans += [(whole[:count], True, stack) for count in range(len(whole) - 1, 1, -1)]
        found = self._laid(*plans[0])
        for plan in plans:
            found = self._laid(*plan)
            if found.width <= width:
                break
        return found

    def _laid(self, shown: tuple[int, ...], narrow: bool, stacked: bool) -> Layout:
        headers, widths = [], []
        for place in shown:
            name = self.header[place]
            cells = max((cell_len(row[place]) for row in self.rows), default=0)
            least = max(cells, *(cell_len(word) for word in name.split() or [""]), 1)
            lines = tuple(textwrap.wrap(name, least, break_long_words=False) or [""]) if narrow else (name,)
            headers.append(lines)
            widths.append(max(cells, *(cell_len(line) for line in lines)))
        return Layout(shown, tuple(widths), tuple(headers), stacked)

    def lines(self, width: int) -> Iterator[tuple[str, str]]:
        """Yield the table's lines as (text, style) for ``width`` terminal cells."""
        layout = self.layout(width)
        if self.title is not None:
            yield self.title, "italic"
        if self.header and any(self.header):
            depth = max(len(lines) for lines in layout.headers)
            padded = [("",) * (depth - len(lines)) + lines for lines in layout.headers]
            for level in range(depth):
                yield from ((line, "bold") for line in self._row(layout, [lines[level] for lines in padded]))
        for row in self.rows:
            yield from ((line, "") for line in self._row(layout, [row[place] for place in layout.shown]))
        left_out = [name for place, name in enumerate(self.header) if place not in layout.shown and name]
        if left_out:
            yield f"A wider terminal or --json also shows: {', '.join(left_out)}.", ""

    def _row(self, layout: Layout, cells: Sequence[str]) -> Iterator[str]:
        texts = []
        for place, cell, room in zip(layout.shown, cells, layout.widths, strict=True):
            space = " " * (room - cell_len(cell))
            texts.append(cell + space if place == 0 or place in self.left else space + cell)
        if layout.stacked:
            if cells[0]:
                yield cells[0]
            yield " " * _INDENT + (" " * _GAP).join(texts[1:]).rstrip()
        else:
            yield (" " * _GAP).join(texts).rstrip()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines for the console's width, unbroken; rich's ``options`` are not used."""
        del options
        for line, style in self.lines(console.width):
            yield Text(line, style=style, no_wrap=True, overflow="ignore")


def table(
    header: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None, left: Sequence[int] = ()
) -> Grid:
    """A table with columns aligned to the right, except the first one and those at the positions ``left``."""
    return Grid(tuple(header), tuple(tuple(map(str, row)) for row in rows), title, tuple(left))


def pairs(rows: Iterable[tuple[str, object]], title: str | None = None) -> Text:
    """Lines of (what, value); the terminal wraps long values, so that they can be copied whole."""
    texts = [(what, str(value)) for what, value in rows]
    room = max((cell_len(what) for what, _ in texts), default=0)
    lines = [] if title is None else [Text(title, style="italic")]
    for what, value in texts:
        padded = what + " " * (room - cell_len(what))
        lines.append(Text.assemble((padded, "bold"), f"{' ' * _GAP}{value}"))
    return Text("\n", no_wrap=True, overflow="ignore").join(lines)


def bar(share: float, cells: int) -> str:
    """A bar for ``share`` (0 to 1) of a width of ``cells``, drawn to an eighth of a cell."""
    eighths = round(8 * cells * share)
    return "█" * (eighths // 8) + "▏▎▍▌▋▊▉"[eighths % 8 - 1 : eighths % 8]


def sentence(console: Console, text: str) -> None:
    """Print prose wrapped between words; a word longer than a line, such as a path, stays whole."""
    lines = textwrap.wrap(text, console.width, break_long_words=False, break_on_hyphens=False)
    console.print(Text("\n".join(lines), no_wrap=True, overflow="ignore"))


def next_step(console: Console, command: str) -> None:
    """Print the command that comes next on one line, however long, so that it can be copied whole."""
    console.print(Text(f"next: {command}", no_wrap=True, overflow="ignore"))


def tuning_table(tuning: Tuning) -> Grid:
    """A table of the graph variants that were tried, with their latencies."""
    rows = []
    for row in tuning.table:
        record = row.record
        mark = unstable_mark(record["stable"]) if record else ""
        timed = (f"{record['p50_ms']:.3f}{mark}", f"{row.ratio:.2f}x") if record and row.ratio else ("", "")
        note = "chosen" if row.chosen else "" if row.candidate else "baseline only"
        rows.append((row.form, "yes" if row.verified else "NO", *timed, note))
    return table(("variant", "verified", "p50 ms", "relative", ""), rows)


def records_table(records: Sequence[Record], *, devices: bool = False) -> Grid:
    """A table with a row for each record; ``devices`` adds columns for the device and its threads."""
    own = ("device", "threads") if devices else ()
    header = ("file", "p50 ms", "variation", *own, "p90 ms", "p99 ms", "min ms", "runs", "load ms", "first ms",
              "peak MiB")  # fmt: skip
    rows = [
        (f"{r.file}{provider_mark(r.conditions.model_dump())}",
         f"{r.p50_ms:.3f}", f"{r.cv:.1%}{unstable_mark(r.stable)}",
         *((r.conditions.device, r.conditions.threads) if devices else ()),
         f"{r.p90_ms:.3f}", f"{r.p99_ms:.3f}", f"{r.min_ms:.3f}", r.runs, f"{r.load_ms:.0f}", f"{r.first_ms:.1f}",
         f"{r.peak_rss_bytes / 2**20:.0f}" if r.peak_rss_bytes else "")
        for r in records
    ]  # fmt: skip
    return table(header, rows)


def tell_random_weights(console: Console, weights: Iterable[tuple[str, object]]) -> None:
    """Print one line that names the files whose weights are random; nothing where there is none.

    Args:
        console: where to print.
        weights: each file's name and where its weights come from, as the file says.
    """
    from scarlet_zoo.models.weights.cards import RANDOM_WEIGHTS

    named = list(weights)
    random = [name for name, origin in named if origin == RANDOM_WEIGHTS]
    if random:
        of = f" of {', '.join(dict.fromkeys(random))}" if len(named) > 1 else ""
        sentence(console, f"weights{of}: {RANDOM_WEIGHTS}")


def weights_of(records: Iterable[Record]) -> list[tuple[str, object]]:
    """Each record's file and where its weights come from, as the file says."""
    return [(record.file, (record.conditions.model_extra or {}).get("weights")) for record in records]


def provider_facts(provider: str | None, nodes: Mapping[str, int]) -> list[tuple[str, str]]:
    """The row that says which execution provider ran how many nodes of a file; none for the CPU, which runs all."""
    if not nodes:
        return []
    return [("provider", f"{provider}: {nodes_line(nodes)}")]
