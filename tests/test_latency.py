"""Measuring: the instrument alone, its modes and conditions."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest

from scarlet_zoo import latency, measure
from scarlet_zoo.latency import MODES, MeasurementError, Settings, measure_groups
from scarlet_zoo.measurement.compare import compare
from scarlet_zoo.measurement.records import check_record

FIELDS = {"file", "p50_ms", "p90_ms", "p99_ms", "min_ms", "cv", "runs", "load_ms", "first_ms", "peak_rss_bytes",
          "conditions", "network", "samples_ms", "opening_of_sample", "stable", "schema_version"}  # fmt: skip


@pytest.fixture(scope="module")
def timings(two_files):
    return measure([*two_files, two_files[0]])


@pytest.mark.slow
def test_a_measurement_has_enough_runs_its_percentiles_and_its_conditions(timings, two_files):
    for timing in timings:
        record = timing.to_dict()
        assert set(record) == FIELDS
        assert timing.runs == len(timing.samples_ms) >= 100
        assert sum(timing.samples_ms) >= 2000
        assert timing.min_ms == min(timing.samples_ms) <= timing.p50_ms <= timing.p90_ms <= timing.p99_ms
        assert timing.p50_ms == pytest.approx(np.median(timing.samples_ms))
        assert timing.load_ms > 0 < timing.first_ms
        assert 20e6 < timing.peak_rss_bytes < 500e6  # an interpreter and the runtime, not this process with torch
        check_record(json.loads(json.dumps(record, allow_nan=False)))
        conditions = timing.conditions
        for key in ("device", "cpu_features", "threads", "runtime", "runtime_version", "runtime_build", "provider",
                    "sha256", "warmup", "date", "spin", "affinity"):  # fmt: skip
            assert conditions[key] is not None, key
        assert conditions["input_shape"] == {"input": [1, 3, 32, 32]}
        assert (conditions["opset"], conditions["form"], conditions["precision"]) == (17, "native", "float32")
        for when in ("before", "after"):
            assert conditions[when]["load_average"] is not None
    assert [timing.file for timing in timings] == [str(two_files[0]), str(two_files[1]), str(two_files[0])]
    assert len({timing.conditions["measurement"] for timing in timings}) == 1


@pytest.mark.slow
def test_the_larger_network_is_slower_and_a_file_equals_itself(timings):
    small, large, again = (timing.to_dict() for timing in timings)
    assert compare(small, large).verdict == "slower"
    assert compare(large, small).verdict == "faster"
    same = compare(small, again, confidence=0.9999)
    assert same.paired
    assert 0.8 < same.ratio < 1.25


class Fake:
    """A runner that takes as long as it is told, and remembers when it ran."""

    log: ClassVar[list] = []

    def __init__(self, path, settings):
        self.path, self.feeds = path, {"input": np.zeros(1)}
        self.conditions = {"runtime": "fake", "runtime_version": "1", "provider": "CPU", "graph_optimization": "none"}

    def time_ms(self):
        self.log.append((self.path.name, time.perf_counter()))
        time.sleep(0.001)
        return 30.0 if self.path.name.startswith("slow") else 25.0


def faked(monkeypatch, files, settings):
    monkeypatch.setattr(Fake, "log", [])
    cold = {"load_ms": 1.0, "first_ms": 1.0, "peak_rss_bytes": 1}
    return measure(files, settings, open_runner=Fake, cold_start=lambda *_: cold), Fake.log


@pytest.fixture
def plain_files(tmp_path):
    for name in ("slow", "fast"):
        (tmp_path / name).write_bytes(b"x")
    return [tmp_path / "slow", tmp_path / "fast"]


def test_hot_files_take_turns_and_each_turn_begins_uncounted(monkeypatch, plain_files):
    timings, log = faked(monkeypatch, plain_files, Settings(burst=4, openings=1))
    names = [name for name, _ in log][20:]  # behind the warm-up
    assert names[:20] == ["slow"] * 5 + ["fast"] * 10 + ["slow"] * 5
    assert len(names) == sum(timing.runs for timing in timings) * 5 / 4


def test_files_are_opened_anew_and_who_comes_first_changes(monkeypatch, plain_files):
    opened = []

    class Opened(Fake):
        def __init__(self, path, settings):
            super().__init__(path, settings)
            opened.append(path.name)

    monkeypatch.setattr(sys.modules[__name__], "Fake", Opened)
    timings, _ = faked(monkeypatch, plain_files, Settings(openings=4))
    assert opened == ["slow", "fast", "fast", "slow"] * 2
    for timing in timings:
        counts = np.bincount(timing.opening_of_sample)
        assert len(counts) == 4
        assert counts.max() - counts.min() <= 5  # a burst
        assert len(timing.opening_of_sample) == timing.runs


@pytest.mark.slow
def test_a_camera_waits_for_its_frames(monkeypatch, plain_files):
    timings, log = faked(monkeypatch, plain_files[:1], Settings(mode="camera", frame_ms=40, openings=1))
    gaps = np.diff([when for _, when in log[10:]])
    assert timings[0].runs == 100
    # The runner claims 30 ms of each frame of 40, so 10 are idle; it really takes 1.
    assert 0.010 < np.median(gaps) < 0.030


@pytest.mark.slow
def test_cold_sweeps_a_buffer_larger_than_the_caches(monkeypatch, plain_files):
    monkeypatch.setattr(latency, "_cache_sweep", lambda: np.zeros(4096, np.uint8))
    timings, _ = faked(monkeypatch, plain_files, Settings(mode="cold"))
    assert timings[0].conditions["swept_bytes"] == 4096


@pytest.mark.slow
def test_a_cold_network_is_slower_than_a_hot_one(two_files, monkeypatch):
    for mode in ("hot", "cold"):
        monkeypatch.setitem(MODES, mode, (30, 0.05))
    hot, cold = (measure([two_files[1]], Settings(mode=mode, openings=1))[0] for mode in ("hot", "cold"))
    assert cold.p50_ms > hot.p50_ms
    assert cold.conditions["swept_bytes"] >= 2 * 2**20


@pytest.mark.slow
def test_sustained_goes_on_until_it_settles_and_one_stream_is_never_interrupted(monkeypatch, plain_files):
    timings, log = faked(monkeypatch, plain_files, Settings(mode="sustained"))
    names = [name for name, _ in log][20:]
    assert names == sorted(names, reverse=True)  # one after the other
    for timing in timings:
        assert timing.conditions["settled"]
        assert len(timing.conditions["windows_p50_ms"]) >= 30
        assert timing.runs < len(names) / 2  # the settled end alone counts
    timings, log = faked(monkeypatch, plain_files[:1], Settings(mode="single-stream"))
    assert timings[0].runs >= 1024
    assert sum(timings[0].samples_ms) >= 60_000
    assert len(log) == 10 + timings[0].runs


def test_what_never_settles_is_called_so(monkeypatch, plain_files):
    monkeypatch.setattr(latency, "_settled", lambda *_: False)
    monkeypatch.setattr(time, "perf_counter", iter(range(0, 10**9, 5)).__next__)
    cold = {"load_ms": 1.0, "first_ms": 1.0, "peak_rss_bytes": 1}
    monkeypatch.setattr(Fake, "time_ms", lambda self: 25.0)
    (timing,) = measure(plain_files[:1], Settings(mode="sustained"), open_runner=Fake, cold_start=lambda *_: cold)
    assert timing.conditions["settled"] is False


def test_affinity_holds_while_it_measures_and_no_longer(monkeypatch, plain_files):
    allowed, seen = os.sched_getaffinity(0), []
    one = min(allowed)
    monkeypatch.setattr(Fake, "time_ms", lambda self: seen.append(os.sched_getaffinity(0)) or 25.0)
    cold = {"load_ms": 1.0, "first_ms": 1.0, "peak_rss_bytes": 1}
    (timing,) = measure(plain_files[:1], Settings(affinity=(one,)), open_runner=Fake, cold_start=lambda *_: cold)
    assert set(map(frozenset, seen)) == {frozenset({one})}
    assert os.sched_getaffinity(0) == allowed
    assert timing.conditions["affinity"] == [one]
    with pytest.raises(MeasurementError, match="affinity: got"):
        measure(plain_files[:1], Settings(affinity=(4096,)), open_runner=Fake, cold_start=lambda *_: cold)


def test_groups_are_gone_through_from_their_first_file_to_their_last(two_files):
    made = measure_groups([two_files, two_files[:1]], Settings(burst=3), turns=4)
    assert [[len(times) for times in group] for group in made["samples_ms"]] == [[12, 12], [12]]
    assert made["conditions"]["opset"] == 17
    assert made["sha256"][0][0] == made["sha256"][1][0] != made["sha256"][0][1]


@pytest.mark.parametrize(
    "wrong",
    [{"threads": 0}, {"runs": 99}, {"seconds": 1.9}, {"warmup": 0}, {"burst": 0}, {"openings": 0},
     {"mode": "warm"}, {"frame_ms": 0.5},
     {"mode": "single-stream", "runs": 1023}, {"mode": "sustained", "limit_s": 10}],
)  # fmt: skip
def test_too_little_is_refused(wrong):
    with pytest.raises(MeasurementError, match="wanted"):
        Settings(**wrong)


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_has_its_own_least_runs_and_seconds(mode):
    settings = Settings(mode=mode)
    assert (settings.runs, settings.seconds) == MODES[mode]


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(MeasurementError, match="no files"):
        measure([])
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    with pytest.raises(MeasurementError, match="does not load it"):
        measure([tmp_path / "x.onnx"])


@pytest.mark.parametrize("opset", [11, 17, 20])
def test_the_opset_is_read_without_onnx(opset):
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    own = [onnx.helper.make_opsetid("com.microsoft", 1), onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=own)
    assert latency.opset_of(model.SerializeToString()) == opset
    assert latency.opset_of(b"\x0f\xff") is None


@pytest.mark.slow
def test_the_measuring_file_stands_alone(two_files, tmp_path):
    alone = tmp_path / "latency.py"
    alone.write_text(Path(latency.__file__).read_text())
    code = "import sys; sys.modules['torch'] = sys.modules['scarlet_zoo'] = sys.modules['onnx'] = None\n"
    code += "sys.argv = sys.argv[1:]; import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, str(alone), str(two_files[0])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert check_record(row).p50_ms > 0
