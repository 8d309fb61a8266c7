import copy
import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from conftest import TINY, randomized

from scarlet_zoo import ParityError, export_onnx, verify
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.passes import lower
from scarlet_zoo.graph.session import OnnxNetwork
from scarlet_zoo.models.loading import load_network

# Nothing here is about how long a network takes.
pytestmark = pytest.mark.usefixtures("brief_measurements")

ARCH = Arch.of(TINY, ["e3k3se", "e6k5", "e3k3", "e3k5se", "e3k3", "e6k3se", "id", "e3k3"])


@pytest.mark.slow
def test_a_backbone_is_exported_verified_and_measured_like_a_classifier(scarlet, tmp_path):
    code, out, err = scarlet(
        "deploy", "scarlet_b", "--features", "1,2,3,4", "--out", tmp_path, "--input-size", 64, "--json"
    )
    assert (code, err) == (0, "")
    report = json.loads(out)
    levels = json.loads(report["artifact"]["metadata"]["features"])
    assert [level["stride"] for level in levels] == [4, 8, 16, 32]
    assert [level["channels"] for level in levels] == [32, 40, 96, 320]
    assert report["parity"]["passed"] is True
    assert any(case["case"] == "photographs, batch 3, level2" for case in report["parity"]["cases"])
    assert report["timing"]["runs"] >= 10
    path = tmp_path / "scarlet_b.onnx"
    outputs = onnx.load(path).graph.output
    assert [output.name for output in outputs] == ["level1", "level2", "level3", "level4"]
    assert scarlet("verify", path)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
def test_other_backbones_go_the_same_way(name, scarlet, tmp_path):
    given = ("--weights", "random", "--features", "2,3", "--input-size", 64)
    code, out, _ = scarlet("export", name, *given, "--out", tmp_path, "--json")
    assert code == 0
    assert scarlet("verify", json.loads(out)["path"])[0] == 0


@pytest.mark.slow
def test_a_fault_in_one_level_is_found(tmp_path):
    network = load_network(ARCH, "random", features=(1, 2))
    artifact = export_onnx(network.model, tmp_path / "f.onnx", preprocessing=network.preprocessing)
    assert verify(network.model, artifact, preprocessing=network.preprocessing).passed
    with torch.no_grad():
        network.model.blocks[2][0].conv_pwl.weight.mul_(1.001)
    with pytest.raises(ParityError, match="level2") as caught:
        verify(network.model, artifact, preprocessing=network.preprocessing)
    assert "level1:" not in str(caught.value)


@pytest.mark.parametrize("levels", ["", "one", "1;2", "9"])
def test_levels_that_are_none_are_refused(levels, scarlet, tmp_path):
    code, out, err = scarlet("export", "scarlet_a", "--features", levels, "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def network():
    return load_network(ARCH, "random")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["native", "blocked"])
def test_pictures_go_in_as_they_are(network, form, tmp_path):
    recipe = Recipe(pixels=True, form=form)
    artifact = export_onnx(network.model, tmp_path / "p.onnx", recipe, preprocessing=network.preprocessing)
    inputs = onnx.load(artifact.path).graph.input
    assert [d.dim_param or d.dim_value for d in inputs[0].type.tensor_type.shape.dim] == ["batch", 32, 32, 3]
    assert inputs[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert artifact.metadata["input_layout"] == "NHWC uint8"
    assert verify(network.model, artifact, preprocessing=network.preprocessing).passed


def stem(path):
    """The file cut off after its first convolution: where an error at a border would arise."""
    model = onnx.load(path)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(first.output[0]))
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.slow
def test_the_graph_is_exact_at_padded_borders_and_the_naive_fold_of_the_mean_is_not(network, tmp_path):
    feed = network.preprocessing
    plain = export_onnx(network.model, tmp_path / "f.onnx", preprocessing=feed).path
    right = export_onnx(network.model, tmp_path / "p.onnx", Recipe(pixels=True), preprocessing=feed).path
    naive = tmp_path / "naive.onnx"
    _fold_the_mean_into_the_stem(right, naive, feed)
    pixels = np.stack([feed.pixels(photo) for photo in photos(6)])
    wanted = stem(plain).run(None, {"input": feed.normalize(pixels)})[0]
    spread = wanted.std(0).mean()
    exact, hasty = (np.abs(stem(path).run(None, {"input": pixels})[0] - wanted) / spread for path in (right, naive))
    assert exact.max() < 1e-5
    assert hasty[:, :, 0].max() > 0.1  # the border row
    assert hasty[:, :, 1:, 1:].max() < 1e-4  # and nothing but the border
    answers = [OnnxNetwork(path).run(pixels, 3)[0] for path in (right, naive)]
    truth = OnnxNetwork(plain).run(feed.normalize(pixels), 3)[0]
    # The whole random network amplifies float32 rounding a hundredfold, and the fault far more.
    right_gap, naive_gap = (np.abs(answer - truth).max() / truth.std(0).mean() for answer in answers)
    assert right_gap < 5e-4
    assert naive_gap > 1e-2


