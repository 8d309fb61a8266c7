import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scarlet_zoo import compare, create_model, export_onnx, latency, measure
from scarlet_zoo.errors import RecordError
from scarlet_zoo.latency import MeasurementError, Settings

FIELDS = {"file", "p50_ms", "p90_ms", "p99_ms", "min_ms", "cv", "runs", "load_ms", "first_ms", "peak_rss_bytes",
          "conditions", "samples_ms"}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    from conftest import TINY

    folder = tmp_path_factory.mktemp("latency")
    small = create_model(TINY.arch(["e3k3"] * 8)).eval()
    large = create_model(TINY.arch(["e6k5se"] * 8)).eval()
    return [export_onnx(model, folder / f"{name}.onnx").path for name, model in (("small", small), ("large", large))]


@pytest.fixture(scope="module")
def timings(files):
    return measure([*files, files[0]])


def test_a_measurement_has_enough_runs_its_percentiles_and_its_conditions(timings, files):
    for timing in timings:
        record = timing.to_dict()
        assert set(record) == FIELDS
        assert timing.runs == len(timing.samples_ms) >= 100
        assert sum(timing.samples_ms) >= 2000
        assert timing.min_ms == min(timing.samples_ms) <= timing.p50_ms <= timing.p90_ms <= timing.p99_ms
        assert timing.p50_ms == pytest.approx(np.median(timing.samples_ms))
        assert timing.load_ms > 0 < timing.first_ms
        assert 20e6 < timing.peak_rss_bytes < 500e6  # an interpreter and the runtime, not this process with torch
        conditions = timing.conditions
        for key in ("device", "threads", "runtime", "runtime_version", "provider", "sha256", "warmup", "date", "spin"):
            assert conditions[key] is not None, key
        assert conditions["input_shape"] == {"input": [1, 3, 32, 32]}
    assert [timing.file for timing in timings] == [str(files[0]), str(files[1]), str(files[0])]
    assert len({timing.conditions["measurement"] for timing in timings}) == 1
    json.dumps([timing.to_dict() for timing in timings], allow_nan=False)


def test_the_larger_network_is_slower_and_a_file_equals_itself(timings):
    small, large, again = (timing.to_dict() for timing in timings)
    assert compare(small, large).verdict == "slower"
    assert compare(large, small).verdict == "faster"
    same = compare(small, again, confidence=0.9999)
    assert same.paired
    assert 0.8 < same.ratio < 1.25


def record(samples, **conditions):
    base = {
        "device": "d", "machine": "m", "system": "s", "cores": 2, "governor": None, "runtime": "onnxruntime",
        "runtime_version": "1", "provider": "p", "graph_optimization": "all", "mode": "hot", "threads": 1,
        "spin": True, "warmup": 10, "burst": 5, "input_shape": {}, "measurement": "x",
    }  # fmt: skip
    return {"file": "f", "samples_ms": [float(sample) for sample in samples], "conditions": {**base, **conditions}}


@pytest.mark.parametrize(
    ("key", "value"), [("device", "other"), ("threads", 2), ("runtime_version", "2"), ("spin", False), ("mode", "cold")]
)
def test_records_of_other_conditions_are_refused_with_both_values(key, value):
    one, two = record(np.ones(100)), record(np.ones(100), **{key: value})
    with pytest.raises(RecordError, match=rf"{key}: .* and {value!r}"):
        compare(one, two)


def test_the_interval_holds_the_truth_and_a_planted_slowdown_is_found():
    random = np.random.default_rng(0)
    wrong = found = 0
    for _ in range(50):
        a, b = (5 + random.gamma(2, 0.1, 200) for _ in range(2))
        wrong += compare(record(a), record(b, measurement="y")).verdict != "no difference"
        found += compare(record(a), record(1.05 * b, measurement="y")).verdict == "slower"
    assert wrong <= 2
    assert found >= 45


@pytest.mark.parametrize(
    "broken",
    [
        {"samples_ms": []},
        {"samples_ms": ["1"] * 20},
        {"samples_ms": [0.0] * 20},
        {"samples_ms": [float("nan")] * 20},
        {"conditions": [1]},
        {"conditions": {}},
        {"conditions": {**record([])["conditions"], "burst": 0}},
    ],
)
def test_a_broken_record_is_refused(broken):
    with pytest.raises(RecordError, match="wanted a record of bench"):
        compare({**record(np.ones(20)), **broken}, record(np.ones(20)))


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"runs": 99}, {"seconds": 1.9}, {"warmup": 0}, {"burst": 0}])
def test_too_little_is_refused(wrong):
    with pytest.raises(MeasurementError, match="wanted"):
        Settings(**wrong)


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(MeasurementError, match="no files"):
        measure([])
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    with pytest.raises(MeasurementError, match="does not load it"):
        measure([tmp_path / "x.onnx"])


def test_the_measuring_file_stands_alone(files, tmp_path):
    alone = tmp_path / "latency.py"
    alone.write_text(Path(latency.__file__).read_text())
    code = "import sys; sys.modules['torch'] = sys.modules['scarlet_zoo'] = None; sys.argv = sys.argv[1:]\n"
    code += "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, str(alone), "--cold", str(files[0])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"load_ms", "first_ms", "peak_rss_bytes"}
