"""Recommendations: from records, with intervals, or none."""

import json

import numpy as np
import pytest
from conftest import ROOT
from lab_parts import record

from scarlet_zoo.arch.zoo import safe_name
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
    code, said, _ = scarlet("recommend", "--records", PEERS, "--budget-ms", 8, "--threads", 1, "--json")
    told = json.loads(said)
    assert code == 0
    assert told["choice"]["network"] == "mobilenetv3_large_100"
    assert told["choice"]["high_ms"] <= 8
    code, said, err = scarlet("recommend", "--records", PEERS, "--budget-ms", 1, "--json")
    assert (code, json.loads(said)["choice"]) == (1, None)
    assert "measure first" in err


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"rows": []}', '[{"record": 1}]', "3"])
def test_what_is_no_evidence_is_refused(tmp_path, scarlet, content):
    (tmp_path / "a.json").write_text(content)
    code, said, err = scarlet("recommend", "--records", tmp_path / "a.json", "--budget-ms", 8)
    assert (code, said) == (2, "")
    assert err.startswith(f"error: {tmp_path / 'a.json'}")
    assert err.count("\n") == 1


def written(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


OWN = {"mine": {"top1": 90.0, "images": 400}, "yours": {"top1": 80.0, "images": 400}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", OWN),
        ("a.json", [{"name": "mine", "top1": 90.0, "images": 400, "top5": 99}, {"network": "yours", "accuracy": 80}]),
        ("a.json", '{"name": "mine", "top1": 90.0, "images": 400}\n{"name": "yours", "top1": 80.0, "images": 400}\n'),
        ("a.json", {"mine": 90.0, "yours": 80}),
        ("a.csv", "name,top1,images\nmine,90,400\nyours,80,400\n"),
        ("a.csv", "\ufeffNetwork;Accuracy;Images\nmine; 90.0 ;400\nyours;80;\n"),
    ],
)
def test_own_accuracies_decide_and_published_ones_do_not_count(name, content, tmp_path):
    rows = [row("mine", 5), row("yours", 4), row("scarlet_a", 6)]
    answer = recommend(rows, 8, accuracies=[written(tmp_path / name, content)])
    assert (answer.choice.network, answer.choice.top1, answer.choice.own) == ("mine", 90.0, True)
    assert answer.choice.source == str(tmp_path / name)
    assert "own images" in answer.reason
    assert recommend(rows, 8, 95, accuracies=[tmp_path / name]).choice is None
    assert recommend(rows, 4.5, accuracies=[tmp_path / name]).choice.network == "yours"


def test_the_number_of_images_is_said_and_what_they_cannot_tell_apart(tmp_path):
    rows = [row("mine", 5), row("yours", 4), row("other", 3)]
    few = {
        "mine": {"top1": 75, "images": 12},
        "yours": {"top1": 58.33, "images": 12},
        "other": {"top1": 0, "images": 12},
    }
    answer = recommend(rows, 8, accuracies=[written(tmp_path / "few.json", few)])
    assert "top-1 75 % [46.8, 91.1] on 12 own images, which cannot tell it from yours" in answer.reason
    assert (answer.choice.images, round(answer.choice.top1_low, 1)) == (12, 46.8)
    many = {name: {"top1": values["top1"], "images": 12_000} for name, values in few.items()}
    assert "cannot tell" not in recommend(rows, 8, accuracies=[written(tmp_path / "many.json", many)]).reason


def test_an_int8_file_that_was_validated_itself_is_a_choice(tmp_path):
    rows = [row("mine", 9), row("mine_int8", 5, precision="int8")]
    of_file = written(tmp_path / "a.json", {"mine_int8.onnx": {"top1": 88, "images": 400}, "mine": 90})
    answer = recommend(rows, 8, accuracies=[of_file])
    assert (answer.choice.network, answer.choice.of_file, answer.in_integers) == ("mine_int8", True, None)
    by_network = written(tmp_path / "b.json", {"mine_int8": 88, "mine": 90})
    answer = recommend(rows, 8, accuracies=[by_network])
    assert (answer.choice, answer.in_integers.network) == (None, "mine_int8")


def test_an_identity_string_names_the_file_of_its_export(tmp_path):
    arch = "mine:e3k3-id"
    rows = [row(safe_name(arch), 5, weights="file model.safetensors")]
    assert recommend(rows, 8, accuracies=[written(tmp_path / "a.json", {arch: 70})]).choice.top1 == 70


def test_a_published_accuracy_is_not_that_of_ones_own_weights():
    assert recommend([row("scarlet_c", 5, weights="pretrained scarlet_c")], 8).choice.top1 == 75.6
    own = recommend([row("scarlet_c", 5, weights="file own.safetensors")], 8)
    assert own.choice.top1 is None
    assert "no accuracy of these weights known" in own.reason


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "got columns none, wanted the output of validate --json"),
        ("{", "is not JSON"),
        ("{}", "has no accuracies"),
        ("[3]", "got 3, wanted the output of validate --json"),
        ({"mine": 191}, "row 1: top1: got 191, wanted at most 100"),
        ({"mine": {"top1": 50, "images": 0}}, "row 1: images: got 0, wanted at least 1"),
        ({"mine": {"images": 3}}, "row 1: missing field 'top1'"),
        ({"mine": "good"}, "row 1: top1: got 'good', wanted"),
        ({"mine": float("nan")}, "row 1: top1: got nan, wanted"),
        ("name,top1\nmine,\n", "row 1: missing field 'top1'"),
        ("a,b\n1,2\n", "got columns a b, wanted"),
        ({"theirs": 50}, "accuracies: got those of theirs, wanted some of the records' networks mine"),
        ([{"name": "mine", "top1": 50}, {"name": "mine", "top1": 60}], "got 50 % ("),
    ],
)
def test_accuracies_that_are_none_are_one_line(content, says, tmp_path, scarlet):
    records = written(tmp_path / "records.json", [row("mine", 5).to_dict()])
    file = written(tmp_path / "accuracies", content)
    code, out, said = scarlet("recommend", "--records", records, "--budget-ms", 8, "--accuracy", file)
    assert (code, out, said.count("\n")) == (2, "", 1)
    assert says in said


def test_the_command_line_takes_outputs_of_validate(tmp_path, scarlet):
    records = written(tmp_path / "records.json", [row("out/mine", 5).to_dict(), row("yours", 4).to_dict()])
    validated = [written(tmp_path / f"{name}.json", {"name": f"{name}.onnx", "top1": top1, "images": 40, "classes": 4})
                 for name, top1 in (("mine", 80.0), ("yours", 70.0))]  # fmt: skip
    accuracies = [part for file in validated for part in ("--accuracy", file)]
    code, out, _ = scarlet("recommend", "--records", records, "--budget-ms", 8, *accuracies, "--json")
    choice = json.loads(out)["choice"]
    assert (code, choice["network"], choice["images"], choice["of_file"]) == (0, "mine", 40, True)
    assert (tmp_path / "none.json").exists() is False
    code, _, said = scarlet("recommend", "--records", records, "--budget-ms", 8, "--accuracy", tmp_path / "none.json")
    assert (code, said.count("\n")) == (2, 1)
    assert "none.json: cannot be read" in said
