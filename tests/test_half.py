"""Half precision: float16 graphs, what float16 cannot hold, and --precision as one word of a target."""

import json

import numpy as np
import onnx
import pytest
import torch
from conftest import FEW_LAYERS, randomized
from foreign_files import faulty, network, torch_file
from onnx import TensorProto, numpy_helper
from torch import nn

from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.deployment.export import export
from scarlet_zoo.deployment.half_file import half_file, write_half
from scarlet_zoo.deployment.parity import FLOAT16, ParityError, tolerance_of
from scarlet_zoo.deployment.recipes import read_recipes
from scarlet_zoo.deployment.targets import PRECISIONS, TARGETS, in_precision
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.deployment.verify import verify
from scarlet_zoo.errors import CheckFailedError, ExportError, ScarletWarning
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.half import LARGEST, peaks
from scarlet_zoo.graph.precision import precision_of
from scarlet_zoo.graph.session import OnnxClassifier
from scarlet_zoo.inference.load import load

FEED = Preprocessing((32, 32), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", 0.875)


class Gated(nn.Module):
    """Somebody's network: batch norm, hard-swish, and a gate; inside it is as large as the scale says."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.stem, self.norm, self.act = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish()
        self.loud, self.squeeze, self.hush = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)
        with torch.no_grad():
            self.loud.weight.mul_(scale)
            for module in (self.squeeze, self.hush):
                module.weight.div_(scale)
        self.eval()

    def forward(self, x):
        x = self.loud(self.act(self.norm(self.stem(x))))
        x = x * nn.functional.hardsigmoid(self.squeeze(x.mean((2, 3), keepdim=True)))
        return self.head(self.hush(x).mean((2, 3)))


@pytest.fixture(scope="module")
def gated():
    torch.manual_seed(0)
    return Gated()


@pytest.fixture(scope="module")
def half(gated, tmp_path_factory):
    return export(gated, out=tmp_path_factory.mktemp("half"), target="ort-fp16", name="gated", preprocessing=FEED)


def types_of(path):
    graph = onnx.load(path).graph
    return [value.type.tensor_type.elem_type for value in (graph.input[0], graph.output[0])]


def test_a_float16_file_is_float16_throughout(half):
    graph = onnx.load(half.path).graph
    assert types_of(half.path) == [TensorProto.FLOAT16] * 2
    assert {tensor.data_type for tensor in graph.initializer if tensor.data_type != TensorProto.INT64} == {
        TensorProto.FLOAT16
    }
    assert "Cast" not in {node.op_type for node in graph.node}
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    artifact = read_artifact(half.path)
    assert artifact.precision == precision_of(half.path) == "float16"
    assert half.parity.passed
    assert half.parity.sqnr_db > 40
    assert half.parity.tolerance == FLOAT16 == tolerance_of("float16")
    told = half.to_dict()
    assert 0 < told["float16"]["largest"] < 100
    assert told["float16"]["inputs"] == "12 photographs"
    assert told["computes_in"].startswith("float")


def test_input_and_output_stay_float32_on_request(gated, half, tmp_path):
    kept = export(gated, out=tmp_path, target="ort-fp16", name="kept", preprocessing=FEED, recipe=Recipe(keep_io=True))
    assert types_of(kept.path) == [TensorProto.FLOAT] * 2
    operators = [node.op_type for node in onnx.load(kept.path).graph.node]
    assert (operators[0], operators[-1], operators.count("Cast")) == ("Cast", "Cast", 2)
    images = np.random.default_rng(0).standard_normal((5, 3, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        truth = gated(torch.from_numpy(images)).numpy()
    for path in (kept.path, half.path):
        assert np.abs(OnnxClassifier(path).logits(images, 2) - truth).max() < 4e-3 * np.abs(truth).max()


def test_every_verb_takes_a_file_of_float16_input(half, scarlet, tmp_path):
    from scarlet_zoo.data.sample_images import photos

    photos(1)[0].save(tmp_path / "photo.png")
    assert load(half.path).predict(tmp_path / "photo.png")
    for verb in (("verify", half.path, half.path), ("predict", half.path, tmp_path / "photo.png"),
                 ("inspect", half.path)):  # fmt: skip
        code, out, err = scarlet(*verb, "--json")
        assert (code, err) == (0, ""), verb
        assert json.loads(out), verb


def test_bench_and_compare_take_it(half, scarlet, brief_measurements, tmp_path):
    code, out, err = scarlet("bench", half.path, "--json", "--repeats", 0)
    assert (code, err) == (0, "")
    (record,) = json.loads(out)
    assert record["conditions"]["precision"] == "float16"


def test_a_layer_that_overflows_is_named_and_nothing_is_written(tmp_path):
    torch.manual_seed(0)
    scale = 1.5e5
    with pytest.raises(CheckFailedError) as told:
        export(Gated(scale), out=tmp_path, target="ort-fp16", name="loud", preprocessing=FEED)
    said = str(told.value)
    assert said.startswith(f"{tmp_path / 'loud.onnx'}: float16 holds values up to 65,504; larger are 1 of its 11 ")
    assert " layers on 12 photographs: /loud/Conv (Conv) 10" in said
    assert "\n" not in said
    assert not list(tmp_path.iterdir())
    export(Gated(scale), out=tmp_path, target="native", name="loud", preprocessing=FEED)


def test_a_weight_that_overflows_is_named(tmp_path):
    torch.manual_seed(0)
    model = Gated()
    with torch.no_grad():
        model.head.weight[2, 3] = -70_000.0
    with pytest.raises(CheckFailedError, match=r"1 of its weights: head\.weight 70,000; wanted"):
        export(model, out=tmp_path, target="ort-fp16", name="heavy", preprocessing=FEED)


def test_a_mean_with_a_large_sum_stays_in_float32_and_small_constants_are_told(tmp_path):
    """A mean of 2,100 over the 256 pixels of 32 x 32 at stride 2 is a sum of more than 65,504."""
    torch.manual_seed(0)
    model = Gated(3000.0)
    with torch.no_grad():
        model.squeeze.weight.mul_(1e-2)
    with pytest.warns(ScarletWarning) as told:
        done = export(model, out=tmp_path, target="ort-fp16", name="sums", preprocessing=FEED)
    said = " ".join(str(warning.message) for warning in told)
    assert "float16 keeps few bits of these constants, all below 6e-05: squeeze.weight" in said
    (mean,) = done.described["float16"]["sums"]
    graph = onnx.load(done.path).graph
    casts = {name for node in graph.node if node.op_type == "Cast" for name in node.output}
    kinds = {node.name: set(node.input) <= casts for node in graph.node if node.op_type == "GlobalAveragePool"}
    assert kinds == {mean: True, **{name: False for name in kinds if name != mean}}
    assert len(kinds) == 2
    assert done.described["float16"]["largest"] < LARGEST


def test_what_only_extreme_images_do_is_a_warning(tmp_path):
    """Hundreds of times as large as a photograph's values."""
    torch.manual_seed(0)
    model = Gated(5e4)
    with pytest.warns(ScarletWarning) as told:
        done = export(model, out=tmp_path, target="ort-fp16", name="edge", preprocessing=FEED)
    said = " ".join(str(warning.message) for warning in told)
    assert "on noise or extreme images float16 overflows in /loud/Conv" in said
    assert done.parity.passed
    assert done.described["float16"]["beyond"] == ("/loud/Conv",)


def test_calibration_images_are_looked_at_too(tmp_path):
    torch.manual_seed(0)
    images = np.full((3, 3, 32, 32), 300_000.0, np.float32)
    with pytest.raises(CheckFailedError, match="12 photographs and 3 calibration images"):
        export(Gated(), out=tmp_path, target="ort-fp16", name="a", preprocessing=FEED, calibration=images)


def test_peaks_are_those_that_torch_finds(gated, tmp_path):
    path = export(gated, out=tmp_path, target="native", name="gated", preprocessing=FEED).path
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32)
    found = {peak.node: peak for peak in peaks(path, [{"input": image[None]} for image in images])}
    with torch.inference_mode():
        x = torch.from_numpy(images)
        stem = gated.norm(gated.stem(x)).abs().max().item()
        act = gated.act(gated.norm(gated.stem(x)))
        loud = gated.loud(act)
    assert found["/stem/Conv"].largest == pytest.approx(stem, rel=1e-4)
    assert found["/loud/Conv"].largest == pytest.approx(loud.abs().max().item(), rel=1e-4)
    sums = [peak.added for peak in found.values() if peak.added]
    assert len(sums) == 2
    assert sums[0] == pytest.approx(loud.abs().sum((2, 3)).max().item(), rel=1e-3)
    nothing = peaks(path, [{"input": np.full((1, 3, 32, 32), np.nan, np.float32)}])
    assert all(peak.largest == np.inf for peak in nothing)


