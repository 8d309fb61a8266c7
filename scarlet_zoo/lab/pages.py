"""The report of the benchmarks: one structure from the records, written as markdown and as a self-contained page."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scarlet_zoo.drawing import new_figure
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.lab.findings import (
    Peers,
    Point,
    Table,
    profile_table,
    runtimes_table,
    table_errors,
    table_words,
    trust_words,
)
from scarlet_zoo.lab.profile_plots import draw_blocks
from scarlet_zoo.report import markdown_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "scarlet-zoo: latency, measured"
EVIDENCE = ("peers", "published", "runtimes", "profiles", "lut", "trust")
_LABEL_GAP = 0.25  # of two names, in percent points of the plot
_INTRO = (
    "Made from the records in results/ alone. Latency is ours, p50 for one picture; accuracy is ImageNet top-1 as "
    "authors publish it, never measured here. Weights are random: latency does not depend on them."
)


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        figure: name of a drawing, see :func:`figures`.
    """

    heading: str
    words: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figure: str = ""


def sections(evidence: Mapping[str, Any]) -> list[Section]:
    """The report.

    Args:
        evidence: contents of the files of ``results/`` and ``peers.toml`` by name, see :data:`EVIDENCE`.

    Raises:
        ScarletError: evidence that is missing.
    """
    missing = [name for name in EVIDENCE if name not in evidence]
    if missing:
        raise ScarletError(f"report: no {' '.join(missing)}, wanted {' '.join(EVIDENCE)}")
    peers = Peers(evidence["peers"], evidence["published"])
    sources = tuple(f"{name}: {peers.source[name]}." for name in peers.networks)
    failed = tuple(f"Not made: {network['name']} {variant}: {reason}." for network in evidence["peers"]["networks"]
                   for variant, reason in network["failed"].items())  # fmt: skip
    return [
        Section("What to choose", (), (peers.choices(),), "pareto"),
        Section("Where SCARLET loses", tuple(peers.losses())),
        Section("Side by side", ("Ours is the fastest of our exact float32 forms, timm's its own exporter.", *failed),
                (peers.beside(), peers.forms())),
        Section("Other runtimes", (), (runtimes_table(evidence["runtimes"]),)),
        Section("Where the time goes", (), (profile_table(evidence["profiles"]),), "blocks"),
        Section("Latency tables", tuple(table_words(evidence["lut"])), (table_errors(evidence["lut"]),)),
        Section("How far to trust it", tuple(trust_words(evidence["trust"]))),
        Section("Whose accuracies", sources),
    ]  # fmt: skip


def report_markdown(evidence: Mapping[str, Any]) -> str:
    """The report as ``REPORT.md``, without its drawings."""
    parts = [f"# {TITLE}", "", _INTRO, ""]
    for section in sections(evidence):
        parts += [f"## {section.heading}", ""]
        if section.words:
            parts += [*(f"- {sentence}" for sentence in section.words), ""]
        for table in section.tables:
            parts += [f"**{table.title}**", "", markdown_table(table.header, table.texts()), ""]
            parts += [table.conditions, ""] if table.conditions else []
    return "\n".join(parts).rstrip() + "\n"


def report_html(evidence: Mapping[str, Any]) -> str:
    """The report as one page that needs no network: tables that can be sorted, and drawings."""
    drawn = figures(evidence)
    body = [f"<h1>{html.escape(TITLE)}</h1>", f"<p>{html.escape(_INTRO)}</p>"]
    for section in sections(evidence):
        body.append(f"<h2>{html.escape(section.heading)}</h2>")
        if section.figure:
            body.append(f"<figure>{drawn[section.figure]}</figure>")
        if section.words:
            body.append("<ul>" + "".join(f"<li>{html.escape(sentence)}</li>" for sentence in section.words) + "</ul>")
        body += [_table(table) for table in section.tables]
    return _PAGE.format(title=html.escape(TITLE), style=_STYLE, script=_SCRIPT, body="\n".join(body))


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col"><button>{html.escape(name)}</button></th>' for name in table.header)
    rows = []
    for cells, texts in zip(table.rows, table.texts(), strict=True):
        row = "".join(f'<td data-value="{html.escape(str("" if cell is None else cell))}"'
                      f'{"" if isinstance(cell, str) else " class=number"}>{html.escape(text)}</td>'
                      for cell, text in zip(cells, texts, strict=True))  # fmt: skip
        rows.append(f"<tr>{row}</tr>")
    note = f"<p class=conditions>{html.escape(table.conditions)}</p>" if table.conditions else ""
    return (f"<h3>{html.escape(table.title)}</h3><div class=wide><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table></div>{note}")  # fmt: skip


