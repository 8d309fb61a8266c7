"""Denormal weights become zero where no bit of an output changes, and are told where one would."""

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from conftest import FEW_LAYERS, ROOT, randomized
from onnx import TensorProto, helper, numpy_helper

import scarlet_zoo as zoo
from scarlet_zoo.errors import ScarletWarning
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.denormals import METADATA, SMALLEST_NORMAL, denormals_of, flush_denormals

TINIEST, LARGEST = np.float32(2.0**-149), np.nextafter(np.float32(SMALLEST_NORMAL), np.float32(0))


def graph_of(weights, bias):
    """A depthwise convolution of one pixel for each channel, and a sum over them."""
    channels = len(weights)
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], group=channels),
             helper.make_node("Conv", ["y", "ones", "zero"], ["z"])]  # fmt: skip
    tensors = {"w": np.reshape(weights, (-1, 1, 1, 1)), "b": bias, "ones": np.ones((1, channels, 1, 1)), "zero": [1.0]}
    return helper.make_model(helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, 4, 4])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 1, 4, 4])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in tensors.items()],
    ), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)  # fmt: skip


def weights_of(model, name="w"):
    return numpy_helper.to_array(next(one for one in model.graph.initializer if one.name == name)).ravel()


@pytest.mark.parametrize(("value", "small"), [
    (TINIEST, True), (-TINIEST, True), (LARGEST, True), (-LARGEST, True), (SMALLEST_NORMAL, False),
    (-SMALLEST_NORMAL, False), (0.0, False), (-0.0, False), (1.0, False), (np.inf, False), (np.nan, False),
])  # fmt: skip
def test_what_is_denormal(value, small):
    found = denormals_of(graph_of([1.0, value], [0.0, 0.0]).graph)
    assert (found.weights, found.tensors) == ((1, ("w",)) if small else (0, ()))


def test_they_become_zero_where_no_bit_changes(tmp_path):
    model = graph_of([1.0, TINIEST, -LARGEST, 0.5], [0.0, 0.0, 1.0, LARGEST])
    found = flush_denormals(model, tmp_path / "n.onnx")
    assert (found.weights, found.tensors, found.flushed) == (3, ("w", "b"), True)
    assert weights_of(model).tolist() == [1.0, 0.0, 0.0, 0.5]
    assert weights_of(model, "b").tolist() == [0.0, 0.0, 1.0, 0.0]
    assert {entry.key: entry.value for entry in model.metadata_props} == {METADATA: "3 of 2 tensors"}
    assert flush_denormals(model, tmp_path / "n.onnx").weights == 0


def test_they_stay_and_are_told_where_an_output_is_as_small_itself(tmp_path):
    model = graph_of([LARGEST], [0.0])
    model.graph.node.pop()
    model.graph.output[0].name = "y"
    before = model.SerializeToString()
    with pytest.warns(ScarletWarning, match=r"n.onnx: 1 of 1 tensors are denormal, below 1.2e-38 \(first: w\)"):
        found = flush_denormals(model, tmp_path / "n.onnx")
    assert (found.weights, found.flushed) == (1, False)
    assert model.SerializeToString() == before


def test_a_file_of_any_exporter_loses_them_and_inspect_counts_them(tmp_path, scarlet):
    source, out = tmp_path / "theirs.onnx", tmp_path / "out"
    onnx.save(graph_of([1.0, TINIEST, -LARGEST, 0.5], [0.0, 0.0, 1.0, LARGEST]), source)
    code, told, _ = scarlet("inspect", source, "--fail-on", "denormals=0")
    assert code == 1
    assert "denormals 3, BAD (at most 0)" in " ".join(told.split())
    assert scarlet("optimize", source, "--out", out)[0] == 0
    (written,) = out.glob("*.onnx")
    assert scarlet("inspect", written, "--fail-on", "denormals=0")[0] == 0
    images = np.random.default_rng(0).standard_normal((2, 4, 4, 4)).astype(np.float32)
    before, after = (ort.InferenceSession(str(file)).run(None, {"x": images})[0] for file in (source, written))
    assert before.tobytes() == after.tobytes()


def test_a_network_is_exported_without_them(tmp_path):
    model = randomized(FEW_LAYERS, dtype=torch.float32)
    usual = zoo.export_onnx(model, tmp_path / "usual.onnx")
    assert METADATA not in usual.metadata
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight[:, :3] = float(TINIEST)
    made = zoo.export_onnx(model, tmp_path / "made.onnx")
    assert made.metadata[METADATA] == f"{3 * len(last.weight)} of 1 tensors"
    assert denormals_of(onnx.load(made.path).graph).weights == 0
    assert zoo.verify(model, made.path).passed
    assert read_artifact(made.path).metadata[METADATA]


def test_what_the_page_says_they_cost_is_the_evidence():
    rows = json.loads((ROOT / "benchmarks" / "results" / "denormals.json").read_text())
    ratios = [ratio for row in rows for ratio in row["ratio"].values()]
    words = f"ratios of {min(ratios):.2f} to\n{max(ratios):.2f} in one interleaved run"
    assert words in (ROOT / "docs" / "targets.md").read_text()
    assert all(all(row["same"].values()) and row["cpu_features"] for row in rows)
