"""Recommendations: from records, with intervals, or none."""

import json

import numpy as np
import pytest
from conftest import ROOT
from lab_parts import record

from scarlet_zoo.errors import RecordError
from scarlet_zoo.measurement.compare import median_interval
from scarlet_zoo.measurement.recommend import read_evidence, recommend
from scarlet_zoo.measurement.records import check_record

PEERS = ROOT / "benchmarks" / "results" / "peers.json"


def row(name, ms, spread=0.001, **conditions):
    times = ms * (1 + spread * np.random.default_rng(0).standard_normal(100))
    told = record(times, **{"form": "native", "precision": "float32", **conditions})
    return check_record({**told, "file": f"{name}.onnx", "stable": spread < 0.05})


def test_the_most_accurate_that_keeps_the_budget_is_chosen():
    rows = [row("scarlet_c", 5), row("scarlet_a", 7), row("efficientnet_b0", 9), row("mnasnet_100", 4)]
    answer = recommend(rows, 8)
    assert answer.choice.network == "scarlet_a"
    assert answer.choice.top1 == 76.9
    assert answer.choice.low_ms <= 7 <= answer.choice.high_ms <= 8
    assert "measurement" in answer.choice.record
    assert recommend(rows, 10).choice.network == "efficientnet_b0"
    assert recommend(rows, 4.5, min_top1=74).choice.network == "mnasnet_100"


def test_where_there_is_no_evidence_it_says_measure_first():
    rows = [row("scarlet_c", 5)]
    assert recommend(rows, 4).choice is None
    assert recommend(rows, 4).reason.startswith("measure first: no measured network keeps 4 ms")
    assert "has no record of a network as asked for" in recommend(rows, 9, min_top1=80).reason
    assert "has no record of a network as asked for" in recommend(rows, 9, threads=4).reason


def test_an_interval_that_holds_the_budget_is_no_answer():
    rows = [row("scarlet_a", 8, spread=0.04)]
    low, high = median_interval(rows[0])
    assert low < rows[0].p50_ms < high
    assert recommend(rows, 1.001 * high).choice.network == "scarlet_a"
    answer = recommend(rows, (rows[0].p50_ms + high) / 2)
    assert answer.choice is None
    assert answer.maybe[0].network == "scarlet_a"
    assert answer.reason.startswith("measure again")


def test_integers_are_answered_apart():
    rows = [row("scarlet_a", 12), row("scarlet_a", 6, precision="int8"), row("scarlet_c", 7)]
    answer = recommend(rows, 8)
    assert (answer.choice.network, answer.in_integers.network) == ("scarlet_c", "scarlet_a")
    only = recommend(rows[:2], 8)
    assert only.choice is None
    assert only.reason.startswith("measure accuracy first")


def test_an_unsteady_measurement_counts_only_alone():
    steady, unsteady = row("scarlet_a", 9), row("scarlet_a", 6, spread=0.3)
    assert recommend([steady, unsteady], 8).choice is None
    alone = recommend([unsteady], 8)
    assert alone.choice.network == "scarlet_a"
    assert "measure again" in alone.reason


def test_a_network_without_a_published_accuracy_comes_last():
    rows = [row("mine", 3), row("scarlet_c", 7)]
    assert recommend(rows, 8).choice.network == "scarlet_c"
    assert recommend(rows, 5).choice.network == "mine"
    assert recommend(rows, 5, min_top1=50).choice is None


def test_records_of_several_devices_are_no_device():
    with pytest.raises(RecordError, match="wanted records of one device"):
        recommend([row("scarlet_a", 5), row("scarlet_a", 5, device="another")], 8)
    with pytest.raises(RecordError, match="of no device"):
        recommend([], 8)


def test_a_name_is_that_of_the_architecture_the_export_or_the_file():
    records = read_evidence(PEERS)
    assert {one.network for one in records} >= {"scarlet_a", "mobilenetv3_large_100", "repvit_m0_9"}
    assert row("x", 1, arch=records[0].conditions.model_extra["arch"]).network == "scarlet_a"
    assert row("out/scarlet_b", 1).network == "scarlet_b"
    source = {"name": "mnasnet_100", "target": "native", "weights": "auto"}
    assert check_record({**record(np.ones(100), source=source), "file": "x (native)"}).network == "mnasnet_100"


def test_the_maker_of_a_record_says_the_network_and_no_label_is_taken_apart():
    told = record(np.ones(100), source={"name": "mnasnet_100", "target": "native", "weights": "auto"})
    mine = check_record({**told, "file": "scarlet_b (native).onnx", "network": "my net (v2)"})
    assert mine.network == "my net (v2)"
    assert recommend([mine], 8).choice.network == "my net (v2)"
    assert check_record(mine.to_dict()) == mine


def test_this_host_is_answered_from_the_committed_records(scarlet):
    code, said, _ = scarlet("recommend", "--device", PEERS, "--budget-ms", 8, "--threads", 1, "--json")
    told = json.loads(said)
    assert code == 0
    assert told["choice"]["network"] == "mobilenetv3_large_100"
    assert told["choice"]["high_ms"] <= 8
    code, said, err = scarlet("recommend", "--device", PEERS, "--budget-ms", 1, "--json")
    assert (code, json.loads(said)["choice"]) == (1, None)
    assert "measure first" in err


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"rows": []}', '[{"record": 1}]', "3"])
def test_what_is_no_evidence_is_refused(tmp_path, scarlet, content):
    (tmp_path / "a.json").write_text(content)
    code, said, err = scarlet("recommend", "--device", tmp_path / "a.json", "--budget-ms", 8)
    assert (code, said) == (2, "")
    assert err.startswith(f"error: {tmp_path / 'a.json'}")
    assert err.count("\n") == 1
