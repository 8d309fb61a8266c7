"""The Python API: every verb is a function of scarlet_zoo, on networks and files of ours and of others."""

import ast
import inspect
import runpy
import typing
import warnings

import numpy as np
import pytest
import timm
import torch
from conftest import FASHION, ROOT, TINY, randomized
from torch import nn

import scarlet_zoo as zoo
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.errors import ArtifactError, DatasetError, ExportError, ScarletError

VERBS = {
    "create_model", "fold", "export", "load", "quantize_int8", "optimize", "inspect", "verify", "measure", "bench",
    "compare", "Supernet", "train_supernet", "search", "derive", "train", "predict", "validate", "build_lut",
    "recommend", "deploy", "check_data", "gallery",
}  # fmt: skip
FUNCTIONS = [name for name in zoo.__all__ if inspect.isfunction(getattr(zoo, name))]


class Foreign(nn.Module):
    """A classifier that neither timm nor this package knows."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
                                  nn.Conv2d(12, 20, 3, 2, 1, groups=4), nn.Hardswish())  # fmt: skip
        self.head = nn.Linear(20, 7)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


FEED = zoo.Preprocessing((40, 40), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bicubic", 0.9)


@pytest.fixture(scope="module")
def foreign():
    torch.manual_seed(0)
    model = Foreign()
    with torch.no_grad():
        model.train()(torch.randn(8, 3, 40, 40))
    return model.eval()


@pytest.fixture(scope="module")
def foreign_file(foreign, tmp_path_factory):
    """As somebody else exports it: no metadata, other names."""
    path = tmp_path_factory.mktemp("foreign") / "theirs.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(foreign, (torch.zeros(1, 3, 40, 40),), str(path), dynamo=False, input_names=["data"],
                          output_names=["probs"], opset_version=13)  # fmt: skip
    return path


def test_every_verb_is_a_public_name():
    assert set(zoo.__all__) >= VERBS
    assert dir(zoo) == sorted(zoo.__all__)


def test_type_checkers_see_the_same_names_as_programs():
    tree = ast.parse((ROOT / "scarlet_zoo" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    lines = [line for line in block.body if isinstance(line, ast.ImportFrom)]
    homes = {alias.asname: line.module for line in lines for alias in line.names}
    assert homes == {name: f"scarlet_zoo.{module}" for name, module in zoo._MODULE_OF.items()}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_takes_gives_and_refuses(name):
    function = getattr(zoo, name)
    text = inspect.getdoc(function)
    first = text.splitlines()[0]
    assert first[0].isupper()
    assert first.endswith((".", ";"))
    for parameter in inspect.signature(function).parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter
    assert "return" in function.__annotations__
    if len(inspect.signature(function).parameters) > 2:
        assert "Args:" in text
        for described in inspect.signature(function).parameters:
            assert described in text, f"{name} does not describe {described}"


def test_what_functions_return_is_frozen():
    for name in ("export", "optimize", "train", "train_supernet", "search", "validate", "deploy", "recommend"):
        (kind,) = {
            typing.get_type_hints(getattr(zoo, name), vars(__import__(getattr(zoo, name).__module__, fromlist=["x"])))[
                "return"
            ]
        }
        assert kind.__dataclass_params__.frozen, name


@pytest.mark.slow
@pytest.mark.parametrize("target", ["native", "ort", "openvino"])
def test_a_foreign_torch_model_goes_the_whole_way(foreign, target, tmp_path):
    labels = [f"kind {index}" for index in range(7)]
    done = zoo.export(foreign, out=tmp_path, target=target, name="theirs", weights="trained elsewhere",
                      preprocessing=FEED, labels=labels)  # fmt: skip
    assert done.path.parent == tmp_path
    assert done.path.name.startswith("theirs.")
    predictor = zoo.load(done.path)
    assert (predictor.weights, predictor.classes, predictor.labels) == ("trained elsewhere", 7, tuple(labels))
    assert predictor.preprocessing == FEED
    photo = photos(1)[0]
    with torch.inference_mode():
        truth = foreign(torch.from_numpy(FEED(photo))[None]).softmax(1)[0]
    (answer,) = zoo.predict(predictor, photo, top=2)
    assert answer.guesses[0].index == int(truth.argmax())
    assert answer.label == labels[answer.guesses[0].index]
    assert answer.guesses[0].score == pytest.approx(float(truth.max()), abs=1e-4)


def test_a_file_is_written_where_it_is_asked_for(foreign, tmp_path):
    done = zoo.export(foreign, out=tmp_path / "mine.onnx", preprocessing=FEED)
    assert done.path == tmp_path / "mine.onnx"
    assert zoo.verify(foreign, done.path, preprocessing=FEED).passed
    assert done.to_dict()["weights"] == "not stated"


def test_paths_images_and_arrays_get_the_same_answer(foreign, foreign_file, tmp_path):
    predictor = zoo.load(foreign_file, preprocessing=FEED)
    photo = photos(2)[1]
    photo.save(tmp_path / "photo.png")
    given = [tmp_path / "photo.png", str(tmp_path / "photo.png"), photo, np.asarray(photo)]
    answers = zoo.predict(predictor, given)
    assert len({answer.guesses for answer in answers}) == 1
    assert [answer.file for answer in answers] == [tmp_path / "photo.png", tmp_path / "photo.png", None, None]
    grey = photo.convert("L")
    assert zoo.predict(predictor, grey)[0].guesses == zoo.predict(predictor, np.asarray(grey))[0].guesses
    with pytest.raises(ScarletError, match=r"float32 of shape \(2, 2\), wanted uint8"):
        zoo.predict(predictor, np.zeros((2, 2), np.float32))
    with pytest.raises(ScarletError, match="got int, wanted a path"):
        zoo.predict(predictor, [3])  # type: ignore[list-item]


def test_another_exporters_file_is_loaded_with_its_preprocessing_given(foreign, foreign_file):
    with pytest.raises(ArtifactError, match=r"does not describe its preprocessing, wanted .*scarlet_zoo.load"):
        zoo.load(foreign_file)
    config = {
        "input_size": (3, 40, 40),
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
        "interpolation": "bicubic",
        "crop_pct": 0.9,
    }
    for preprocessing in (FEED, config):
        predictor = zoo.load(foreign_file, preprocessing=preprocessing, labels=list("abcdefg"))
        images = FEED.batch(photos(3))
        with torch.inference_mode():
            truth = foreign(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(predictor.logits(images), truth, rtol=1e-4, atol=1e-4)
        assert predictor.predict(photos(1))[0].label in "abcdefg"


@pytest.mark.slow
def test_another_exporters_file_is_optimised_quantised_and_measured(foreign_file, tmp_path, brief_measurements):
    better = zoo.optimize(foreign_file, tmp_path / "better.onnx", target="ort")
    assert better.parity.passed
    with pytest.raises(ExportError, match="openvino"):
        zoo.optimize(foreign_file, tmp_path / "none.xml", target="openvino")
    small = zoo.quantize_int8(foreign_file, tmp_path / "small.onnx", FEED.batch(photos(12)))
    assert small.sqnr_db > 15
    with pytest.raises(ArtifactError, match="wanted calibration images as an array"):
        zoo.quantize_int8(foreign_file, tmp_path / "none.onnx", tmp_path)
    assert zoo.inspect(better.artifact.path).totals
    records = zoo.bench(
        [better.artifact.path, small.artifact.path], settings=zoo.Settings(runs=20, seconds=0.01), repeats=0
    )
    first, second = records
    assert zoo.compare(first, second).paired
    assert [record.file for record in records] == [str(better.artifact.path), str(small.artifact.path)]


@pytest.mark.slow
def test_a_timm_name_is_exported_and_quantised_from_a_folder(tmp_path):
    (tmp_path / "images").mkdir()
    for number, photo in enumerate(photos(8)):
        photo.save(tmp_path / "images" / f"{number}.png")
    recipe = zoo.Recipe(input_size=(64, 64))
    exported = zoo.export("lcnet_035", out=tmp_path, weights="random", recipe=recipe)
    small = zoo.quantize_int8(exported.path, tmp_path / "small.onnx", tmp_path / "images")
    assert small.artifact.precision == "int8"
    again = zoo.export("lcnet_035", out=tmp_path / "again", target="ort-int8", weights="random", recipe=recipe,
                       calibration=tmp_path / "images")  # fmt: skip
    assert again.quantized.top1_agreement == small.top1_agreement
    assert zoo.verify("lcnet_035", exported.path, weights="random").passed
    assert zoo.verify(None, exported.path).passed
    with pytest.raises(ScarletError, match="got 1 labels, wanted 1000"):
        zoo.export("lcnet_035", out=tmp_path, weights="random", labels=["a"])
    with pytest.raises(ScarletError, match="preprocessing: size: got"):
        zoo.export("lcnet_035", out=tmp_path, weights="random", recipe=recipe, preprocessing="size=32")


def test_a_model_in_train_mode_and_a_wrong_number_of_labels_are_refused(foreign, tmp_path):
    with pytest.raises(ScarletError, match="train mode"):
        zoo.export(Foreign().train(), out=tmp_path, preprocessing=FEED)
    with pytest.raises(ExportError, match="labels: got 1"):
        zoo.export(timm.create_model("lcnet_035", num_classes=4).eval(), out=tmp_path, labels=["a"])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_validate_takes_folders_and_refuses_what_is_not_for_them(foreign_file, tmp_path):
    for index in range(7):
        (tmp_path / str(index)).mkdir()
        photos(7)[index].save(tmp_path / str(index) / "one.png")
    predictor = zoo.load(foreign_file, preprocessing=FEED)
    assert zoo.validate(predictor, tmp_path).images == 7
    assert zoo.validate(predictor, zoo.read_dataset(tmp_path), limit=None).images == 7
    with pytest.raises(DatasetError, match="got no test part"):
        zoo.validate(predictor, tmp_path, split="test")
    with pytest.raises(DatasetError, match="would be ignored, it is for a named data set"):
        zoo.validate(predictor, tmp_path, data_dir=tmp_path)
    with pytest.raises(DatasetError, match="got no class with two images"):
        zoo.validate(predictor, tmp_path, validation=2)
    for index in range(2):
        photos(9)[7 + index].save(tmp_path / str(index) / "two.png")
    assert zoo.validate(predictor, tmp_path, validation=2).images == 2


def test_a_torch_model_of_ones_own_is_trained(tmp_path):
    for name, photo in zip(("one", "two"), photos(2), strict=True):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(13):
            photo.crop((8 * number, 8 * number, 8 * number + 96, 8 * number + 96)).save(
                tmp_path / "images" / name / f"{number}.png"
            )
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    trained = zoo.train(model, name="mine", data=tmp_path / "images", out=tmp_path / "run", input_size=32,
                        settings=zoo.TrainSettings(epochs=2, batch_size=8))  # fmt: skip
    assert (trained.name, trained.arch, len(trained.top1)) == ("mine", None, 2)
    assert trained.path.is_file()
    assert trained.to_dict()["pictures"] == 24


@pytest.mark.slow
def test_the_tour_of_the_docs_runs(tmp_path, capsys, brief_measurements):
    tour = runpy.run_path(str(ROOT / "docs" / "tour.py"))["tour"]
    tour("fashion-mnist", tmp_path, FASHION, validation=200, steps=2, evaluations=4)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("found scarlet-mini:")
    assert "% top-1" in lines[-1]


def test_networks_of_ours_by_value(tmp_path):
    model = randomized(zoo.Arch.of(TINY, ["e3k3"] * 8), dtype=torch.float32)
    done = zoo.export(model, out=tmp_path)
    by_value = zoo.export(model.arch, out=tmp_path / "value")
    assert by_value.described["metadata"]["arch"] == str(model.arch)
    assert zoo.load(done.path).logits(np.zeros((2, 3, 32, 32), np.float32)).shape == (2, 10)