@pytest.mark.slow
def test_a_wrong_float16_file_is_refused(tmp_path):
    """The largest weight of a tensor is twice as large; the right file passes."""
    source = torch_file(network(), tmp_path / "source.onnx", torch.zeros(1, 3, 32, 32))
    made = half_file(source, tmp_path / "half.onnx", keep_io=True)
    assert made.parity.passed
    assert made.artifact.precision == "float16"
    assert precision_of(source) == "float32"
    caught = 0
    for _ in faulty(source, tmp_path / "wrong.onnx", factor=2.0):
        path = tmp_path / "wrong.half.onnx"
        write_half(tmp_path / "wrong.onnx", path, path, keep_io=False)
        with pytest.raises(ParityError):
            verify(source, path)
        caught += 1
    assert caught == 3


def test_a_file_of_any_exporter_is_written_in_float16(scarlet, tmp_path):
    source = torch_file(network(), tmp_path / "foreign.onnx", torch.zeros(1, 3, 32, 32))
    code, out, err = scarlet("optimize", source, "--target", "ort", "--precision", "fp16", "--preprocessing",
                             "imagenet", "--out", tmp_path / "out", "--json")  # fmt: skip
    assert code == 0, err
    told = json.loads(out)
    assert (told["target"], told["precision"]) == ("ort-fp16", "float16")
    assert told["path"].endswith("foreign.fp16.onnx")
    assert told["parity"]["sqnr_db"] > 40
    code, out, err = scarlet("verify", told["path"], source, "--json")
    assert (code, err) == (0, "") or code == 0
    code, _, err = scarlet("optimize", told["path"], "--target", "ort-fp16", "--out", tmp_path / "again")
    assert code == 2
    assert "got a file in float16, wanted a float32 network" in err


