"""Runtimes' own programs on a phone: what they print is read strictly, and becomes records with their conditions."""

import json
import shutil

import pytest
from adb_stand_in import standing_in
from device_outputs import (
    BENCHMARK_MODEL,
    EARLY_EXECUTOR_RUNNER,
    EXECUTOR_RUNNER,
    LATER_BENCHMARK_MODEL,
    PERF_TEST,
    benchmark_model,
    executor_runner,
)

from scarlet_zoo.errors import RecordError
from scarlet_zoo.measurement.compare import compare
from scarlet_zoo.measurement.phone.executorch_tool import ExecutorRunner
from scarlet_zoo.measurement.phone.litert_tool import BenchmarkModel
from scarlet_zoo.measurement.records import read_records


@pytest.fixture
def phone(tmp_path, monkeypatch):
    with standing_in(tmp_path) as made:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(made.port))
        yield made


@pytest.fixture
def programs(tmp_path):
    found = {"--perf-test": PERF_TEST, "--benchmark-model": benchmark_model(), "--executor-runner": executor_runner()}
    paths = {flag: tmp_path / f"own{flag.replace('-', '_')}" for flag in found}
    for flag, path in paths.items():
        path.write_text(found[flag])
    return paths


@pytest.fixture
def strangers(tmp_path):
    """Files that somebody else made: no description beside them."""
    (tmp_path / "net.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    (tmp_path / "net.pte").write_bytes(b"\x1c\0\0\0ET12 XnnpackBackend")
    return tmp_path / "net.tflite", tmp_path / "net.pte"


def test_what_benchmark_model_printed_is_read():
    read = BenchmarkModel().read(BENCHMARK_MODEL, 50, "net.tflite")
    assert (read.samples_ms, read.load_ms, read.first_ms, read.runs_per_sample) == ([602.943], 592.232, 633.43, 50)
    assert read.conditions == {"provider": "XNNPACK", "delegated": "part"}
    later = BenchmarkModel().read(LATER_BENCHMARK_MODEL, 25, "net.tflite")
    assert (later.samples_ms, later.load_ms, later.first_ms, later.runs_per_sample) == ([145.528], 92.318, 235.158, 25)
    assert later.conditions["provider_nodes"] == {"XNNPACK": 539, "CPU": 9}
    same = BENCHMARK_MODEL.replace(
        "count=50 first=605745 curr=618849 min=568228 max=722188 avg=602943 std=27690", "count=50 curr=602943(all same)"
    )
    assert BenchmarkModel().read(same, 50, "net.tflite").samples_ms == [602.943]


def test_how_much_xnnpack_took_is_said():
    whole = BENCHMARK_MODEL.replace("partially executed by the delegate w/ 1 delegate kernels",
                                    "completely executed by the delegate")  # fmt: skip
    assert BenchmarkModel().read(whole, 50, "n").conditions == {"provider": "XNNPACK", "delegated": "all"}
    said = "Explicitly applied XNNPACK delegate, and the model graph will be partially executed by the delegate w/ 1"
    none = BENCHMARK_MODEL.replace(said, "Though XNNPACK delegate is explicitly applied, the model graph will not be "
                                   "executed by the delegate")  # fmt: skip
    assert BenchmarkModel().read(none, 50, "n").conditions == {"provider": "CPU", "delegated": "none"}


@pytest.mark.parametrize(("change", "why"), [
    (lambda text: text.split("INFO: Running benchmark for at least 50")[0], "printed 1 statistics, wanted statistics"),
    (lambda text: text.split("INFO: Inference timings")[0], "wanted .* 'Inference timings in us'"),
    (lambda text: text.replace("count=50", "cout=50"), "printed 1 statistics"),
    (lambda text: text.replace("count=50", "count=7"), "counted 7 runs"),
    (lambda text: text.replace("avg=602943", "avg=302943"), "the means 302943 and 602943 us, wanted the same twice"),
    (lambda text: text.replace("602943", "nan"), "printed 'nan', wanted a time"),
    (lambda text: text.replace("Explicitly applied XNNPACK", "Failed to apply XNNPACK"), "whether XNNPACK was applied"),
    (lambda text: text.replace("Initialized session", "ERROR: Failed"), "printed 2 statistics"),
    (lambda text: "", "its last line: nothing"),
])  # fmt: skip
def test_what_benchmark_model_prints_when_it_fails_is_no_measurement(change, why):
    with pytest.raises(RecordError, match=f"net.tflite: benchmark_model .*{why}") as caught:
        BenchmarkModel().read(change(BENCHMARK_MODEL), 50, "net.tflite")
    assert "\n" not in str(caught.value)


def test_what_executor_runner_printed_is_read():
    assert list(ExecutorRunner().read(EXECUTOR_RUNNER, 1, "net.pte")) == pytest.approx([5.262, 0.691078])
    more = EXECUTOR_RUNNER.replace(" 1 time(s) in 0.691078", " 11 time(s) in 3.191078")
    session = ExecutorRunner().difference((5.262, 0.691078), more, 10, "net.pte")
    assert list(session.samples_ms) == pytest.approx([0.25])
    assert (session.load_ms, session.first_ms, session.runs_per_sample) == (5.262, 0.691078, 10)


@pytest.mark.parametrize(("text", "why"), [
    (EARLY_EXECUTOR_RUNNER, "printed no sum and the time of loading"),
    (EXECUTOR_RUNNER.replace(" in 0.691078 ms", ""), "printed no time of them, wanted a newer executor_runner"),
    (EXECUTOR_RUNNER.replace("successfully 1 ", "successfully 2 "), "printed 2 executions"),
    (EXECUTOR_RUNNER.replace("0.691078", "-1"), "printed '-1', wanted a time"),
    (EXECUTOR_RUNNER.replace("Method loaded.", "Method"), "no time of loading"),
    ("", "its last line: nothing"),
])  # fmt: skip
def test_what_executor_runner_prints_when_it_fails_is_no_measurement(text, why):
    with pytest.raises(RecordError, match=f"net.pte: executor_runner .*{why}"):
        ExecutorRunner().read(text, 1, "net.pte")
    with pytest.raises(RecordError, match=r"took 4 ms for one execution and 0\.691078 ms for 1, wanted more"):
        ExecutorRunner().difference((1.0, 4.0), EXECUTOR_RUNNER, 0, "net.pte")


@pytest.mark.slow
def test_files_of_three_runtimes_are_measured_interleaved(phone, programs, strangers, two_files, tmp_path, scarlet):
    flags = [part for flag, path in programs.items() for part in (flag, path)]
    code, said, err = scarlet("device", "run", two_files[0], *strangers, *flags, "--settle", 0, "--affinity", "0,1",
                              "--out", tmp_path / "out", "--json")  # fmt: skip
    assert (code, err) == (0, "")
    onnx, litert, executorch = read_records(tmp_path / "out" / "Stand-in-Phone-1.json")
    assert [row["p50_ms"] for row in json.loads(said)] == [onnx.p50_ms, litert.p50_ms, executorch.p50_ms]
    assert onnx.p50_ms == pytest.approx(4.01)
    assert (onnx.runs, onnx.conditions.runtime, onnx.conditions.provider) == (
        160,
        "onnxruntime",
        "CPUExecutionProvider",
    )
    assert (litert.p50_ms, litert.load_ms, litert.first_ms) == (602.943, 592.232, 633.43)
    assert (litert.conditions.runtime, litert.conditions.provider) == ("litert", "XNNPACK")
    assert [executorch.p50_ms, executorch.load_ms] == pytest.approx([0.25, 5.262])
    assert (executorch.conditions.runtime, executorch.conditions.provider) == ("executorch", "XNNPACK")
    for record, program in ((litert, "benchmark_model"), (executorch, "executor_runner")):
        own = record.conditions
        assert (own.burst, own.openings, own.affinity, record.runs, record.file) == (
            1, 16, [0, 1], 16, str(strangers[program == "executor_runner"]))  # fmt: skip
        assert own.model_extra["program"] == program
        assert own.model_extra["runs_per_sample"] == 10
        assert len(own.model_extra["program_sha256"]) == 64
        assert own.input_shape == {}
    assert len({record.conditions.measurement for record in (onnx, litert, executorch)}) == 1
    starts = [line.split("/own")[0] for line in phone.commands if "taskset 3 ./" in line]
    names = [line.split("taskset 3 ./")[1].split()[0] for line in starts]
    assert names[:8] == ["onnxruntime_perf_test", "benchmark_model", "executor_runner", "executor_runner",
                         "executor_runner", "executor_runner", "benchmark_model", "onnxruntime_perf_test"]  # fmt: skip
    assert list(phone.folder.iterdir()) == []
    with pytest.raises(RecordError, match=r"cannot be compared: burst: 5 and 1"):
        compare(onnx, litert)


@pytest.mark.parametrize(("arguments", "why"), [
    (("{tflite}",), "net.tflite: got no program that runs it, wanted --benchmark-model FILE"),
    (("{tflite}", "--executor-runner", "{program}"), "would be ignored, got no .pte file"),
    (("{tflite}", "{onnx}", "--benchmark-model", "{program}"), "got no program that runs it, wanted --perf-test FILE"),
    (("{tflite}", "--benchmark-model", "{program}", "--provider", "XNNPACK"), "it only applies to ONNX files"),
    (("{tflite}", "--benchmark-model", "{program}", "--ort-version", "1.2"), "it only applies to ONNX files"),
    (("{tflite}", "--benchmark-model", "{program}", "--no-spin"), "--no-spin, which benchmark_model does not have"),
    (("{tflite}", "--benchmark-model", "{program}", "--mode", "cold"), "and mode cold, wanted a file and mode hot"),
    (("{tflite}", "--benchmark-model", "/nowhere"), "wanted a file and mode hot"),
    (("{param}", "--benchmark-model", "{program}"), "would be ignored, got no .tflite file"),
    (("{gone}", "--benchmark-model", "{program}"), "gone.tflite: no such file"),
])  # fmt: skip
def test_what_no_program_can_run_is_one_line(arguments, why, phone, programs, strangers, two_files, tmp_path, scarlet):
    shutil.copy(strangers[0], tmp_path / "net.ncnn.param")
    places = {"tflite": strangers[0], "onnx": two_files[0], "program": programs["--benchmark-model"],
              "param": tmp_path / "net.ncnn.param", "gone": tmp_path / "gone.tflite"}  # fmt: skip
    code, out, err = scarlet("device", "run", *(word.format(**places) for word in arguments), "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert why in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_program_that_ends_badly_is_one_line_and_leaves_nothing(phone, strangers, tmp_path, scarlet):
    program = tmp_path / "benchmark_model"
    program.write_text("#!/bin/sh\necho ERROR: Failed to load model >&2\nexit 1\n")
    code, _, err = scarlet("device", "run", strangers[0], "--benchmark-model", program, "--settle", 0, "--out",
                           tmp_path / "out")  # fmt: skip
    assert (code, err.count("\n")) == (2, 1)
    assert "ended with 1: ERROR: Failed to load model" in err
    assert list(phone.folder.iterdir()) == []
