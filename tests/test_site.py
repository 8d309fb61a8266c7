"""The documentation site: built strictly, whole, offline, and looked at in a browser."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from importlib.util import find_spec
from urllib.parse import unquote, urlsplit

import pytest
import typer
from conftest import ROOT
from serving_parts import CHROMIUM, browser

import scarlet_zoo
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.drawing import architecture_svg
from scarlet_zoo.arch.zoo import ZOO, get_arch
from scarlet_zoo.cli.main import app
from scarlet_zoo.deployment.targets import TARGETS
from scarlet_zoo.evidence.manifest import read_manifest
from scarlet_zoo.evidence.site.links import relinked
from scarlet_zoo.evidence.site.networks import network_page, networks_overview, networks_table
from scarlet_zoo.evidence.site.plots import scatter_of, targets_svg
from scarlet_zoo.evidence.site.references import strategies, verbs
from scarlet_zoo.models.weights.cards import all_cards
from scarlet_zoo.nas.strategies.registry import STRATEGIES

RESULTS = ROOT / "benchmarks" / "results"
MANIFEST = ROOT / "export" / "manifest.json"
PHONE, DESK = (390, 844), (1280, 900)


class Page(HTMLParser):
    """What a page refers to, what it loads by itself, and the names in it that links may lead to."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.names = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.names.update(filter(None, (found.get("id"), found.get("name"))))
        target = found.get("href") or found.get("src")
        if target and (tag == "a" or found.get("rel") == "canonical"):
            self.links.append(target)
        elif target:
            self.loads.append(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if find_spec("mkdocs") is None or find_spec("material") is None or find_spec("mkdocstrings") is None:
        pytest.skip("needs the extra docs")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    own = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=own, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site): Page(path.read_text()) for path in site.rglob("*.html")}


@pytest.mark.slow
def test_every_link_leads_somewhere(site, pages):
    for place, page in pages.items():
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "mailto", "data") or place.name == "404.html":
                continue
            there = (site / place.parent / unquote(parts.path)).resolve() if parts.path else (site / place).resolve()
            there = there / "index.html" if there.is_dir() else there
            assert there.is_file(), (place, link)
            if parts.fragment and there.suffix == ".html":
                assert unquote(parts.fragment) in pages[there.relative_to(site.resolve())].names, (place, link)


@pytest.mark.slow
def test_nothing_is_loaded_from_another_host(site, pages):
    for place, page in pages.items():
        assert [load for load in page.loads if urlsplit(load).scheme in ("http", "https")] == [], place
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)]*", sheet.read_text()) == [], sheet
    assert not list(site.rglob("*.woff*"))


