"""The report as markdown and as a self-contained web page."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.evidence.report.findings import findings_sections
from scarlet_zoo.evidence.report.latency import LATENCY_EVIDENCE, latency_sections
from scarlet_zoo.evidence.report.ranking import verdict_section
from scarlet_zoo.evidence.report.structure import Section, Table
from scarlet_zoo.utils.markdown import markdown_table

TITLE = "scarlet-zoo, measured"
EVIDENCE, OPTIONAL = LATENCY_EVIDENCE, ("rank", "findings")
_INTRO = (
    "Everything here is made from the records in results/. Latencies are our own measurements: p50 for one image. "
    "Accuracies are ImageNet top-1 as the authors publish it and are not measured here, except in the last part, "
    "where they are our own on Fashion-MNIST. Networks are timed with random weights, since latency does not depend on "
    "them."
)


def sections(evidence: Mapping[str, Any]) -> list[Section]:
    """Create the sections of the report.

    Args:
        evidence: contents of the files of ``results/`` and ``peers.toml``, by name, see :data:`EVIDENCE`; those
            of :data:`OPTIONAL` may be missing.

    Raises:
        ScarletError: some evidence is missing.
    """
    missing = [name for name in EVIDENCE if name not in evidence]
    if missing:
        raise ScarletError(f"report: got no {' '.join(missing)}, wanted {' '.join(EVIDENCE)}")
    rank, found = map(evidence.get, OPTIONAL)
    ranking = [] if rank is None else [verdict_section(rank)]
    return [*latency_sections(evidence), *ranking, *(findings_sections(found, rank) if rank and found else [])]


def drawings(evidence: Mapping[str, Any]) -> dict[str, str]:
    """Return all plots as SVG, by name.

    Raises:
        ScarletError: matplotlib is not installed.
    """
    return {name: draw() for section in sections(evidence) for name, draw in section.drawings.items()}


def report_markdown(evidence: Mapping[str, Any]) -> str:
    """Return the text of ``REPORT.md``, which refers to the :func:`drawings` in ``figures/``."""
    parts = [f"# {TITLE}", "", _INTRO, ""]
    for section in sections(evidence):
        parts += [f"## {section.heading}", ""]
        parts += [line for name in section.drawings for line in (f"![{name}](figures/{name}.svg)", "")]
        if section.words:
            parts += [*(f"- {sentence}" for sentence in section.words), ""]
        for table in section.tables:
            parts += [f"**{table.title}**", "", markdown_table(table.header, table.texts()), ""]
            parts += [table.conditions, ""] if table.conditions else []
    return "\n".join(parts).rstrip() + "\n"


def report_html(evidence: Mapping[str, Any]) -> str:
    """Return the report as one HTML page with sortable tables and plots, which loads nothing from elsewhere."""
    body = [f"<h1>{html.escape(TITLE)}</h1>", f"<p>{html.escape(_INTRO)}</p>"]
    for section in sections(evidence):
        body.append(f"<h2>{html.escape(section.heading)}</h2>")
        body += [f"<figure>{draw()}</figure>" for draw in section.drawings.values()]
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
