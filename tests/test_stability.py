"""The mark of an unstable measurement travels: whatever speaks of the record has it, in words and in JSON."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from lab_parts import record

from scarlet_zoo.cli import bench as verbs
from scarlet_zoo.cli.layout import records_table, tuning_table
from scarlet_zoo.deployment.deploy_report import deployment_markdown, deployment_rows
from scarlet_zoo.deployment.tune import Tried, Tuning
from scarlet_zoo.evidence.report.latency import unstable_share
from scarlet_zoo.latency import Timing
from scarlet_zoo.measurement.compare import compare
from scarlet_zoo.measurement.recommend import recommend
from scarlet_zoo.measurement.records import check_record, unstable_words, write_records
from scarlet_zoo.measurement.replay import Replay

CALM, SHAKY = [1.0, 1.01] * 50, [2.0, 4.0] * 50


def named(name, samples, **more):
    return check_record({**record(samples, more), "file": f"{name}.onnx"})


def text_of(grid):
    return "\n".join(line for line, _ in grid.lines(200))


@pytest.fixture
def shaky(tmp_path):
    write_records(tmp_path / "shaky.json", [named("calm", CALM), named("shaky", SHAKY)])
    return tmp_path / "shaky.json"


@pytest.fixture
def calm(tmp_path):
    write_records(tmp_path / "calm.json", [named("calm", CALM), named("other", 3 * np.array(CALM))])
    return tmp_path / "calm.json"


def test_a_verdict_on_unstable_runs_says_that_it_is_one(scarlet, shaky, calm):
    code, said, _ = scarlet("compare", shaky)
    assert code == 0
    assert "slower UNSTABLE" in said
    assert "a verdict on runs that vary by more than 5 % is not reliable" in said
    assert "shaky.onnx" in said.split("not reliable")[1]
    (row,) = json.loads(scarlet("compare", shaky, "--json")[1])
    assert (row["verdict"], row["base_stable"], row["new_stable"], row["stable"]) == ("slower", True, False, False)
    code, _, err = scarlet("compare", shaky, "--fail-above", 1.5)
    assert code == 1
    assert "a verdict on UNSTABLE runs: shaky.onnx varied by 33.3%" in err
    code, said, err = scarlet("compare", calm, "--fail-above", 1.5)
    assert code == 1
    assert "UNSTABLE" not in said + err
    assert json.loads(scarlet("compare", calm, "--json")[1])[0]["stable"]


def test_a_record_that_does_not_say_it_is_judged_by_its_variation():
    assert named("a", SHAKY).stable is False
    assert named("a", CALM).stable is True
    assert unstable_words([named("a", SHAKY), named("b", CALM)]) == "a.onnx varied by 33.3%"
    assert compare(record(SHAKY), record(CALM)).base_stable is False
    assert "33.3% UNSTABLE" in text_of(records_table([named("a", SHAKY)]))
    assert "UNSTABLE" not in text_of(records_table([named("a", CALM)], devices=True))
    assert unstable_share([record(SHAKY), record(CALM)]).startswith("; UNSTABLE: 1 of 2")
    assert unstable_share([record(CALM)]) == ""


def test_a_replay_says_which_of_the_two_is_unstable():
    row = Replay("f", 1.0, 1.0, 1.0, 0.9, 1.1, 0.0, stable=False, record_stable=True)
    assert verbs._unsteady(row) == " (UNSTABLE: the repetition varied by more than 5 %)"
    both = verbs._unsteady(replace(row, record_stable=False))
    assert both == " (UNSTABLE: the record and the repetition varied by more than 5 %)"
    assert verbs._unsteady(replace(row, stable=True)) == ""


def report_of(samples):
    timing = Timing(**record(samples), opening_of_sample=[0] * 100).to_dict()
    parity = {"passed": True, "max_abs_err": 0.0, "max_rel_err": 0.0, "sqnr_db": 100.0, "top1_agreement": 1.0,
              "tolerance": {"reason": "r"}, "cases": []}  # fmt: skip
    return {"name": "n", "arch": None, "weights": "w", "params": 1, "macs": 1, "published": None, "parity": parity,
            "fold": {"summary": "s", "steps": [], "skipped": []}, "timing": timing,
            "artifact": {"path": "p", "opset": 17, "form": "native", "sha256": "0"}}  # fmt: skip


def test_a_deployment_marks_its_latency_in_every_form():
    rows = dict(deployment_rows(report_of(SHAKY)))
    assert rows["latency p50"] == "3.00 ms UNSTABLE"
    assert "measure again" in rows["variation"]
    assert "3.00 ms UNSTABLE" in deployment_markdown(report_of(SHAKY))
    assert report_of(SHAKY)["timing"]["stable"] is False
    assert "UNSTABLE" not in deployment_markdown(report_of(CALM))


def test_the_table_of_forms_marks_each():
    timings = {name: Timing(**record(samples), opening_of_sample=[0] * 100) for name, samples in
               (("native", SHAKY), ("blocked", CALM))}  # fmt: skip
    rows = tuple(Tried(name, True, None, 90.0, 1.0, timing.to_dict()) for name, timing in timings.items())
    lines = text_of(tuning_table(Tuning(SimpleNamespace(), rows))).splitlines()  # type: ignore[arg-type]
    assert ["UNSTABLE" in line for line in lines] == [False, True, False]


def test_a_recommendation_marks_what_it_names():
    names = {"scarlet_a": 8.0, "scarlet_c": 5.0}
    rows = [check_record({**record(ms * np.array(SHAKY) / 3), "file": f"{name}.onnx"}) for name, ms in names.items()]
    answer = recommend(rows, 100)
    assert answer.choice.stable is False
    assert "UNSTABLE" in answer.reason
    assert "ms UNSTABLE" in recommend(rows, 0.1).reason
    steady = [check_record({**record(ms * np.array(CALM)), "file": f"{name}.onnx"}) for name, ms in names.items()]
    assert "UNSTABLE" not in recommend(steady, 100).reason
