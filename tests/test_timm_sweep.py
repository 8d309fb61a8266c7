"""Networks that we did not make, from creation to int8, as benchmarks/sweep_timm.py takes one of each family."""

import json
import warnings

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from conftest import ROOT
from timm.layers import create_conv2d, create_pool2d
from torch import nn

from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.errors import ScarletWarning
from scarlet_zoo.evidence.timm_sweep import CONVOLUTIONAL_DB, HYBRID_DB, STAGES, Member, sweep_one
from scarlet_zoo.graph.fusion import inspect
from scarlet_zoo.graph.passes.lower import lower
from scarlet_zoo.graph.quantization.quantize import Int8, friendly_model, quantize_int8

# Padding inside the graph, layer scales and norms, a stem of three convolutions, attention. Concatenations of norms and
# two readers of a clip are below, in networks of a few layers; benchmarks/sweep_timm.py has one of each family.
FIVE = {
    "tf_mobilenetv3_small_minimal_100": "convolutional",
    "starnet_s050": "convolutional",
    "resnet10t": "convolutional",
    "edgenext_xx_small": "hybrid",
    "mobilevit_xxs": "hybrid",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIVE)
def test_a_network_of_timm_goes_all_the_way(name, tmp_path):
    row = sweep_one(Member("any", name, 0, FIVE[name]), photos(12), tmp_path, side=64)
    assert {stage: row[stage].get("error") for stage in STAGES} == dict.fromkeys(STAGES)
    assert row["verify"]["sqnr_db"] > 80
    assert row["int8"]["sqnr_db"] >= (CONVOLUTIONAL_DB if FIVE[name] == "convolutional" else HYBRID_DB)
    assert row["int8"]["golden_passed"] is not False


def exported(model, path, **kwargs):
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    model = model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(model, (torch.rand(2, 3, 32, 32),), path, dynamo=False, input_names=["x"], opset_version=17,
                      dynamic_axes={"x": {0: "n"}}, **kwargs)  # fmt: skip
    return model, path


class PadsInside(nn.Module):
    """Pads by what it reads from the shapes and clips, as networks from TensorFlow do."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = create_conv2d(3, 8, 3, stride=2, padding="same"), nn.Conv2d(8, 4, 1)
        self.pool = create_pool2d("max", 3, stride=2, padding="same")

    def forward(self, x):
        return self.last(self.pool(nn.functional.relu6(self.conv(x)))).mean((2, 3))


class NormsOfTwo(nn.Module):
    """A norm behind a concatenation, which no convolution can take, and a clip that is read twice."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3), nn.Conv2d(16, 4, 1)
        self.norm = nn.BatchNorm2d(16)

    def forward(self, x):
        both = torch.cat([self.one(x), self.two(x)], 1)
        kept = nn.functional.relu(self.norm(both))
        return self.last(kept + nn.functional.relu6(both)).mean((2, 3))


@pytest.mark.parametrize("make", [PadsInside, NormsOfTwo])
def test_what_stands_beside_the_data_is_neither_quantised_nor_in_the_way(make, tmp_path):
    _, path = exported(make(), tmp_path / "n.onnx")
    images = np.random.default_rng(0).random((12, 3, 32, 32)).astype(np.float32)
    made = quantize_int8(path, tmp_path / "q.onnx", images, Int8(isa="x64"))
    assert made.sqnr_db > 25
    assert inspect(tmp_path / "q.onnx").totals["float"] == 0
    assert not made.left


def test_padding_goes_into_the_operators_and_nothing_changes(tmp_path):
    _, path = exported(PadsInside(), tmp_path / "n.onnx")
    model = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(onnx.load(path)))
    lower(model, "native")
    assert [node.op_type for node in model.graph if node.op_type in ("Pad", "Shape", "Gather")] == []
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    lowered = ir.serde.serialize_model(model).SerializeToString()
    truth, got = (ort.InferenceSession(source).run(None, {"x": images})[0] for source in (str(path), lowered))
    assert np.abs(truth - got).max() < 1e-6


def test_sizes_that_depend_on_the_batch_stay_computed(tmp_path):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.last = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 5)

        def forward(self, x):
            x = self.conv(x)
            return self.last(x.reshape(x.shape[0], 8, x.shape[2] * x.shape[3]).transpose(1, 2)).softmax(-1).mean(1)

    _, path = exported(Tokens(), tmp_path / "n.onnx")
    model = friendly_model(path)
    lowered = ir.serde.serialize_model(model).SerializeToString()
    for batch in (1, 2, 5):
        images = np.random.default_rng(batch).random((batch, 3, 32, 32)).astype(np.float32)
        truth, got = (ort.InferenceSession(source).run(None, {"x": images})[0] for source in (str(path), lowered))
        assert np.abs(truth - got).max() < 1e-6


def test_outputs_that_hardly_depend_on_the_image_are_said_to_be_so(tmp_path):
    class Constant(PadsInside):
        def forward(self, x):
            return super().forward(x) * 1e-4 + 1

    _, path = exported(Constant(), tmp_path / "n.onnx")
    images = np.random.default_rng(0).random((12, 3, 32, 32)).astype(np.float32)
    with pytest.warns(ScarletWarning, match="of their size between images, so the SQNR says little"):
        quantize_int8(path, tmp_path / "q.onnx", images, Int8(isa="x64", method="minmax"))


def graph_of(nodes, constants):
    """A model with these nodes between an image x of any batch and y."""
    made = onnx.helper.make_graph(
        nodes, "g", [onnx.helper.make_tensor_value_info("x", 1, ["n", 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", 1, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(model))


def test_a_norm_that_takes_its_statistics_from_its_input_stays():
    constants = {name: np.ones(3, np.float32) for name in "abcd"}
    norm = onnx.helper.make_node("BatchNormalization", ["x", *"abcd"], ["y", "m", "v"], training_mode=1)
    model = graph_of([norm], constants)
    lowering = lower(model, "friendly")
    assert [node.op_type for node in model.graph] == ["BatchNormalization"]
    assert "training mode" in lowering.refused[-1].reason


def test_random_values_are_no_constants():
    nodes = [onnx.helper.make_node("RandomNormal", [], ["r"], shape=[1, 3, 8, 8], seed=1.0),
             onnx.helper.make_node("Add", ["x", "r"], ["y"])]  # fmt: skip
    model = graph_of(nodes, {})
    lower(model, "native")
    assert [node.op_type for node in model.graph] == ["RandomNormal", "Add"]


def test_a_graph_that_does_not_run_on_zeros_is_left_as_it_is():
    nodes = [onnx.helper.make_node("Shape", ["x"], ["s"]),
             onnx.helper.make_node("Reshape", ["w", "s"], ["r"]),
             onnx.helper.make_node("Add", ["x", "r"], ["y"])]  # fmt: skip
    model = graph_of(nodes, {"w": np.ones(3 * 8 * 8 * 7, np.float32)})  # for batches of seven alone
    lower(model, "native")
    assert [node.op_type for node in model.graph] == ["Shape", "Reshape", "Add"]


def test_the_committed_sweep_has_every_family_and_every_stage():
    sweep = json.loads((ROOT / "benchmarks" / "results" / "timm_sweep.json").read_text())
    rows = sweep["rows"]
    assert len({row["family"] for row in rows}) == len(rows) >= 60
    assert all(isinstance(row["create"], dict) for row in rows)
