"""Records, their comparison and repetition: nothing is believed that is not complete, comparable and steady."""

import ast
import json

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from lab_parts import CONDITIONS, noisy, record

from scarlet_zoo.errors import RecordError
from scarlet_zoo.latency import MODES, Settings, Timing, statistics
from scarlet_zoo.measurement import steady
from scarlet_zoo.measurement.compare import _widening, compare
from scarlet_zoo.measurement.records import check_record, read_records, write_records
from scarlet_zoo.measurement.steady import measure_records
from scarlet_zoo.measurement.workloads import Workload, gather


@pytest.mark.parametrize(
    ("key", "value"),
    [("device", "other"), ("threads", 2), ("runtime_version", "2"), ("spin", False), ("mode", "cold"),
     ("affinity", [0]), ("cpu_features", []), ("governor", "performance"), ("processes", 3), ("burst", 4)],
)  # fmt: skip
def test_records_of_other_conditions_are_refused_with_both_values(key, value):
    one, two = record(np.ones(100)), record(np.ones(100), **{key: value, "measurement": "y"})
    with pytest.raises(RecordError, match=rf"{key}: .* and ") as caught:
        compare(one, two)
    assert str(value) in str(caught.value)


def test_runtimes_that_were_measured_in_turns_may_be_compared():
    one, two = record(np.ones(100)), record(2 * np.ones(100), runtime="ncnn")
    assert compare(one, two).ratio == 2
    with pytest.raises(RecordError, match="runtime: 'onnxruntime' and 'ncnn'"):
        compare(one, {**two, "conditions": {**two["conditions"], "measurement": "y"}})


@pytest.mark.slow
def test_the_interval_holds_the_truth_and_a_planted_slowdown_is_found():
    wrong = found = 0
    for seed in range(50):
        a, b = noisy(2 * seed), noisy(2 * seed + 1)
        wrong += compare(record(a), record(b, measurement="y")).verdict != "no difference"
        found += compare(record(a), record(1.05 * b, measurement="y")).verdict == "slower"
    assert wrong <= 2
    assert found >= 45


def placed(seed, openings=8, spread=0.012):
    """Samples of several openings, each with a speed of its own, and where each sample belongs."""
    speeds = 1 + spread * np.random.default_rng(1000 + seed).standard_normal(openings)
    return noisy(seed, count=25 * openings) * np.repeat(speeds, 25), np.repeat(range(openings), 25).tolist()


@pytest.mark.slow
def test_what_changes_from_opening_to_opening_is_no_difference_between_files():
    wrong = found = blind = 0
    for seed in range(50):
        (a, of), (b, _) = placed(2 * seed), placed(2 * seed + 1)
        told = {"opening_of_sample": of}
        wrong += compare(record(a, told), record(b, told)).verdict != "no difference"
        found += compare(record(a, told), record(1.05 * b, told)).verdict == "slower"
        blind += compare(record(a), record(b)).verdict != "no difference"
    assert wrong <= 2
    assert found >= 45
    assert blind > 2 + wrong  # who does not know of openings finds differences that are none


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"samples_ms": []}, "samples_ms"),
        ({"samples_ms": ["1"] * 20}, "samples_ms.0"),
        ({"samples_ms": [0.0] * 20}, "samples_ms.0"),
        ({"samples_ms": [float("nan")] * 20}, "samples_ms.0"),
        ({"conditions": [1]}, "conditions"),
        ({"conditions": {}}, "conditions.device"),
        ({"conditions": {**CONDITIONS, "burst": 0}}, "conditions.burst"),
        ({"conditions": {**CONDITIONS, "sha256": "x"}}, "conditions.sha256"),
        ({"conditions": {**CONDITIONS, "mode": "warm"}}, "wanted one of hot"),
        ({"p50_ms": 2.0}, "p50_ms is 2.0, its samples give 1.0"),
        ({"runs": 5}, "runs is 5"),
        ({"surprise": 1}, "surprise"),
        ({"opening_of_sample": [0]}, "opening_of_sample has 1 values"),
    ],
)
def test_a_broken_record_is_refused_and_the_place_is_named(broken, told):
    with pytest.raises(RecordError, match="wanted a record of bench") as caught:
        compare({**record(np.ones(20)), **broken}, record(np.ones(20)))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.lists(st.floats(1e-3, 1e3), min_size=10, max_size=60))
def test_a_record_of_any_samples_survives_its_file(tmp_path_factory, samples):
    path = tmp_path_factory.mktemp("records") / "r.json"
    write_records(path, [record(samples)])
    (back,) = read_records(path)
    assert back.samples_ms == samples
    assert check_record(back.to_dict()) == back


@pytest.mark.parametrize(("count", "quantile"), [(2, 63.65674), (8, 3.499483), (16, 2.946713)])
def test_the_interval_of_few_openings_is_widened_by_students_exact_quantile(count, quantile):
    # t of 0.995 with count - 1 degrees of freedom, from the tables; the normal's is 2.575829.
    assert _widening(count, 0.99) == pytest.approx(quantile / 2.575829 * (count / (count - 1)) ** 0.5, rel=1e-6)


@pytest.mark.slow
def test_conditions_are_made_in_one_place():
    makers = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "scarlet_zoo").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Dict)
        and {"governor", "graph_optimization"} & {key.value for key in node.keys if isinstance(key, ast.Constant)}
    }
    assert makers == {"scarlet_zoo/latency.py"}


