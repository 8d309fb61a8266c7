"""The gallery's page, from its template: all text of files and people is escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from scarlet_zoo.arch.cost import Cost
from scarlet_zoo.arch.drawing import architecture_svg
from scarlet_zoo.measurement.gallery.entry import Entry
from scarlet_zoo.utils.names import in_utf8, visible

# By which a page of this package is known, so that no other is overwritten.
MARK = '<meta name="generator" content="scarlet-zoo gallery">'
_FOLDER = Path(__file__).parent / "page"


def page_html(title: str, entries: Sequence[Entry], runtime_version: str) -> str:
    """Return the page.

    Args:
        title: its heading.
        entries: its networks, in order.
        runtime_version: version of the onnxruntime-web that is beside it.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined, finalize=_shown)  # fmt: skip
    environment.globals.update(drawing=_drawing, size=_size, millions=_millions)
    data = [entry.for_page() for entry in entries]
    # The page opens on the data that most networks have an accuracy on; of equal ones on the first.
    sets = [name for name, _ in Counter(point["set"] for entry in data for point in entry["points"]).most_common()]
    template = environment.get_template("index.html.jinja")
    runnable = [entry for entry in entries if entry.run]
    return template.render(title=title, entries=entries, data={"entries": data, "sets": sets}, mark=Markup(MARK),
                           runnable=runnable, runtime_version=runtime_version)  # fmt: skip


def _shown(value: Any) -> Any:
    """Text as UTF-8 has it, without characters that turn the direction of writing or show nothing."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(visible(line) for line in in_utf8(value).split("\n"))
    return value


def _drawing(entry: Entry) -> Markup:
    """The drawing of a network; architecture_svg escapes the text in it."""
    return Markup(architecture_svg(Cost(entry.drawing), f"{entry.title}, layer by layer"))


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 10_000 else f"{count:,} bytes"


def _millions(count: int | None) -> str:
    return "not known" if count is None else f"{count / 1e6:.3g} M"