def test_pixels_and_a_network_by_name(scarlet, tmp_path):
    code, out, err = scarlet("export", "scarlet_mini_s", "--precision", "fp16", "--pixels", "--out", tmp_path, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["target"], told["precision"]) == ("ort-fp16", "float16")
    assert types_of(told["path"])[0] == TensorProto.UINT8
    assert told["parity"]["sqnr_db"] > 40
    assert "this machine computes it in" in err


def test_a_precision_is_one_word_of_a_target():
    assert in_precision("ncnn", "fp16") == "ncnn-fp16"
    assert in_precision("native", "fp16") == in_precision("ort", "float16") == "ort-fp16"
    assert in_precision("native", "int8") == "ort-int8"
    assert in_precision("openvino", "bf16") == "openvino-bf16"
    assert in_precision("openvino-int8", "fp32") == "openvino"
    assert in_precision("ort-x64", "fp32") == "ort-x64"
    assert in_precision("coreml", None) == "coreml"
    with pytest.raises(ExportError, match="precision: got 'fp8', wanted fp32, fp16, bf16 or int8"):
        in_precision("ncnn", "fp8")
    with pytest.raises(
        ExportError, match="target 'ncnn': got precision int8, wanted one of its runtime's targets: ncn"
    ):
        in_precision("ncnn", "int8")
    with pytest.raises(ExportError, match="got precision fp32, wanted one of its runtime's targets: native ort"):
        in_precision("ort-int8", "fp32")


