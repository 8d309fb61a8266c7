"""Links of the repository's documents, as the site has them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

# A link's text and its target; no image's title, and nothing in a fenced block of code.
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def relinked(text: str, source: str, place: str, pages: Mapping[str, str], root: Path) -> str:
    """Rewrite the relative links of a document for its place on the site.

    A link to another page or picture of the site leads there. A link to a file of the repository that is no page
    becomes the file's name.

    Args:
        text: the document, in markdown.
        source: path of the document in the repository.
        place: path of the page on the site.
        pages: place on the site of each file that has one, by its path in the repository.
        root: the repository.
    """

    def moved(found: re.Match[str]) -> str:
        mark, words, target = found.groups()
        path, _, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return found.group()
        meant = os.path.normpath(PurePosixPath(source).parent / path)
        if meant in pages:
            there = os.path.relpath(pages[meant], PurePosixPath(place).parent)
            return f"{mark}[{words}]({there}{'#' * bool(anchor)}{anchor})"
        if (root / meant).exists():
            return words if words.strip("`") == meant else f"{words} (`{meant}`)"
        return found.group()

    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(moved, text[end : fence.start()]), fence.group()]
        end = fence.end()
    return "".join([*parts, _LINK.sub(moved, text[end:])])
