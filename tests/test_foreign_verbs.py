"""Files of other exporters, without our metadata, go through predict, verify, optimize to int8 and sensitivity."""

from __future__ import annotations

import json
import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from scarlet_zoo import load
from scarlet_zoo.data.sample_images import photos

SIZE = 32
IMAGENET = ("--preprocessing", f"imagenet,size={SIZE}")


def exported(model, path, **how):
    """A file of torch's own exporter."""
    settings = {"dynamo": False, "opset_version": 17, "input_names": ["x"], **how}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), (torch.randn(settings.pop("batch", 1), 3, SIZE, SIZE),), path, **settings)
    return path


def classifier(*ends, seed=0):
    """A small network of convolutions, whose logits differ well between images."""
    torch.manual_seed(seed)
    layers = (torch.nn.Conv2d(3, 16, 3, 2), torch.nn.BatchNorm2d(16), torch.nn.ReLU(), torch.nn.Conv2d(16, 24, 3, 2),
              torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2), torch.nn.Flatten(), torch.nn.Linear(216, 7))  # fmt: skip
    return torch.nn.Sequential(*layers, *ends)


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