def test_each_precision_of_a_recipe_has_a_name_and_a_tolerance():
    found = {recipe.precision for recipe in read_recipes().values()}
    assert found == set(PRECISIONS.values())
    halves = {name for name, target in TARGETS.items() if target.precision == "float16"}
    assert halves == {f"{name}-fp16" for name in ("ort", "openvino", "ncnn", "litert", "executorch", "coreml")}
    decibels = [tolerance_of(name).min_sqnr_db for name in ("float32", "float16", "bfloat16", "int8")]
    assert decibels == sorted(decibels, reverse=True)


def test_options_that_do_nothing_in_a_precision_are_refused(scarlet, tmp_path):
    for given, words in (
        (("--keep-io",), "--keep-io True: would be ignored, it only applies to an fp16 target of ONNX Runtime"),
        (("--precision", "fp16", "--float16-weights"), "it only applies to a float32 target of ONNX Runtime"),
        (("--precision", "fp16", "--isa", "x64"), "it only applies to an int8 target of ONNX Runtime"),
        (("--target", "ncnn-fp16", "--keep-io"), "it only applies to an fp16 target of ONNX Runtime"),
        (("--target", "openvino", "--precision", "int8"), "got no calibration images"),
    ):
        code, out, err = scarlet("export", "scarlet_mini_s", *given, "--out", tmp_path / "out")
        assert (code, out, err.count("\n")) == (2, "", 1), given
        assert words in err


class Upsampled(nn.Module):
    """Operators that ONNX or its runtime keep in float32, at least in part: Resize, Max, and the range of a softmax."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), nn.Linear(8, 5)

    def forward(self, x):
        x = self.a(x)
        x = torch.maximum(x, nn.functional.interpolate(self.b(x), scale_factor=2.0))
        return self.head((x * x.flatten(2).softmax(-1).view_as(x)).sum((2, 3)))


def test_operators_without_float16_stay_in_float32_between_casts(tmp_path):
    torch.manual_seed(0)
    source = torch_file(Upsampled(), tmp_path / "source.onnx", torch.zeros(1, 3, 32, 32))
    for keep_io in (False, True):
        made = half_file(source, tmp_path / "half.onnx", keep_io=keep_io, preprocessing="imagenet")
        assert made.parity.sqnr_db > 40
        assert "Cast" in {node.op_type for node in onnx.load(made.artifact.path).graph.node}


@pytest.mark.parametrize("target", ["ort-x64", "native"])
def test_every_graph_variant_can_be_written_in_float16(gated, tmp_path, target):
    """The blocked one has Resize, whose scales stay float32."""
    source = export(gated, out=tmp_path, target=target, name="source", preprocessing=FEED).path
    assert half_file(source, tmp_path / "half.onnx").parity.passed


def test_half_of_somebody_elses_exporter_is_known(tmp_path):
    """torch writes a network that was made half beforehand."""
    torch.manual_seed(0)
    model = network().half().eval()
    path = torch_file(model, tmp_path / "half.onnx", torch.zeros(1, 3, 32, 32, dtype=torch.float16),
                      training=torch.onnx.TrainingMode.EVAL)  # fmt: skip
    assert precision_of(path) == "float16"
    assert load(path, preprocessing="imagenet")
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    assert OnnxClassifier(path).logits(images, 3).shape == (3, 5)


def test_weights_that_only_the_file_keeps_in_float16_are_told_apart(tmp_path):
    model = randomized(FEW_LAYERS, dtype=torch.float32)
    kept = export(model, out=tmp_path, target="native", name="w", preprocessing=FEED,
                  recipe=Recipe(float16_weights=True))  # fmt: skip
    assert precision_of(kept.path) == "float16 weights"
    half = export(model, out=tmp_path, target="ort-fp16", name="h", preprocessing=FEED)
    assert precision_of(half.path) == "float16"
    assert any(numpy_helper.to_array(tensor).dtype == np.float16 for tensor in onnx.load(half.path).graph.initializer)
