"""Files of other exporters, without our metadata, go through predict, verify, optimize to int8 and sensitivity."""

from __future__ import annotations

import json
import warnings

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import TensorProto, helper

from scarlet_zoo import ParityError, export_onnx, load, quantize_int8, verify
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.parity import FLOAT16_WEIGHTS, FLOAT32, INT8, looser_of
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.precision import precision_of
from scarlet_zoo.graph.session import OnnxNetwork

SIZE = 32
IMAGENET = ("--preprocessing", f"imagenet,size={SIZE}")


def exported(model, path, **how):
    """A file of torch's own exporter."""
    settings = {"dynamo": False, "opset_version": 17, "input_names": ["x"], **how}
    size = settings.pop("size", SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), (torch.randn(settings.pop("batch", 1), 3, size, size),), path, **settings)
    return path


def classifier(*ends, seed=0):
    """A small network of convolutions, whose logits differ well between images."""
    torch.manual_seed(seed)
    layers = (torch.nn.Conv2d(3, 16, 3, 2), torch.nn.BatchNorm2d(16), torch.nn.ReLU(), torch.nn.Conv2d(16, 24, 3, 2),
              torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2), torch.nn.Flatten(), torch.nn.Linear(216, 7))  # fmt: skip
    return torch.nn.Sequential(*layers, *ends)


def described():
    """The same network with timm's description of its preprocessing, for our own exporter."""
    model = classifier().eval()
    model.pretrained_cfg = {"input_size": (3, SIZE, SIZE), "mean": (0.5,) * 3, "std": (0.5,) * 3,
                            "interpolation": "bilinear", "crop_pct": 1.0}  # fmt: skip
    return model


class Heads(torch.nn.Module):
    """A network with two outputs: a map and logits, or the other way round."""

    def __init__(self, flipped=False):
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, 2), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3))
        self.head = torch.nn.Linear(8, 5)
        self.flipped = flipped

    def forward(self, x):
        features = self.body(x)
        both = features, self.head(features.mean((2, 3)))
        return both[::-1] if self.flipped else both


DYNAMIC = {"dynamic_axes": {"x": {0: "n"}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty-four photographs."""
    root = tmp_path_factory.mktemp("photographs")
    for position, photo in enumerate(photos(24)):
        photo.resize((48, 40)).save(root / f"{position:02}.png")
    return root


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of torch's exporter by name."""
    root = tmp_path_factory.mktemp("files")
    made = {
        "plain": exported(classifier(), root / "plain.onnx", **DYNAMIC),
        "fixed": exported(classifier(), root / "fixed.onnx", batch=4),
        "softmax": exported(classifier(torch.nn.Softmax(1)), root / "softmax.onnx", **DYNAMIC),
        "log": exported(classifier(torch.nn.LogSoftmax(1)), root / "log.onnx", **DYNAMIC),
        "map": exported(classifier(torch.nn.Unflatten(1, (7, 1, 1))), root / "map.onnx", **DYNAMIC),
        "other": exported(classifier(seed=1), root / "other.onnx", **DYNAMIC),
    }
    for name, flipped in (("heads", False), ("flipped", True)):
        names = ["map", "logits"][:: -1 if flipped else 1]
        made[name] = exported(Heads(flipped), root / f"{name}.onnx", output_names=names, **DYNAMIC)
    made["last"] = channels_last(made["plain"], root / "last.onnx")
    return made


def channels_last(source, path):
    """The same network with an input (N, H, W, C) and a transpose behind it, as tf2onnx writes."""
    model = onnx.load(source)
    turn = helper.make_node("Transpose", ["nhwc"], [model.graph.input[0].name], perm=[0, 3, 1, 2])
    model.graph.node.insert(0, turn)
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("nhwc", TensorProto.FLOAT, ("n", SIZE, SIZE, 3)))
    onnx.save(model, path)
    return path


def predicted(scarlet, file, image, *more):
    code, out, err = scarlet("predict", file, image, *IMAGENET, *more, "--json", "--top", 7)
    assert (code, err) == (0, "")
    (row,) = json.loads(out)
    scores = np.zeros(7)
    for guess in row["predictions"]:
        scores[guess["index"]] = guess["score"]
    return row, scores


def test_predict_gives_the_probabilities_of_torch_whatever_the_file_ends_in(files, folder, scarlet):
    image = folder / "03.png"
    feed = load(files["plain"], preprocessing=f"imagenet,size={SIZE}").preprocessing
    prepared = torch.from_numpy(feed.batch([photos(4)[3].resize((48, 40))]))
    wanted = classifier().eval()(prepared).softmax(1)[0].detach().numpy()
    for name in ("plain", "fixed", "softmax", "log", "map", "last"):
        row, scores = predicted(scarlet, files[name], image)
        assert row["outputs"] == ("probabilities" if name == "softmax" else "logits")
        assert np.abs(scores - wanted).max() < 1e-5, name


def test_predict_names_classes_from_a_file_and_refuses_a_wrong_number_of_them(files, folder, scarlet, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join("abcdefg"))
    row, scores = predicted(scarlet, files["plain"], folder / "00.png", "--labels", tmp_path / "names.txt")
    assert [guess["label"] for guess in row["predictions"]] == ["abcdefg"[index] for index in np.argsort(-scores)]
    (tmp_path / "names.txt").write_text("a\nb\n")
    code, _, err = scarlet("predict", files["plain"], folder / "00.png", *IMAGENET, "--labels", tmp_path / "names.txt")
    assert (code, err.count("\n")) == (2, 1)
    assert "got 2 labels, wanted 7" in err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--preprocessing", "imagnet"), "got 'imagnet', which is no file"),
        (("--preprocessing", "size=64"), "size: got 64 x 64 pixels, but the network takes 32 x 32"),
        (("--preprocessing", "mean=0.5/0.5"), "mean: got 2 values, wanted 3"),
        ((), "does not describe its preprocessing, wanted"),
    ],
)
def test_a_wrong_or_missing_preprocessing_is_one_line(files, folder, scarlet, given, words):
    for arguments in (("predict", files["plain"], folder / "00.png"), ("validate", files["plain"], folder)):
        code, out, err = scarlet(*arguments, *given)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert words in err


