"""The report: made from the records alone, the same again, and a page that a browser opens without a network."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from lab_parts import record

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.lab.published import published_peers
from scarlet_zoo.reporting.latency import Peers
from scarlet_zoo.reporting.pages import EVIDENCE, report_html, report_markdown, sections
from scarlet_zoo.reporting.structure import Table

BENCHMARKS = ROOT / "benchmarks"
CHROMIUM = shutil.which("chromium")
SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)


FORMS = ("native", "blocked", "timm", "int8")


def made_up_peers(names):
    """As ``measure_peers.py`` writes them, with latencies that are told from one another."""
    rows = []
    for place, name in enumerate(names):
        variants = (*FORMS, "friendly", "released") if name.startswith("scarlet") else FORMS
        for form, variant in enumerate(variants):
            for threads in (1, 2):
                told = record(np.full(100, (2.0 + place + 0.1 * form) / threads), threads=threads)
                rows.append({"name": name, "variant": variant, "threads": threads, "record": told})
    networks = [{"name": name, "side": 224, "params": 5_000_000, "macs": 10**6 * (300 - 7 * (place % 4)),
                 "weights": "random", "failed": {}} for place, name in enumerate(names)]  # fmt: skip
    networks[-1]["failed"] = {"timm": "cannot be exported"}
    return {"networks": networks, "rows": rows, "fusion": {}}


@pytest.fixture(scope="module")
def evidence():
    told = {name: json.loads((BENCHMARKS / "results" / f"{name}.json").read_text())
            for name in EVIDENCE if name not in ("published", "peers")}  # fmt: skip
    published = [peer.model_dump() for peer in published_peers()]
    # Reversed, so that SCARLET's are the slowest and what is faster and more accurate exists.
    names = [row["name"] for row in reversed(published)]
    return {**told, "published": published, "peers": made_up_peers(names)}


def test_the_committed_report_is_what_the_records_give(tmp_path):
    subprocess.run([sys.executable, BENCHMARKS / "make_report.py", "--out", tmp_path], check=True)
    assert (tmp_path / "REPORT.md").read_text() == (BENCHMARKS / "REPORT.md").read_text()
    # How lines are drawn is matplotlib's business, and changes with its version.
    made, kept = ((folder / "report.html").read_text() for folder in (tmp_path, BENCHMARKS))
    assert SVG.sub("", made) == SVG.sub("", kept)
    assert len(SVG.findall(made)) == len(SVG.findall(kept)) == 2


def test_every_number_of_the_tables_is_one_of_the_records(evidence):
    peers = Peers(evidence["peers"], evidence["published"])
    rows = {row[0]: row for row in peers.beside().rows}
    assert set(rows) == {row["name"] for row in evidence["published"]}
    for row in evidence["peers"]["rows"]:
        assert row["record"]["p50_ms"] == peers.p50[row["name"], row["variant"], row["threads"]]
    for name, row in rows.items():
        own = [peers.p50[name, form, 1] for form in ("native", "blocked", "friendly") if (name, form, 1) in peers.p50]
        assert row[5] == min(own)


def test_the_pareto_line_is_never_beaten(evidence):
    points = Peers(evidence["peers"], evidence["published"]).points()
    for point in points:
        beaten = any(other.ms <= point.ms and other.top1 >= point.top1 and other != point for other in points)
        assert point.best == (not beaten)


def test_a_changed_record_changes_the_report(evidence):
    changed = json.loads(json.dumps(evidence))
    changed["peers"]["rows"][0]["record"]["p50_ms"] *= 1.5
    assert report_markdown(changed) != report_markdown(evidence)
    assert report_html(changed) != report_html(evidence)


def test_what_loses_and_what_failed_is_said(evidence):
    (losses,) = (section for section in sections(evidence) if section.heading == "Where SCARLET loses")
    assert len(losses.words) == 3
    for sentence in losses.words:
        better, worse = sentence.split("faster and less accurate: ")
        assert "repvit_m0_9 (2.00 ms, 78.7 %)" in better
        assert "mobilenetv2_100" in worse
    assert "cannot be exported" in report_markdown(evidence)


def test_a_choice_keeps_its_budget(evidence):
    for row in Peers(evidence["peers"], evidence["published"]).choices().rows:
        assert row[1] == "none" or row[3] <= row[0]
        assert row[4] == "none" or row[4].startswith("scarlet")


def test_evidence_that_is_missing_is_named(evidence):
    with pytest.raises(ScarletError, match="no lut, wanted"):
        sections({name: value for name, value in evidence.items() if name != "lut"})


def test_text_in_a_table_cannot_become_markup(evidence):
    changed = json.loads(json.dumps(evidence))
    changed["published"][0]["source"] = "<script>alert(1)</script>"
    assert "<script>alert" not in report_html(changed)
    assert Table("t", ("a", "b"), (0, 2), (("x", 1.005), ("y", None))).texts() == [["x", "1.00"], ["y", ""]]


def test_the_page_asks_for_nothing_from_elsewhere(evidence):
    page = report_html(evidence)
    assert len(SVG.findall(page)) == 2
    assert not re.findall(r"""(?:src|href)=["']?(?!data:|#)[a-z]""", page)
    assert "@import" not in page
    assert "url(http" not in page


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_sorts_it_and_has_nothing_to_complain_of(width, tmp_path, evidence):
    page = report_html(evidence)
    probe = """<script>
      const errors = []; addEventListener('error', event => errors.push(event.message));
      const table = [...document.querySelectorAll('table')].find(t => t.tHead.textContent.includes("ours ms"));
      const column = [...table.tHead.rows[0].cells].findIndex(c => c.textContent === 'MACs M');
      const button = table.tHead.rows[0].cells[column].querySelector('button');
      const values = () => [...table.tBodies[0].rows].map(r => +r.cells[column].dataset.value);
      button.click(); const up = values(); button.click(); const down = values();
      document.title = JSON.stringify({errors, up, down, rows: up.length,
        wide: document.documentElement.scrollWidth - innerWidth});
    </script></body>"""
    (tmp_path / "page.html").write_text(page.replace("</body>", probe))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900",
               "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0",
               f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "page.html").as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    told = json.loads(re.search(r"<title>(.*?)</title>", done.stdout).group(1).replace("&quot;", '"'))
    assert told["errors"] == []
    assert told["rows"] == 15
    assert told["up"] == sorted(told["up"])
    assert told["down"] == sorted(told["down"], reverse=True)
    assert told["wide"] <= 0  # tables scroll, the page does not
