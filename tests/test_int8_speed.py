"""What is said of int8 on a processor: whether it pays there, which file a phone wants, and how close it is."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from lab_parts import record

from scarlet_zoo.cli.exported_rows import exported_rows, int8_rows
from scarlet_zoo.cli.quantize import tell_of_int8
from scarlet_zoo.deployment import int8_speed
from scarlet_zoo.deployment.exported import Exported
from scarlet_zoo.deployment.int8_speed import (
    far_from_float_line,
    int8_file_lines,
    int8_is_faster,
    mostly_float_line,
    slow_int8_line,
)
from scarlet_zoo.graph.artifact import Artifact
from scarlet_zoo.graph.quantization.quantize import Int8, Quantized
from scarlet_zoo.measurement.recommend import recommend
from scarlet_zoo.measurement.records import check_record


@pytest.fixture
def old_desk(monkeypatch):
    """An x64 processor without VNNI."""
    monkeypatch.setattr(int8_speed, "this_processor", lambda: "x86_64")
    monkeypatch.setattr(int8_speed, "cpu_features", lambda: ["avx2", "fma"])
    monkeypatch.setattr("scarlet_zoo.graph.quantization.isa.this_isa", lambda: "x64")


def test_instruction_sets_say_whether_int8_pays():
    assert int8_is_faster("AMD64", ["avx2", "avx512_vnni"]) is True
    assert int8_is_faster("x86_64", ["avx2", "fma"]) is False
    assert int8_is_faster("arm64", ["asimd", "asimddp"]) is True
    assert int8_is_faster("aarch64", ["asimd"]) is False
    assert int8_is_faster("x86_64", []) is None
    assert int8_is_faster("riscv64", ["v"]) is None


def test_an_old_desk_hears_that_int8_may_not_pay_and_what_a_phone_wants(old_desk):
    slow = slow_int8_line()
    assert "no faster than float32 on this processor, which has none of avx512_vnni avx_vnni" in slow
    own, phone = int8_file_lines(None)
    assert own == slow
    assert "the file is for x64-avx2; for a phone export with --isa arm64" in phone
    assert int8_file_lines("arm64") == []
    assert int8_file_lines("x64-avx2") == [slow]


def test_a_processor_with_dot_products_hears_nothing(monkeypatch):
    monkeypatch.setattr(int8_speed, "this_processor", lambda: "x86_64")
    monkeypatch.setattr(int8_speed, "cpu_features", lambda: ["avx2", "avx_vnni"])
    monkeypatch.setattr("scarlet_zoo.graph.quantization.isa.this_isa", lambda: "x64-vnni")
    assert slow_int8_line() is None
    assert int8_file_lines(None) == []


def test_outputs_that_are_far_from_the_float_ones_are_told_with_what_to_try():
    assert far_from_float_line(25.0, 0.95) is None
    assert far_from_float_line(25.0, None) is None
    said = far_from_float_line(17.123456, 0.875)
    assert "an SQNR of 17.1 dB, wanted 20 or more and the same class on 88% of the images, wanted 90% or more" in said
    assert all(what in said for what in ("calibration images", "--ranges", "sensitivity", "--keep-float"))
    assert "SQNR" not in far_from_float_line(25.0, 0.5)


def test_the_lines_are_notes_on_stderr(old_desk, capsys):
    made = Quantized(None, 12.0, None, {}, "held-out", 0.5, {})
    tell_of_int8(made, Int8(isa="arm64"))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("note: the int8 outputs are far from the float ones: got an SQNR of 12.0 dB")
    assert said.err.count("\n") == 1


def row(name, ms, **conditions):
    told = record([ms] * 100, **{"form": "native", "precision": "float32", **conditions})
    return check_record({**told, "file": f"{name}.onnx", "stable": True})


def test_a_recommendation_says_what_was_measured_of_int8_else_what_to_expect():
    slow = recommend([row("scarlet_a", 7), row("scarlet_a", 7.7, precision="int8")], 8).slow_int8
    assert "scarlet_a took 1.10 times as long" in slow
    assert recommend([row("scarlet_a", 7), row("scarlet_a", 5, precision="int8")], 8).slow_int8 is None
    old = {"machine": "x86_64", "cpu_features": ["avx2", "fma"]}
    assert "by its instruction sets" in recommend([row("scarlet_a", 7, **old)], 8).slow_int8
    new = {"machine": "x86_64", "cpu_features": ["avx2", "avx512_vnni"]}
    assert recommend([row("scarlet_a", 7, **new)], 8).slow_int8 is None


def test_bench_says_it_of_an_int8_file(old_desk, scarlet, monkeypatch):
    timed = row("scarlet_a", 7, precision="int8")
    monkeypatch.setattr("scarlet_zoo.measurement.bench.bench", lambda *_, **__: [timed])
    code, out, _ = scarlet("bench", "any.onnx")
    assert code == 0
    assert "int8 may be no faster than float32 on this processor" in " ".join(out.split())
    code, out, _ = scarlet("bench", "any.onnx", "--json")
    assert len(json.loads(out)) == 1


def test_a_file_that_is_mostly_float_says_so():
    def made(kept, integer):
        return SimpleNamespace(kept=("n",) * kept, integer_layers=integer)

    assert mostly_float_line(made(0, 0)) is None
    assert mostly_float_line(made(3, 10)) is None
    line = mostly_float_line(made(32, 21))
    assert line.startswith("32 of 53 layers stay in float, because")
    assert "--least-sqnr" in line
    assert mostly_float_line(made(1, 3)).startswith("1 of 4 layers stay")


def test_the_table_of_an_integer_file_has_its_instruction_set_and_no_python():
    artifact = Artifact(Path("q.onnx"), "0" * 64, 17, 8, "friendly", "int8", "file best.pth",
                        {"isa": "x64-vnni", "kept_float": '["/a/Conv", "/b/Conv"]'})  # fmt: skip
    left = {"Conv": 2, "Gemm": 1, "Mul": 3, "Relu": 1}
    made = Quantized(artifact, 25.5512, 1.0, {"mse": {"sqnr_db": 25.5512}}, "held-out", 0.8050029138931974, left,
                     ("/a/Conv", "/b/Conv"), 51)  # fmt: skip
    exported = Exported(artifact.path, "ort-int8", artifact.to_dict(), quantized=made)
    rows = dict(exported_rows(exported))
    assert rows["instruction set"] == "x64-vnni"
    assert rows["layers in float"].startswith("3 of 54, which lost the most in integers (--json lists them)")
    assert rows["other operators in float"] == "3 Mul, 1 Relu"
    assert (rows["SQNR"], rows["top-1 agreement"], rows["judged on"]) == ("25.6 dB", "100.0%", "held-out images")
    assert not set("{}[]()'") & set("".join(rows.values()).replace("(--json lists them)", ""))
    assert dict(int8_rows(replace(made, left={}, kept=())))["layers in float"] == "0 of 51"
    # A float16 file's and another runtime's description have fields with parts.
    fits = {"largest": 12.25, "layer": "/a/Conv", "inputs": "12 photographs", "sums": ["a", "b"]}
    told = {
        "runtime": "litert",
        "input_shape": [1, 3, 32, 32],
        "outputs": ["logits"],
        "float16": fits,
        "more": {"a": 1},
    }
    rows = dict(exported_rows(Exported(Path("h.tflite"), "litert-fp16", told)))
    assert rows["largest value"] == "12.2 of 65,504, /a/Conv, on 12 photographs"
    assert (rows["input"], rows["outputs"], rows["more"]) == ("1x3x32x32", "logits", "1 values (--json lists them)")