@pytest.mark.parametrize("name", ["spelling.json", "int8.json"])
def test_records_of_before_can_still_be_read(name):
    rows = json.loads((ROOT / "benchmarks" / "results" / name).read_text())
    records = [record for row in rows for record in row.get("records", [row.get("record")])]
    assert len(records) >= 6
    for row in records:
        read = check_record(row)
        assert read.conditions.cpu_features is None  # it was not asked then
        assert read.network.startswith("scarlet_")
        assert read.stable == (row["cv"] <= 0.05)


def timing(samples):
    return Timing(**record(samples), opening_of_sample=[0] * len(samples))


def test_an_unsteady_measurement_is_made_again_and_the_steadiest_is_told(monkeypatch):
    shaky, calm = [1.0, 2.0] * 50, [1.0, 1.01] * 50
    script = [shaky, [1.0, 1.2] * 50, calm, shaky]
    calls = []

    def measure_here(paths, settings, progress=None):
        calls.append(paths)
        return [timing(script[len(calls) - 1]), timing(calm)]

    monkeypatch.setattr(steady, "measure_here", measure_here)
    workloads = [Workload("one", None, "a"), Workload("two", None, "b")]
    one, two = measure_records(workloads, Settings(), repeats=5)
    assert len(calls) == 3  # steady at the third
    assert (one.network, two.network) == ("a", "b")
    assert one.stable
    assert [attempt.cv > 0.05 for attempt in one.attempts] == [True, True, False]
    assert one.cv == one.attempts[2].cv
    calls.clear()
    one, two = measure_records(workloads, Settings(), repeats=1)
    assert len(calls) == 2
    assert not one.stable
    assert two.stable
    assert one.cv == min(attempt.cv for attempt in one.attempts)


@pytest.mark.slow
def test_several_processes_are_each_fresh_and_told_apart(two_files):
    (row,) = measure_records([Workload("f", two_files[0], "small")], Settings(), processes=2, repeats=0)
    assert row.conditions.processes == 2
    assert set(row.opening_of_sample) == set(range(2 * row.conditions.openings))
    assert row.runs == len(row.opening_of_sample) >= 200
    assert statistics(row.samples_ms)["p50_ms"] == row.p50_ms


def test_files_and_names_are_gathered_in_order(two_files, tmp_path):
    found = gather([str(two_files[0]), "scarlet_mini_s"], tmp_path, ["native", "ort-x64"])
    assert [subject.label for subject in found] == [
        str(two_files[0]), "scarlet_mini_s (native)", "scarlet_mini_s (ort-x64)"
    ]  # fmt: skip
    assert all(subject.path.is_file() for subject in found)
    # A network without a name is called by its architecture, whatever its file is called.
    assert [subject.network for subject in found] == [
        "tiny:e3k3-e3k3-e3k3-e3k3-e3k3-e3k3-e3k3-e3k3", "scarlet_mini_s", "scarlet_mini_s"
    ]  # fmt: skip


@pytest.mark.slow
def test_bench_takes_names_and_its_record_can_be_replayed(scarlet, tmp_path, monkeypatch):
    monkeypatch.setitem(MODES, "hot", (100, 0.1))  # steady enough to be compared with itself
    out = tmp_path / "bench.json"
    code, said, _ = scarlet("bench", "scarlet_mini_s", "--save", out, "--json", "--repeats", 0)
    assert code == 0
    (row,) = json.loads(said)
    assert row["conditions"]["source"] == {"name": "scarlet_mini_s", "target": "native", "weights": "pretrained"}
    assert row["conditions"]["arch"].startswith("scarlet-mini:")
    assert row["stable"] == (row["cv"] <= 0.05)
    assert row["network"] == "scarlet_mini_s"
    code, said, _ = scarlet("replay", out, "--json", "--repeats", 0)
    assert code == 0
    (again,) = json.loads(said)
    assert again["reproduced_within_percent"] == pytest.approx(100 * abs(again["ratio"] - 1))
    assert 0.3 < again["ratio"] < 3
    code, _, error = scarlet("replay", out, "--within", 0, "--repeats", 0)
    assert code == 1
    assert "reproduced within" in error


@pytest.mark.slow
def test_replay_refuses_other_bytes_and_files_that_are_gone(scarlet, two_files, tmp_path, brief_measurements):
    out = tmp_path / "bench.json"
    assert scarlet("bench", two_files[0], "--save", out, "--repeats", 0)[0] == 0
    code, _, error = scarlet("replay", out, "--file", two_files[1])
    assert code == 2
    assert "sha256" in error
    rows = json.loads(out.read_text())
    rows[0]["file"] = str(tmp_path / "gone.onnx")
    out.write_text(json.dumps(rows))
    code, _, error = scarlet("replay", out)
    assert code == 2
    assert "gone.onnx: no such file" in error


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["scarlet_mini_x"], "unknown"),
        (["gone.onnx"], "no such file"),
        (["scarlet_mini_s", "--target", "ort-int9"], "ort-int9"),
        (["scarlet_mini_s", "--target", "ort-int8"], "calibration"),
        (["scarlet_mini_s", "--affinity", "a"], "affinity: got 'a'"),
        (["scarlet_mini_s", "--affinity", "4096"], "affinity: got (4096,)"),
        (["scarlet_mini_s", "--mode", "tepid"], "mode 'tepid'"),
        (["scarlet_mini_s", "--runs", "3"], "runs = 3"),
    ],
)
def test_bench_says_what_is_wrong(scarlet, arguments, told):
    code, said, error = scarlet("bench", *arguments)
    assert (code, said) == (2, "")
    assert told in error
    assert error.count("\n") == 1