def test_two_outputs_are_no_classifier(files, folder, scarlet):
    code, _, err = scarlet("predict", files["heads"], folder / "00.png", *IMAGENET)
    assert code == 2
    assert "got outputs map logits, wanted a classifier with one output" in err


def verified(scarlet, file, source, *more):
    code, out, err = scarlet("verify", file, source, *more, "--json")
    return code, json.loads(out) if out else None, err


@pytest.mark.parametrize(
    ("file", "source"), [("plain", "fixed"), ("fixed", "plain"), ("last", "plain"), ("plain", "last"),
                         ("flipped", "heads"), ("heads", "flipped")],
)  # fmt: skip
def test_two_foreign_files_of_one_network_agree(files, scarlet, file, source):
    code, said, err = verified(scarlet, files[file], files[source])
    assert code == 0
    assert err.count("\n") == 1
    assert "its metadata do not say how images are prepared, so this is assumed" in err
    assert (said["file"], said["source"]) == (str(files[file]), str(files[source]))
    assert said["preprocessing_from"] == "assumed"
    assert said["passed"] is True
    assert said["sqnr_db"] is None or said["sqnr_db"] > 100
    assert said["tolerance"]["reason"] == FLOAT32.reason


@pytest.mark.parametrize(("file", "source", "words"), [
    ("other", "plain", "differs from its source"), ("softmax", "plain", "differs from its source"),
    ("log", "softmax", "differs from its source"),
])  # fmt: skip
def test_two_foreign_files_that_differ_are_told_apart(files, scarlet, file, source, words):
    code, said, err = verified(scarlet, files[file], files[source], *IMAGENET)
    assert code == 1
    assert said["passed"] is False
    assert said["preprocessing_from"] == "given"
    assert err.count("\n") == 1
    assert words in err
    with pytest.raises(ParityError, match=words):
        verify(files[source], files[file])


def test_files_that_cannot_be_compared_are_one_line(files, scarlet, tmp_path):
    larger = exported(torch.nn.Sequential(torch.nn.Upsample((SIZE, SIZE)), classifier()), tmp_path / "l.onnx", size=48)
    for source, words in (
        (larger, f"takes 3 channels of 32 x 32 pixels, but {larger} takes 3 channels of 48 x 48"),
        (files["heads"], "got outputs of shapes"),
        (tmp_path / "none.onnx", "no such file"),
    ):
        code, said, err = verified(scarlet, files["plain"], source, *IMAGENET)
        assert (code, said, err.count("\n")) == (2, None, 1)
        assert words in err
    code, _, err = verified(scarlet, files["plain"], files["fixed"], "--weights", "random")
    assert code == 2
    assert "--weights random: would be ignored, it only applies to a network's name" in err


