"""A page of the documentation for each notebook, with what it showed when it was run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def notebook_page(path: Path) -> str:
    """Return a notebook as markdown; its drawings stand in it as data, so that the page needs no other file.

    Args:
        path: the notebook, with outputs.
    """
    cells = json.loads(path.read_text())["cells"]
    parts, heading = list[str](), ""
    for cell in cells:
        found = re.findall(r"^#+ (.+)$", _text(cell["source"]), re.MULTILINE) if cell["cell_type"] == "markdown" else []
        heading = found[-1] if found else heading
        parts += _cell(cell, heading)
    title, _, rest = "\n\n".join(parts).partition("\n")
    where = f"The notebook is `docs/notebooks/{path.name}`; below is what it showed when it was last run for this page."
    return f"{title}\n\n{where}\n{rest}\n"


def _cell(cell: Mapping[str, Any], heading: str) -> Iterator[str]:
    text = _text(cell["source"])
    if cell["cell_type"] == "markdown":
        yield text
        return
    yield f"```python\n{text}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        shown = _text(output.get("text", data.get("text/plain", "")))
        if "image/png" in data:
            yield f"![{_title_of(text) or heading}](data:image/png;base64,{_text(data['image/png']).strip()})"
        elif shown.strip():
            yield f"```text\n{_ESCAPES.sub('', shown).rstrip()}\n```"


def _text(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)


def _title_of(code: str) -> str:
    """What a drawing is called for readers who do not see it: the titles and axes in its code; empty without any."""
    return "; ".join(re.findall(r'(?:title|ylabel|xlabel)="([^"]+)"', code))
