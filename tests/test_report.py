"""The report: made from the records alone, the same again, and a page that a browser opens without a network."""

import json
import re
import runpy
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from lab_parts import record

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.evidence.report.latency import Peers
from scarlet_zoo.evidence.report.pages import EVIDENCE, report_html, report_markdown, sections
from scarlet_zoo.evidence.report.structure import Table
from scarlet_zoo.measurement.published import published_peers

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


def estimate(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def made_up_rank():
    """As ``rank`` writes it: multiply-adds first, our default behind another strategy, chance last."""
    taus = {"macs": 0.7, "spos": 0.5, "scarlet skip=plain": 0.45, "fairnas": 0.1, "random": 0.0}
    cost = {"accuracy": 60.0, "spread": 3.0, "images": 2e5, "train_core_seconds": 90.0, "score_core_seconds": 15.0}
    rows = [{"recipe": name, "strategy": None if name in ("macs", "random") else name.split()[0], "tau": estimate(tau),
             "tau_each": [tau, tau + 0.05], "behind": None if tau == 0.5 else estimate(0.5 - tau), "seeds": 2,
             "beyond_macs": estimate(tau - 0.38), "regret": estimate(1.0),
             **(dict.fromkeys(cost) if name in ("macs", "random") else cost)}
            for name, tau in taus.items()]  # fmt: skip
    ceiling = {name: estimate(0.6) for name in ("one_another", "mean_of_the_others", "perfect_ranker")}
    return {"truth": "t", "device": "d", "recipes": [], "seeds": [0, 1], "rows": rows, "ceiling": ceiling,
            "architectures": 9, "truth_seeds": 3, "spread": 0.9, "seed_noise": 0.5, "best_top1": 87.0}  # fmt: skip


def made_up_findings():
    """As ``measure_findings.py`` writes it: the plain skip is the outlier without shortcuts, and fails twice."""
    inside = [
        {"asked": {"name": name, "skip": skip}, "loss": 1.0, "loss_deviation": 0.1, "chance": 10.0,
         "one_shot": [10.0, 11.0] if (name, skip) == ("lr 0.4", "plain") else [50.0, 60.0],
         "feature_shift": [0.0, 0.2, 0.3], "parameter_shift": [0.5, 0.6, 0.7],
         "layers": [{"layer": 1, "skip": 0.2 if name == "no shortcuts" else 0.9, "blocks": 0.5, "skip_norm": 1.1}]}
        for name in ("base", "no shortcuts", "lr 0.4") for skip in ("plain", "identity")
    ]  # fmt: skip
    inside += [{"asked": {"name": "deep", "skip": "plain"}, "diverged": "the loss is nan at step 3"},
               {**inside[1], "asked": {"name": "deep", "skip": "identity"}}]  # fmt: skip
    updates = [{"asked": {"size": size, "seed": 0}, "updates": 40.0 if size else 1e-5, "tau": 0.5 if size else 0.3,
                "accuracy": 60.0, "spread": 2.0} for size in (100, None)]  # fmt: skip
    stability = [{"asked": {"temperature": heat, "seed": 0},
                  "stability": [{"averaged": count, "each_other": 0.5, "truth": 0.4} for count in (1, 2)]}
                 for heat in (0.0, 1.0)]  # fmt: skip
    return {"inside": inside, "updates": updates, "stability": stability}


@pytest.fixture(scope="module")
def evidence():
    told = {name: json.loads((BENCHMARKS / "results" / f"{name}.json").read_text())
            for name in EVIDENCE if name not in ("published", "peers")}  # fmt: skip
    published = [peer.model_dump() for peer in published_peers()]
    # Reversed, so that SCARLET's are the slowest and what is faster and more accurate exists.
    names = [row["name"] for row in reversed(published)]
    return {**told, "published": published, "peers": made_up_peers(names), "rank": made_up_rank(),
            "findings": made_up_findings()}  # fmt: skip


@pytest.fixture(scope="module")
def markdown(evidence):
    return report_markdown(evidence)


@pytest.fixture(scope="module")
def page(evidence):
    return report_html(evidence)


@pytest.mark.slow
def test_the_committed_report_is_what_the_records_give(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["make_report.py", "--out", str(tmp_path)])
    runpy.run_path(str(BENCHMARKS / "make_report.py"), run_name="__main__")
    assert (tmp_path / "REPORT.md").read_text() == (BENCHMARKS / "REPORT.md").read_text()
    # How lines are drawn is matplotlib's business, and changes with its version.
    made, kept = ((folder / "report.html").read_text() for folder in (tmp_path, BENCHMARKS))
    assert SVG.sub("", made) == SVG.sub("", kept)
    assert len(SVG.findall(made)) == len(SVG.findall(kept)) >= 2
    figures = {file.name for file in (tmp_path / "figures").iterdir()}
    # The terminal of the first page has a driver of its own.
    assert figures == {file.name for file in (BENCHMARKS / "figures").iterdir()} - {"terminal.svg"}
    assert set(re.findall(r"\(figures/(\S+)\)", (BENCHMARKS / "REPORT.md").read_text())) == figures


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


@pytest.mark.slow
def test_a_changed_record_changes_the_report(evidence, markdown, page):
    changed = json.loads(json.dumps(evidence))
    changed["peers"]["rows"][0]["record"]["p50_ms"] *= 1.5
    assert report_markdown(changed) != markdown
    assert report_html(changed) != page


def test_what_loses_and_what_failed_is_said(evidence, markdown):
    (losses,) = (section for section in sections(evidence) if section.heading == "Where SCARLET loses")
    assert len(losses.words) == 3
    for sentence in losses.words:
        better, worse = sentence.split("faster and less accurate: ")
        assert "repvit_m0_9 (2.00 ms, 78.7 %)" in better
        assert "mobilenetv2_100" in worse
    assert "cannot be exported" in markdown


def test_the_verdict_names_who_is_first_who_is_near_and_the_default(evidence):
    verdict, inside, *_ = [one for one in sections(evidence) if "figure" not in one.heading][-5:]
    assert verdict.words[1].startswith(
        "First of the supernets: spos 0.500 [0.400, 0.600]. Not distinguishable from it at 95 %: "
    )
    assert verdict.words[1].endswith(": scarlet skip=plain.")
    assert "macs 0.700 [0.600, 0.800], random 0.000 [-0.100, 0.100]." in verdict.words[2]
    assert verdict.words[2].endswith("Better than every supernet at 95 %: macs 0.700 [0.600, 0.800].")
    assert verdict.words[3].endswith("(partial tau-b above 0 at 95 %): spos.")
    assert verdict.words[4].endswith("is number 2 of the supernets and is not distinguishable from the first.")
    ranked, cost = verdict.tables
    assert [row[0] for row in ranked.rows] == ["macs", "spos", "scarlet skip=plain", "fairnas", "random"]
    assert [row[0] for row in cost.rows] == ["spos", "scarlet skip=plain", "fairnas"]
    (plain,) = [sentence for sentence in inside.words if sentence.startswith("plain: ")]
    assert "the cosine of the skip to the blocks is 0.55, that of the blocks to each other 0.50 (" in plain
    assert plain.endswith("the skip is the outlier in 1 of 2 conditions: no shortcuts.")
    assert inside.words[0].endswith("near chance, of 4: plain 2 (lr 0.4, deep); identity 0.")
    assert inside.words[1].startswith(
        "Means over the 2 conditions in which all have learned: plain loss 1.000, with a deviation of 0.100 "
    )
    assert "Cosines by layer, plain in the base condition: layer 2 0.90 (blocks 0.50)." in inside.words
    assert inside.tables[0].texts()[6] == ["deep", "plain", *[""] * 7]
    without = {name: value for name, value in evidence.items() if name not in ("rank", "findings")}
    assert len(sections(without)) == len(sections(evidence)) - 5
    assert "Which recipe ranks best" not in report_markdown(without)


def test_a_choice_keeps_its_budget(evidence):
    for row in Peers(evidence["peers"], evidence["published"]).choices().rows:
        assert row[1] == "none" or row[3] <= row[0]
        assert row[4] == "none" or row[4].startswith("scarlet")


def test_evidence_that_is_missing_is_named(evidence):
    with pytest.raises(ScarletError, match="got no lut, wanted"):
        sections({name: value for name, value in evidence.items() if name != "lut"})


@pytest.mark.slow
def test_text_in_a_table_cannot_become_markup(evidence):
    changed = json.loads(json.dumps(evidence))
    changed["published"][0]["source"] = "<script>alert(1)</script>"
    assert "<script>alert" not in report_html(changed)
    assert Table("t", ("a", "b"), (0, 2), (("x", 1.005), ("y", None))).texts() == [["x", "1.00"], ["y", ""]]


@pytest.mark.slow
def test_the_page_asks_for_nothing_from_elsewhere(page):
    assert len(SVG.findall(page)) == 7
    assert not re.findall(r"""(?:src|href)=["']?(?!data:|#)[a-z]""", page)
    assert "@import" not in page
    assert "url(http" not in page


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_sorts_it_and_has_nothing_to_complain_of(width, tmp_path, page):
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