def test_a_wrong_mean_in_one_of_two_files_is_found_and_pixels_are_compared_with_floats(tmp_path):
    model = described()
    plain = export_onnx(model, tmp_path / "plain.onnx").path
    pixels = export_onnx(model, tmp_path / "pixels.onnx", Recipe(pixels=True)).path
    for source, file in ((plain, pixels), (pixels, plain)):
        parity = verify(source, file)
        assert max(case.max_rel_err for case in parity.cases) < 5e-4  # of noise and extremes, too
    wrong = onnx.load(plain)
    for entry in wrong.metadata_props:
        if entry.key == "preprocessing":
            entry.value = entry.value.replace('[0.5,0.5,0.5],"std"', '[0.4,0.5,0.5],"std"')
    onnx.save(wrong, tmp_path / "wrong.onnx")
    for source, file in ((plain, tmp_path / "wrong.onnx"), (tmp_path / "wrong.onnx", plain)):
        with pytest.raises(ParityError, match="photographs"):
            verify(source, file)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "softmax", "fixed", "last", "heads"])
def test_a_foreign_file_is_quantised_judged_and_verified_against_its_source(files, folder, scarlet, tmp_path, name):
    code, out, err = scarlet("optimize", files[name], "--target", "ort-int8", "--calibration", folder, *IMAGENET,
                             "--ranges", "mse", "--isa", "x64-vnni", "--out", tmp_path, "--json")  # fmt: skip
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["path"] == str(tmp_path / f"{name}.int8.onnx")
    assert (said["precision"], said["judged_on"], said["preprocessing_from"]) == ("int8", "held-out", "given")
    assert said["sqnr_db"] > 25
    assert (said["top1_agreement"] is None) == (name == "heads")
    made = read_artifact(tmp_path / f"{name}.int8.onnx")
    assert made.preprocessing.mean == (0.485, 0.456, 0.406)
    assert json.loads(made.metadata["calibration"])["images"] == 18
    assert precision_of(made.path) == "int8"
    graph = onnx.load(made.path).graph
    makers = {value: node.op_type for node in graph.node for value in node.output}
    inputs = [value for node in graph.node if node.op_type == "Conv" for value in node.input]
    assert len(inputs) == 6
    assert {makers[value] for value in inputs} == {"DequantizeLinear"}
    code, said, _ = verified(scarlet, made.path, files[name])
    assert code == 0
    assert said["tolerance"]["reason"] == INT8.reason
    assert said["preprocessing_from"] == "metadata"
    if name == "plain":
        assert verified(scarlet, made.path, files["other"])[0] == 1
        assert verified(scarlet, files["other"], made.path)[0] == 1


def test_what_is_assumed_is_said_and_not_written_into_the_file(files, folder, scarlet, tmp_path):
    code, out, err = scarlet("optimize", files["plain"], "--target", "ort-int8", "--calibration", folder,
                             "--calibration-images", 6, "--out", tmp_path, "--json")  # fmt: skip
    assert code == 0
    said = json.loads(out)
    assert (said["preprocessing_from"], said["judged_on"]) == ("assumed", "calibration")
    assert err.count("so this is assumed") == 1
    assert err.count("too few images") == 1
    assert read_artifact(tmp_path / "plain.int8.onnx").preprocessing is None