@pytest.mark.slow
def test_predictions_from_pixels_are_those_from_floats(network, tmp_path):
    from scarlet_zoo.inference.load import load
    from scarlet_zoo.inference.predict import predict

    photos(1)[0].save(tmp_path / "p.png")
    said = {"weights": "made for a test", "preprocessing": network.preprocessing}
    files = [
        export_onnx(network.model, tmp_path / f"{pixels}.onnx", Recipe(pixels=pixels), **said).path
        for pixels in (False, True)
    ]
    floats, pixels = (predict(load(str(file), None), [tmp_path / "p.png"])[0] for file in files)
    assert [guess.index for guess in floats.guesses] == [guess.index for guess in pixels.guesses]


def test_restoring_pixels_is_exact(network):
    feed = network.preprocessing
    pixels = np.arange(256 * 12, dtype=np.int64).reshape(1, 32, 32, 3).astype(np.uint8)
    assert np.array_equal(feed.restore(feed.normalize(pixels)), pixels)


def _fold_the_mean_into_the_stem(source, target, preprocessing):
    """What a hasty exporter does: conv(W, x - m) = conv(W, x) - W m, true only without padding."""
    model = onnx.load(source)
    nodes, tensors = model.graph.node, {tensor.name: tensor for tensor in model.graph.initializer}
    (sub,) = (node for node in nodes if node.op_type == "Sub")
    (conv,) = (node for node in nodes if sub.output[0] in node.input)
    weight, bias, mean = (onnx.numpy_helper.to_array(tensors[n]) for n in (conv.input[1], conv.input[2], sub.input[1]))
    shifted = bias - (weight * mean).sum((1, 2, 3))
    tensors[conv.input[2]].CopyFrom(onnx.numpy_helper.from_array(shifted.astype(np.float32), conv.input[2]))
    conv.input[0] = sub.input[0]
    nodes.remove(sub)
    onnx.save(model, target)


@pytest.mark.slow
def test_a_file_that_takes_pixels_is_as_near_to_float64_as_one_that_does_not(tmp_path):
    model = randomized(Arch.of(TINY, ["e3k3"] * 8), dtype=torch.float32)
    plain, pixels = (export_onnx(model, tmp_path / f"{p}.onnx", Recipe(pixels=p)) for p in (False, True))
    feed = plain.preprocessing
    pictures = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        truth = copy.deepcopy(model).double()(torch.from_numpy(feed.normalize(pictures)).double()).numpy()
    spread = truth.std(0).mean()
    inputs = ((plain, feed.normalize(pictures)), (pixels, pictures))
    own, got = (np.abs(OnnxNetwork(file.path).run(x, 16)[0] - truth).max() / spread for file, x in inputs)
    assert got < max(1e-5, 3 * own)
    assert got < 1e-4


@pytest.mark.slow
def test_a_mean_left_out_is_caught(network, tmp_path, monkeypatch):
    real = lower.take_uint8_input
    monkeypatch.setattr(
        "scarlet_zoo.deployment.to_onnx.take_uint8_input", lambda graph, mean, std: real(graph, [0.5] * 3, std)
    )
    path = tmp_path / "p.onnx"
    export_onnx(network.model, path, Recipe(pixels=True), preprocessing=network.preprocessing)
    with pytest.raises(ParityError):
        verify(network.model, read_artifact(path), preprocessing=network.preprocessing)
