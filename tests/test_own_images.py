"""Someone's own network with own images: the preprocessing it was trained with, and int8 that holds on such images."""

import json

import numpy as np
import onnx
import pytest
import timm
import torch
from PIL import Image

import scarlet_zoo as zoo
from scarlet_zoo.errors import ScarletError, ScarletWarning
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.models.loading import load_network

NAME, SETTINGS = "mobilenetv3_small_050", "size=64,interpolation=bilinear,crop=1"


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A checkpoint whose first layer sees dark images as usual ones, such images, and a float file of both."""
    folder = tmp_path_factory.mktemp("own")
    random = np.random.default_rng(0)
    for number in range(24):
        pixels = random.integers(0, 24, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        (folder / "images" / "abc"[number % 3]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "images" / "abc"[number % 3] / f"{number}.png")
    torch.manual_seed(0)
    model = timm.create_model(NAME, num_classes=3).eval()
    torch.save(model.state_dict(), folder / "best.pth")
    zoo.export(NAME, weights=str(folder / "best.pth"), preprocessing=SETTINGS, out=folder / "mine.onnx")
    return folder


def test_a_size_in_the_settings_is_the_input_size(own, tmp_path, scarlet):
    described = read_artifact(own / "mine.onnx").preprocessing
    assert (described.size, described.crop, described.interpolation) == ((64, 64), 1.0, "bilinear")
    code, _, error = scarlet("export", NAME, "--weights", own / "best.pth", "--preprocessing", SETTINGS, "--out",
                                tmp_path, "--name", "mine", "--json")  # fmt: skip
    assert code == 0, error
    assert (tmp_path / "mine.onnx").read_bytes() == (own / "mine.onnx").read_bytes()
    code, _, error = scarlet("export", NAME, "--preprocessing", SETTINGS, "--input-size", 96, "--weights", "random",
                             "--out", tmp_path)  # fmt: skip
    assert (code, error.count("\n")) == (2, 1)
    assert "size: got 64 x 64 pixels, but the network takes 96 x 96 pixels" in error


def test_a_torch_model_takes_settings_too(own, tmp_path):
    model = timm.create_model(NAME, num_classes=3).eval()
    described = zoo.export(model, preprocessing="size=64,mean=0.5,std=0.25", out=tmp_path).path
    found = read_artifact(described).preprocessing
    assert (found.size, found.mean, found.std) == ((64, 64), (0.5,) * 3, (0.25,) * 3)
    with pytest.raises(ScarletError, match="preprocessing: got 'nothing', which is no file"):
        zoo.export(model, preprocessing="nothing", out=tmp_path)
    with pytest.warns(ScarletWarning, match="crop_mode 'border' is not done"):
        zoo.export(model, preprocessing="size=64,crop_mode=border", out=tmp_path)


@pytest.mark.slow
def test_deploy_takes_the_preprocessing(own, tmp_path, scarlet, brief_measurements):
    code, said, error = scarlet("deploy", NAME, "--weights", own / "best.pth", "--preprocessing", SETTINGS, "--name",
                                "mine", "--out", tmp_path, "--json")  # fmt: skip
    assert code == 0, error
    assert (tmp_path / "mine.onnx").read_bytes() == (own / "mine.onnx").read_bytes()
    assert json.loads(said)["parity"]["passed"]


def test_weights_that_a_file_names_are_found_beside_it_and_here(own, tmp_path, scarlet, monkeypatch):
    file = own / "mine.onnx"
    code, said, error = scarlet("verify", file, "--json")
    assert code == 0, error
    assert json.loads(said)["weights"] == "file best.pth"
    assert read_artifact(file).metadata["preprocessing_given"] == "true"
    alone = tmp_path / "mine.onnx"
    alone.write_bytes(file.read_bytes())
    code, _, error = scarlet("verify", alone)
    assert (code, error.count("\n")) == (2, 1)
    assert "its weights are 'file best.pth' and were not found here, wanted --weights FILE" in error
    monkeypatch.chdir(own)
    assert scarlet("verify", alone)[0] == 0
    torch.manual_seed(1)
    torch.save(timm.create_model(NAME, num_classes=3).state_dict(), tmp_path / "best.pth")
    assert "were not found here" in scarlet("verify", alone)[2], "another file of that name is not the file's weights"


@pytest.mark.slow
def test_int8_is_compared_on_images_like_those_it_is_for(own, tmp_path, scarlet):
    images = own / "images"
    made = zoo.export(NAME, weights=str(own / "best.pth"), preprocessing=SETTINGS, target="ort-int8",
                      calibration=images, out=tmp_path / "int8.onnx").path  # fmt: skip
    source = (made, NAME, "--weights", own / "best.pth", "--preprocessing", SETTINGS)
    code, said, error = scarlet("verify", *source, "--images", images, "--json")
    assert code == 0, error
    own_images = json.loads(said)["cases"][0]
    assert own_images["images"] == 24
    _, said, _ = scarlet("verify", *source, "--json")
    photographs = json.loads(said)["cases"][0]
    assert photographs["images"] == 12
    assert photographs["sqnr_db"] < own_images["sqnr_db"]
    assert scarlet("verify", made, own / "mine.onnx", "--images", images)[0] == 0
    (tmp_path / "empty").mkdir()
    code, _, error = scarlet("verify", *source, "--images", tmp_path / "empty")
    assert (code, error.count("\n")) == (2, 1)
    assert "holds no images" in error


def test_an_int8_file_that_fails_on_photographs_says_what_it_holds_for(own, tmp_path, scarlet):
    """A file that states int8 and whose outputs are far off: the tolerance of eight bits does not save it."""
    model = onnx.load(own / "mine.onnx")
    for entry in model.metadata_props:
        entry.value = {"precision": "int8"}.get(entry.key, entry.value)
    last = next(one for one in model.graph.initializer if one.name == model.graph.node[-1].input[1])
    last.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(last), last.name))
    onnx.save(model, tmp_path / "far.onnx")
    source = (tmp_path / "far.onnx", NAME, "--weights", own / "best.pth", "--preprocessing", SETTINGS)
    code, _, error = scarlet("verify", *source)
    assert code == 1
    assert "note: an int8 file holds for images like those that it was calibrated on" in error
    assert "--images FOLDER compares on yours" in error
    code, _, error = scarlet("verify", *source, "--images", own / "images")
    assert (code, "note:" in error) == (1, False)


def test_a_loaded_network_takes_settings_too(own, tmp_path):
    network = load_network(NAME, str(own / "best.pth"), input_size=(64, 64))
    made = zoo.export(network, preprocessing="mean=0.5,std=0.25", out=tmp_path)
    assert read_artifact(made.path).preprocessing.mean == (0.5,) * 3
    assert zoo.verify(network.model, made.path).passed