@pytest.mark.slow
def test_everything_that_has_a_name_has_a_page(site, pages):
    wanted = [f"networks/{name}" for name in ZOO] + [f"targets/{name}" for name in TARGETS]
    wanted += [f"strategies/{name}" for name in STRATEGIES]
    wanted += [f"notebooks/{path.stem}" for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")]
    wanted += [f"verbs/{'-'.join(path)}" for path, _ in verbs(typer.main.get_command(app))]
    assert [name for name in wanted if not (site / f"{name}.html").is_file()] == []
    described = set().union(*(page.names for place, page in pages.items() if place.parts[0] == "api"))
    assert {f"scarlet_zoo.{name}" for name in scarlet_zoo.__all__ if name != "__version__"} <= described
    documents = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert [name for name in documents if not (site / f"{name}.html").is_file()] == []


@pytest.mark.slow
def test_no_page_shows_what_another_tool_would_read(site):
    for path in site.rglob("*.html"):
        assert re.findall(r":(?:class|func|meth|mod|attr|data|exc|ref):.{40}", path.read_text()) == [], path


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_site_is_read_from_its_folder_on_a_desk_and_on_a_phone(site):
    shown = [
        "index",
        "networks/index",
        "networks/scarlet_a",
        "targets/ncnn",
        "notebooks/search",
        "gallery",
        "verbs/bench",
        "api/deployment",
        "fold-drawn",
        "evidence/report",
        "cli",
    ]
    asked, complaints = [], []
    with browser() as chromium:
        for width, height in (DESK, PHONE):
            page = chromium.new_page(viewport={"width": width, "height": height})
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            for name in shown:
                page.goto((site / f"{name}.html").as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
            if width == DESK[0]:
                page.fill("[data-md-component=search-query]", "stabilizer")
                page.wait_for_selector(".md-search-result__item", timeout=20_000)
            page.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_links_are_those_of_the_site():
    known = {"docs/fold.md": "fold.md", "weights/README.md": "evidence/weights.md", "README.md": "index.md"}
    text = (
        "[a](docs/fold.md#x) [b](weights/README.md) `[c](docs/fold.md)` [Makefile](Makefile) [d](https://e.f) [g](#h)"
    )
    moved = relinked(text, "README.md", "index.md", known, ROOT)
    assert moved == text.replace("docs/fold.md", "fold.md").replace("weights/README.md", "evidence/weights.md").replace(
        "[Makefile](Makefile)", "Makefile")  # fmt: skip
    assert (
        relinked("[w](../../README.md)", "weights/search/README.md", "evidence/s.md", known, ROOT) == "[w](../index.md)"
    )
    assert relinked("[m](../Makefile)", "docs/fold.md", "fold.md", known, ROOT) == "m (`Makefile`)"
    assert relinked("[m](../gone.md)", "docs/fold.md", "fold.md", known, ROOT) == "[m](../gone.md)"
    assert relinked("```sh\n[a](docs/fold.md)\n```", "README.md", "index.md", known, ROOT).endswith(
        "(docs/fold.md)\n```"
    )


@pytest.mark.parametrize("name", ZOO)
def test_a_network_page_says_what_card_manifest_and_records_say(name):
    manifest = read_manifest(MANIFEST)
    page = network_page(name, manifest, RESULTS)
    cost = arch_cost(get_arch(name))
    assert f"{cost.params:,} parameters, {cost.macs / 1e6:.1f} million" in page
    assert ZOO[name].arch in page
    for card in (card for card in all_cards().values() if card.name == name):
        assert f"## Weights: `{card.name}.{card.tag}`" in page
        if card.measured is not None:
            assert (
                f"right on {card.measured.test_top1_percent} % of the {card.measured.test_images:,} test images" in page
            )
    assert ("nobody has measured that here" in page) == (ZOO[name].published is not None)
    assert all(f"../targets/{row.target}.md" in page for row in manifest.rows if row.network == name)
    assert f"[`{name}`]({name}.md)" in networks_table()


@pytest.mark.parametrize(("record", "images"), [("cifar10", 5_000), ("baselines", 10_000)])
def test_a_plot_of_a_record_has_its_networks_and_figures(record, images):
    rows = json.loads((RESULTS / f"{record}.json").read_text())
    drawn = scatter_of(RESULTS / f"{record}.json", images)
    ET.fromstring(drawn)
    assert drawn.count("<circle") == len(rows)
    for row in rows:
        assert f">{row['name'].split(' ')[0]} {row['test_top1']:.4g} %</text>" in drawn
    assert all(row.get("test_images", images) == images for row in rows)
    assert drawn in networks_overview(RESULTS)


def test_a_target_stands_beside_those_that_were_measured_with_it():
    rows = json.loads((RESULTS / "runtimes.json").read_text())
    rows = [row for row in rows if (row["name"], row["threads"]) == ("scarlet_c", 1)]
    drawn = targets_svg(RESULTS, "scarlet_c", "ncnn")
    ET.fromstring(drawn)
    for row in rows:
        assert f">{row['target']}</text>" in drawn
        assert f">{row['record']['p50_ms']:.3g} ms" in drawn
    assert drawn.count("#b2182b") == 1
    assert targets_svg(RESULTS, "scarlet_c").count("#b2182b") == 0
    assert targets_svg(RESULTS, "scarlet_c", "coreml") is None
    assert targets_svg(RESULTS, "scarlet_mini_s") is None


def test_a_drawing_has_a_row_for_each_layer():
    cost = arch_cost(get_arch("scarlet_c"))
    drawn = architecture_svg(cost, "a < b")
    assert drawn.count("<rect") + drawn.count('class="skip"') == len(cost.layers)
    assert drawn.count('class="skip"') == len(get_arch("scarlet_c").skipped)
    assert "a &lt; b" in drawn
    assert "\n\n" not in drawn


def test_the_strategies_are_found_without_importing_them():
    found = strategies(ROOT / "scarlet_zoo" / "nas" / "strategies")
    assert found == {name: f"{kind.__module__}.{kind.__qualname__}" for name, kind in STRATEGIES.items()}


def test_the_guides_numbers_are_those_of_the_records():
    trust = json.loads((RESULTS / "trust.json").read_text())
    half = len(trust["trials"]) // 2
    text = (ROOT / "docs" / "latency-trust.md").read_text()
    assert f"| the same | {trust['same_called_different']} of {half} |" in text
    assert f"| slower | {trust['slower_found']} of {half} |" in text
    assert f"slowed down by {100 * trust['planted_slowdown']:.0f} %" in " ".join(text.split())
    assert f"intervals of {100 * trust['confidence']:.0f} %" in " ".join(text.split())
    rows = json.loads((RESULTS / "quantisers.json").read_text())["tf_efficientnet_lite0"]["rows"]
    slow = (ROOT / "docs" / "slow-int8.md").read_text()
    told = {float(number) for number in re.findall(r"\| ([\d.]+) ms", slow)}
    assert len(told) == 4
    assert told <= {round(row["p50_ms"], 2) for row in rows}