def test_integers_that_are_far_from_their_source_are_not_written(files, folder, scarlet, tmp_path, monkeypatch):
    monkeypatch.setattr("scarlet_zoo.deployment.quantize_file._LEAST_SQNR_DB", 90.0)
    code, out, err = scarlet("optimize", files["plain"], "--target", "ort-int8", "--calibration", folder, *IMAGENET,
                             "--out", tmp_path / "out")  # fmt: skip
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "dB from those of" in err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("given", "words"), [
    (("--target", "ort-int8"), "got no --calibration, wanted a folder of images, or random"),
    (("--calibration", "random"), "--calibration random: would be ignored, it only applies to an int8 target"),
    (("--isa", "x64"), "--isa x64: would be ignored"),
    (("--keep-float", "a"), "--keep-float a: would be ignored"),
    (("--preprocessing", "imagenet"), "--preprocessing imagenet: would be ignored"),
    (("--target", "ort-int8", "--tune", "--calibration", "random"), "wanted ONNX Runtime in float32"),
    (("--target", "ort-int8", "--calibration", "random", "--ranges", "best"), "calibration method: got 'best'"),
    (("--target", "ort-int8", "--calibration", "random", "--preprocessing", "size=9"), "size: got 9 x 9 pixels"),
])  # fmt: skip
def test_options_of_int8_that_do_not_fit_are_one_line(files, scarlet, tmp_path, given, words):
    code, out, err = scarlet("optimize", files["plain"], *given, "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["plain", "heads", "fixed", "last"])
def test_the_layers_of_a_foreign_file_are_measured(files, folder, scarlet, tmp_path, name):
    code, out, err = scarlet("sensitivity", files[name], "--calibration", folder, *IMAGENET, "--out", tmp_path,
                             "--json")  # fmt: skip
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert len(rows) == 3
    assert all(20 < row["sqnr_db"] < 80 for row in rows)
    assert (tmp_path / "sensitivity.png").stat().st_size > 1000


def test_a_layer_that_only_moves_the_second_output_is_seen(files, folder, tmp_path):
    from scarlet_zoo.data.calibration import calibration_images
    from scarlet_zoo.deployment.image_feed import feed_of_file
    from scarlet_zoo.graph.quantization.sensitivity import sensitivities

    images = calibration_images(str(folder), feed_of_file(files["heads"], "imagenet").preprocessing, 8)
    losses = {row.operator: row.sqnr_db for row in sensitivities(files["heads"], images) if row.operator == "Gemm"}
    assert 20 < losses["Gemm"] < 80  # the first output alone would give infinity


@pytest.mark.slow
def test_a_timm_network_goes_all_the_way(folder, scarlet, tmp_path):
    torch.manual_seed(0)
    source = exported(timm.create_model("resnet18", num_classes=10), tmp_path / "r.onnx", **DYNAMIC)
    feed = load(source, preprocessing="imagenet,crop=1").preprocessing
    made = quantize_int8(source, tmp_path / "q.onnx", folder, preprocessing=feed)
    assert made.sqnr_db > 25
    assert verify(source, made.artifact).passed
    (row,) = json.loads(scarlet("predict", made.artifact.path, folder / "00.png", "--json")[1])
    assert row["outputs"] == "logits"


def test_the_precision_of_a_file_is_read_from_its_graph(files, tmp_path):
    assert precision_of(files["plain"]) == "float32"
    half = export_onnx(described(), tmp_path / "half.onnx", Recipe(float16_weights=True))
    assert precision_of(half.path) == "float16 weights"
    assert looser_of(["float32", "float16 weights"]) == FLOAT16_WEIGHTS
    assert looser_of(["int8", "float16 weights"]) == looser_of(["int8"]) == INT8


def test_an_input_with_its_channels_last_is_told_from_a_narrow_one(tmp_path):
    def network(*sides):
        graph = helper.make_graph(
            [helper.make_node("Relu", ["x"], ["y"])], "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, sides)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("abcd"))],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, tmp_path / "n.onnx")
        opened = OnnxNetwork(tmp_path / "n.onnx")
        return opened.channels_last, opened.channels, opened.size

    assert network("n", 8, 9, 3) == (True, 3, (8, 9))
    assert network("n", "h", "w", 1) == (True, 1, None)
    assert network("n", 3, 8, 3) == (False, 3, (8, 3))
    assert network("n", 16, 1, 1) == (False, 16, (1, 1))
    assert network("n", 2, 8, 3) == (False, 2, (8, 3))


def test_a_path_is_no_name_of_a_network(files):
    with pytest.raises(ArtifactError, match="no such file"):
        verify("none.onnx", files["plain"])


class Sums(torch.nn.Module):
    """A network with two inputs, and outputs without an axis of images."""

    def __init__(self, scale):
        super().__init__()
        torch.manual_seed(0)
        self.head, self.scale = torch.nn.Linear(6, 4), scale

    def forward(self, a, b):
        both = self.head(a) * self.scale + b
        return both, both.mean()


def test_files_whose_inputs_are_no_image_are_compared_on_noise(scarlet, tmp_path):
    made = []
    for name, scale in (("a", 1.0), ("b", 1.0), ("c", 1.01)):
        made.append(tmp_path / f"{name}.onnx")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(Sums(scale).eval(), (torch.randn(2, 6), torch.randn(2, 4)), made[-1], dynamo=False,
                              opset_version=17, input_names=["a", "b"])  # fmt: skip
    code, said, err = verified(scarlet, made[1], made[0])
    assert (code, err) == (0, "")
    assert said["passed"] is True
    assert said["source"] == str(made[0])
    assert verified(scarlet, made[2], made[0])[0] == 1
    code, _, err = verified(scarlet, made[1], made[0], *IMAGENET)
    assert code == 2
    assert "--preprocessing imagenet,size=32: would be ignored" in err