def figures(evidence: Mapping[str, Any]) -> dict[str, str]:
    """Drawings as SVG: ``pareto`` (accuracy over latency) and ``blocks`` (time and limit of each block).

    Raises:
        ScarletError: matplotlib is not installed.
    """
    points = Peers(evidence["peers"], evidence["published"]).points()
    return {"pareto": _pareto(points), "blocks": _blocks(evidence["profiles"])}


def _pareto(points: Sequence[Point]) -> str:
    figure = new_figure(7.0, 4.6)
    axes = figure.add_subplot()
    line = [point for point in points if point.best]
    axes.step([point.ms for point in line], [point.top1 for point in line], where="post", color="0.6", linewidth=1)
    for point in points:
        axes.plot(point.ms, point.top1, "o", color=_colour(point), markersize=6 if point.best else 4)
    _label(axes, points)
    axes.set_xlabel("p50, ms, one thread, float32, the fastest of our forms")
    axes.set_ylabel("ImageNet top-1, %, as published")
    axes.grid(alpha=0.3)
    axes.margins(x=0.2)
    return _svg(figure)


def _colour(point: Point) -> str:
    return "#b2182b" if point.ours else "#2166ac"


def _label(axes: Axes, points: Sequence[Point]) -> None:
    """Names left of the line's points but its first, and right of the others, one below the other."""
    height, first = float("inf"), min(points, key=lambda point: point.ms)
    for point in sorted(points, key=lambda point: -point.top1):
        left = point.best and point is not first
        if not left:
            height = min(point.top1, height - _LABEL_GAP)
        place, offset, side = (point.top1, (-5, 4), "right") if left else (height, (6, -3), "left")
        axes.annotate(point.name, (point.ms, place), offset, textcoords="offset points", ha=side, fontsize=8,
                      color=_colour(point))  # fmt: skip


def _blocks(profiles: Sequence[Mapping[str, Any]]) -> str:
    kept = [row for row in profiles if row["file"].startswith("scarlet")]
    most = max(len(row["blocks"]) for row in kept)
    figure = new_figure(9.0, 0.19 * most + 1.2)
    for place, row in enumerate(kept):
        axes = figure.add_subplot(1, len(kept), place + 1)
        draw_blocks(axes, [{**block, "name": block["name"].removeprefix("blocks.")} for block in row["blocks"]])
        axes.set_ylim(most - 0.5, -0.5)
        axes.tick_params(labelsize=7)
        axes.set_title(f"{row['file']}: {row['of_limit']:.1f} times its limit", fontsize=8)
    axes.legend(frameon=False, fontsize=7)
    return _svg(figure)


def _svg(figure: Any) -> str:
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "scarlet-zoo", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


_STYLE = """
:root { color-scheme: light; font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; }
body { margin: 0 auto; max-width: 72rem; padding: 0 1rem 3rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } h3 { font-size: 1rem; }
.wide { overflow-x: auto; } figure { margin: 1rem 0; overflow-x: auto; } figure svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: .85rem; } th, td { padding: .25rem .6rem; white-space: nowrap; }
tbody tr:nth-child(odd) { background: #f5f6f8; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: #fff; text-align: left; border-bottom: 2px solid #1a1a1a; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid #2166ac; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
.conditions { color: #555; font-size: .8rem; } td:first-child { position: sticky; left: 0; background: inherit; }
tbody tr:nth-child(even) { background: #fff; }
@media (max-width: 40rem) { figure svg { min-width: 34rem; max-width: none; } }
"""
_SCRIPT = """
for (const button of document.querySelectorAll('th button')) button.addEventListener('click', () => {
  const th = button.parentElement, row = th.parentElement, place = [...row.children].indexOf(th);
  const body = th.closest('table').tBodies[0], up = th.getAttribute('aria-sort') !== 'ascending';
  for (const other of row.children) other.removeAttribute('aria-sort');
  th.setAttribute('aria-sort', up ? 'ascending' : 'descending');
  const value = tr => tr.children[place].dataset.value;
  const compare = (a, b) => a === b ? 0 : a === '' ? 1 : b === '' ? -1 :
    (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b) * (up ? 1 : -1);
  body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b))));
});
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>{title}</title><style>{style}</style></head>
<body>
{body}
<script>{script}</script>
</body></html>
"""
