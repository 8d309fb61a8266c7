"""What the runtime really runs of a file: the known cliffs are flagged, on files made for it."""

import json
import os
from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from conftest import TINY, randomized
from fetch import KEPT, OLD_ORT
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from scarlet_zoo import export_onnx
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.errors import CheckFailedError, ScarletError
from scarlet_zoo.graph.fusion import TOTALS, inspect
from scarlet_zoo.graph.fusion_verdict import check_limits, findings, judge, parse_limits, verdict

TOKENS = ["e3k3se", "e6k5", "e3k3", "e3k5se", "e3k3", "e6k3se", "id", "e3k3"]
CONVOLUTIONS = 32


@pytest.fixture(scope="module")
def model():
    # Widths that are multiples of the layout's block of 16, as a network for phones has them.
    space = TINY.__class__(
        "wide", TINY.choices, tuple(replace(layer, width=16) for layer in TINY.layers),
        input_size=32, num_classes=10, stem_width=16, first_width=16, head_width=64,
    )  # fmt: skip
    return randomized(Arch.of(space, TOKENS), dtype=torch.float32)


@pytest.fixture(scope="module")
def file_of(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fusion")

    def make(form):
        path = folder / f"{form}.onnx"
        return path if path.exists() else export_onnx(model, path, Recipe(form=form)).path

    return make


@pytest.fixture(scope="module")
def report_of(file_of):
    """The report of a graph variant; a process of its own loads the file for each."""
    return cache(lambda form: inspect(file_of(form)))


@pytest.mark.slow
def test_a_native_file_fuses_whole(report_of):
    report = report_of("native")
    assert report.runtime == f"onnxruntime {ort.__version__}"
    assert report.totals["convolutions"] == len(report.convolutions) >= 25
    assert report.totals["unfused"] == report.totals["batch_norms"] == report.totals["stray"] == 0
    assert {row.activation for row in report.convolutions} >= {"HardSigmoid", "Relu", "Clip"}
    assert sum(report.operators.values()) >= report.totals["convolutions"]


@pytest.mark.slow
def test_the_released_spelling_is_flagged(report_of):
    native, released = report_of("native"), report_of("released")
    assert released.totals["unfused"] == 14 + 3
    assert {row.follower for row in released.convolutions} == {None, "Add"}
    assert released.totals["reorders"] > native.totals["reorders"]
    assert any("activation" in sentence for sentence in findings(released))


def test_a_batch_norm_that_is_left_is_flagged(tmp_path):
    path = tmp_path / "norm.onnx"
    # In front of the first convolution there is nothing to fold it into.
    tensors = {name: np.ones(3, np.float32) for name in "gbmv"} | {"w": np.ones((8, 3, 3, 3), np.float32)}
    nodes = [helper.make_node("BatchNormalization", ["x", *"gbmv"], ["n"]), helper.make_node("Conv", ["n", "w"], ["y"])]
    graph = helper.make_graph(
        nodes, "norm", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 3, 8, 8))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    report = inspect(path)
    assert report.totals["batch_norms"] == 1


class Noise(CalibrationDataReader):
    def __init__(self):
        self.left = [np.random.default_rng(i).standard_normal((1, 3, 32, 32)).astype(np.float32) for i in range(2)]

    def get_next(self):
        return {"input": self.left.pop()} if self.left else None


def test_the_quantisers_defaults_are_flagged(file_of, tmp_path):
    path = tmp_path / "s8s8.onnx"
    quantize_static(file_of("native"), path, Noise(), quant_format=QuantFormat.QDQ)
    report = inspect(path)
    assert report.totals["float"] > 5
    assert report.totals["stray"] > 20
    assert any("float" in sentence for sentence in findings(report))


def test_a_file_saved_without_its_layout_is_flagged(file_of, tmp_path):
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "saved.ort")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(file_of("native"), options, providers=["CPUExecutionProvider"])
    report = inspect(tmp_path / "saved.ort")
    assert report.totals["unblocked"] == report.totals["convolutions"]
    if report.machine == "x86_64":
        assert any("outside the blocked channel layout" in sentence for sentence in findings(report))


@pytest.mark.slow
def test_a_new_opset_on_an_old_runtime_is_flagged(file_of, tmp_path, monkeypatch):
    # The wheel is fetched once, and kept with the rest of what make test installs.
    monkeypatch.setitem(os.environ, "XDG_CACHE_HOME", str(KEPT))
    proto = onnx.load(file_of("native"))
    proto.opset_import[0].version, proto.ir_version = 22, 10
    onnx.save(proto, tmp_path / "opset22.onnx")
    old = inspect(tmp_path / "opset22.onnx", OLD_ORT)
    assert old.runtime == "onnxruntime 1.22.1"
    assert old.totals["fused"] == 0
    assert old.totals["unfused"] > 10
    assert inspect(file_of("native"), OLD_ORT).totals["fused"] > 0


@pytest.mark.slow
def test_limits_fail_a_build(file_of, report_of, scarlet):
    assert parse_limits("unfused=0, reorders=40") == {"unfused": 0, "reorders": 40}
    report = report_of("released")
    check_limits(report, {"unfused": 17})
    with pytest.raises(CheckFailedError, match=r"unfused 17, wanted at most 16.*; reorders"):
        check_limits(report, {"unfused": 16, "reorders": 0})
    for wrong in ("unfused", "speed=1", "unfused=few", ""):
        with pytest.raises(ScarletError, match="wanted TOTAL=NUMBER"):
            parse_limits(wrong)
    code, out, err = scarlet("inspect", file_of("released"), "--json", "--fail-on", "unfused=0")
    assert code == 1
    assert json.loads(out)["totals"]["unfused"] == 17
    assert err.count("\n") == 1
    assert scarlet("inspect", file_of("native"), "--fail-on", "unfused=0")[0] == 0


@pytest.mark.slow
def test_the_verdict_comes_first_and_each_number_is_good_or_bad(file_of, report_of, scarlet):
    bad = report_of("released")
    judged = {row.total: row for row in judge(bad)}
    assert list(judged) == list(TOTALS)
    assert (judged["unfused"].good, judged["unfused"].value, judged["unfused"].bound) == (False, 17, 0)
    assert "whole feature map" in judged["unfused"].reason
    assert judged["convolutions"].good is None
    assert judged["stray"].good
    assert verdict(bad).startswith("BAD: 17 operators are not fused on onnxruntime ")
    _, text, _ = scarlet("inspect", file_of("released"))
    lines = text.splitlines()
    assert lines[:2] == [str(file_of("released")), verdict(bad)]
    assert any(line.startswith("unfused 17, BAD (at most 0): convolutions whose") for line in lines)
    told = json.loads(scarlet("inspect", file_of("released"), "--json")[1])
    assert told["verdict"] == verdict(bad)
    assert told["judged"] == [row.to_dict() for row in judge(bad)]
    fine = replace(bad, totals={**dict.fromkeys(TOTALS, 0), "convolutions": 53}, convolutions=())
    assert verdict(fine).startswith("GOOD: it runs fused as it should on ")
    assert all(row.good in (True, None) for row in judge(fine))


def test_what_cannot_be_inspected_is_refused(file_of, scarlet, tmp_path):
    (tmp_path / "broken.ort").write_bytes(b"not a file of theirs")
    for arguments, told in (
        ((tmp_path / "absent.onnx",), "no such file"),
        ((tmp_path / "broken.ort",), "does not load it"),
        ((file_of("native"), "--runtime", "tensorrt"), "wanted ort"),
    ):
        code, out, err = scarlet("inspect", *arguments)
        assert (code, out) == (2, "")
        assert told in err
