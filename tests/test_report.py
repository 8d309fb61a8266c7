"""The report: made from the records alone, the same again, and a page that a browser opens without a network."""

import json
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.lab.findings import Peers, Table
from scarlet_zoo.lab.pages import EVIDENCE, report_html, report_markdown, sections

BENCHMARKS = ROOT / "benchmarks"
CHROMIUM = shutil.which("chromium")
SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)


@pytest.fixture(scope="module")
def evidence():
    told = {name: json.loads((BENCHMARKS / "results" / f"{name}.json").read_text())
            for name in EVIDENCE if name != "published"}  # fmt: skip
    return {**told, "published": tomllib.loads((BENCHMARKS / "peers.toml").read_text())["network"]}


def test_the_committed_report_is_what_the_records_give(evidence, tmp_path):
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


def test_what_loses_is_said(evidence):
    (losses,) = (section for section in sections(evidence) if section.heading == "Where SCARLET loses")
    assert len(losses.words) == 3
    assert all("mobilenetv3_large_100" in sentence for sentence in losses.words)


def test_evidence_that_is_missing_is_named(evidence):
    with pytest.raises(ScarletError, match="no lut, wanted"):
        sections({name: value for name, value in evidence.items() if name != "lut"})


def test_text_in_a_table_cannot_become_markup(evidence):
    changed = json.loads(json.dumps(evidence))
    changed["published"][0]["source"] = "<script>alert(1)</script>"
    assert "<script>alert" not in report_html(changed)
    assert Table("t", ("a", "b"), (0, 2), (("x", 1.005), ("y", None))).texts() == [["x", "1.00"], ["y", ""]]


def test_the_page_asks_for_nothing_from_elsewhere():
    page = (BENCHMARKS / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["']?(?!data:|#)[a-z]""", page)
    assert "@import" not in page
    assert "url(http" not in page


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_sorts_it_and_has_nothing_to_complain_of(width, tmp_path):
    page = (BENCHMARKS / "report.html").read_text()
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
