"""What mkdocs asks of this repository: the pages that are made, the repository's other documents, and their links."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import scarlet_zoo
from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.cli.main import app
from scarlet_zoo.deployment.recipes import read_recipes
from scarlet_zoo.evidence.manifest import read_manifest
from scarlet_zoo.evidence.site import networks, notebooks, references
from scarlet_zoo.evidence.site.links import relinked

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
# The documents outside of docs/ that are pages, and where.
ELSEWHERE = {
    "README.md": "index.md", "CONTRIBUTING.md": "project/contributing.md", "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md", "CODE_OF_CONDUCT.md": "project/conduct.md",
    "weights/README.md": "evidence/weights.md", "weights/search/README.md": "evidence/searches.md",
    "weights/networks/README.md": "evidence/shipped.md", "export/README.md": "evidence/export.md",
    "benchmarks/README.md": "evidence/benchmarks.md", "benchmarks/REPORT.md": "evidence/report.md",
}  # fmt: skip


@cache
def made() -> dict[str, str]:
    """The pages that are made, by place."""
    manifest = read_manifest(ROOT / "export" / "manifest.json")
    pages = {"networks/index.md": networks.networks_overview(RESULTS)}
    pages |= {f"networks/{name}.md": networks.network_page(name, manifest, RESULTS) for name in ZOO}
    pages |= {f"targets/{name}.md": references.target_page(name, recipe, manifest, RESULTS)
              for name, recipe in read_recipes(ROOT / "export" / "recipes").items()}  # fmt: skip
    pages |= {f"notebooks/{path.stem}.md": notebooks.notebook_page(path)
              for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))}  # fmt: skip
    found = references.strategies(ROOT / "scarlet_zoo" / "nas" / "strategies")
    pages |= {
        f"strategies/{name}.md": references.strategy_page(name, dotted, RESULTS) for name, dotted in found.items()
    }
    told = references.verbs(typer.main.get_command(app))
    pages |= {f"verbs/{'-'.join(path)}.md": references.verb_page(path, command) for path, command in told}
    return pages | {f"api/{name}.md": text for name, text in references.api_pages(scarlet_zoo._HOME).items()}


def places() -> dict[str, str]:
    """Where on the site each file of the repository is that has a place there."""
    docs = {f"docs/{path.name}": path.name for path in (ROOT / "docs").glob("*.*")}
    pictures = {str(path.relative_to(ROOT)): f"evidence/figures/{path.name}"
                for path in (ROOT / "benchmarks" / "figures").glob("*.svg")}  # fmt: skip
    books = {f"docs/notebooks/{path.name}": f"notebooks/{path.stem}.md"
             for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")}  # fmt: skip
    return {**docs, **books, **pictures, **ELSEWHERE}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages that are made into the navigation, and those of docs/ that it does not name at its end."""
    named: set[str] = set()
    config.nav = _filled(config.nav or [], named)
    rest = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name not in named)
    config.nav += [{"More": rest}] if rest else []
    return config


def _filled(nav: list[Any], named: set[str]) -> list[Any]:
    """Replace each ``FOLDER/*`` by the pages of that folder."""
    filled: list[Any] = []
    for entry in nav:
        if isinstance(entry, dict):
            ((title, inner),) = entry.items()
            filled.append({title: _filled(inner, named) if isinstance(inner, list) else inner})
            named.update([inner] if isinstance(inner, str) else [])
        elif entry.endswith("/*"):
            filled += [place for place in made() if place.startswith(entry[:-1]) and not place.endswith("index.md")]
        else:
            filled.append(entry)
            named.add(entry)
    return filled


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, the repository's other documents, and their pictures."""
    for place, text in made().items():
        files.append(File.generated(config, place, content=text))
    for source, place in places().items():
        if source in ELSEWHERE or source.startswith("benchmarks/"):
            files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links lead to where things are on the site."""
    place = page.file.src_uri
    if place in made():
        return markdown
    known = places()
    source = next(source for source, there in known.items() if there == place)
    return relinked(markdown, source, place, known, ROOT)


def on_page_content(html: str, **_: Any) -> str:
    """Show the names to which docstrings refer by a role of Sphinx's without the role and without their package."""
    return re.sub(r":(?:class|func|meth|mod|attr|data|exc):\s*<code>~?(?:scarlet_zoo\.[\w.]*\.|\.)?(\w[\w.]*)</code>",
                  r"<code>\1</code>", html)  # fmt: skip
