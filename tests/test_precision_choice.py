"""Float32 or int8, decided by measurement: the faster one, as long as it loses no more than is allowed."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import FASHION
from PIL import Image

from scarlet_zoo import export
from scarlet_zoo.data.fashion_mnist import FASHION_MNIST_CLASSES, fashion_mnist
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.measurement import precision_choice
from scarlet_zoo.measurement.precision_choice import paired_drop


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Forty pictures of clothes, a folder for each class."""
    folder = tmp_path_factory.mktemp("pictures")
    images, labels = fashion_mnist("test", FASHION)
    for number in range(40):
        file = folder / FASHION_MNIST_CLASSES[labels[number]].replace("/", "-") / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(images[number, ..., 0]).save(file)
    return folder


@pytest.fixture
def times(monkeypatch):
    """Latencies of the float32 and the int8 file, in place of measured ones."""
    told = [2.0, 1.0]

    def measure(files, *_):
        assert len(files) == 2
        return [SimpleNamespace(p50_ms=ms, to_dict=lambda ms=ms: {"p50_ms": ms}) for ms in told]

    monkeypatch.setattr(precision_choice, "measure", measure)
    return told


@pytest.fixture
def tuned(scarlet, pictures, tmp_path, monkeypatch, times):
    """``export --tune --max-drop N``, with one graph variant to try."""
    monkeypatch.setattr("scarlet_zoo.deployment.to_target.tune", untuned)

    def run(*budget):
        return scarlet("export", "scarlet_mini_s", "--tune", "--out", tmp_path, "--calibration", pictures, "--data",
                       pictures, *budget, "--json")  # fmt: skip

    return run


def untuned(make, path, *_):
    make("native", path)
    return SimpleNamespace(artifact=read_artifact(path), table=())


@pytest.mark.slow
def test_int8_replaces_the_file_where_it_is_faster_and_close_enough(tuned, tmp_path):
    code, out, err = tuned("--max-drop", "10")
    assert code == 0, err
    said = json.loads(out)
    choice = said["precision_choice"]
    assert (choice["chosen"], choice["ratio"], choice["images"]) == ("int8", 0.5, 40)
    assert said["metadata"]["precision"] == "int8"
    assert said["calibration"]["images"]
    assert choice["drop"] == pytest.approx(choice["float_top1"] - choice["int8_top1"])
    assert choice["float_top1"] > 80
    assert "int8 is chosen: int8 takes 0.50 of the time and loses" in err
    assert json.loads((tmp_path / "scarlet_mini_s.precision.json").read_text()) == choice


@pytest.mark.slow
def test_float_stays_where_int8_loses_too_much_or_is_no_faster(tuned, times, monkeypatch):
    real = precision_choice._right

    def wrong_in_integers(file, *rest):
        right = real(file, *rest)
        return right & (np.arange(len(right)) % 4 > 0) if read_artifact(file).metadata["precision"] == "int8" else right

    monkeypatch.setattr(precision_choice, "_right", wrong_in_integers)
    code, out, err = tuned("--max-drop", "0.5")
    choice = json.loads(out)["precision_choice"]
    assert (code, choice["chosen"]) == (0, "float32")
    assert choice["drop"] > 10
    assert "more than the 0.5 allowed" in err
    times[1] = 2.1
    code, out, err = tuned("--max-drop", "100")
    said = json.loads(out)
    assert (code, said["precision_choice"]["chosen"], said["metadata"].get("precision")) == (0, "float32", "float32")
    assert said["precision_choice"]["float_top1"] is None
    assert "int8 is not faster on this processor: it takes 1.05 times as long" in err


@pytest.mark.slow
def test_a_file_of_any_exporter_gets_the_same_choice(scarlet, pictures, times, tmp_path, monkeypatch):
    file = export("scarlet_mini_s", target="ort", out=tmp_path / "source").path
    monkeypatch.setattr("scarlet_zoo.deployment.optimize.try_variants", untuned)
    code, out, err = scarlet("optimize", file, "--tune", "--max-drop", "10", "--data", pictures, "--calibration",
                             pictures, "--out", tmp_path, "--json")  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["precision_choice"]["chosen"] == "int8"
    assert read_artifact(tmp_path / file.name).metadata["precision"] == "int8"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--max-drop", "1"), "--max-drop 1.0: would be ignored, it only applies to --tune"),
        (("--tune", "--data", "x"), "--data x: would be ignored, it only applies to --max-drop"),
        (("--tune", "--max-drop", "1", "--calibration", "random"), "--max-drop 1: got no --data, wanted images"),
        (("--tune", "--max-drop", "1", "--data", "x"), "--max-drop 1: got no --calibration, wanted images"),
    ],
)
@pytest.mark.parametrize("verb", ["export", "optimize"])
def test_a_budget_without_what_it_needs_is_refused(verb, given, said, scarlet, tmp_path):
    source = "scarlet_mini_s" if verb == "export" else tmp_path / "any.onnx"
    code, out, err = scarlet(verb, source, *given, "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_the_interval_of_a_drop_is_paired():
    before = np.array([True] * 90 + [False] * 10)
    drop, (low, high) = paired_drop(before, before)
    assert drop == 0
    assert low < 0 < high < 2
    after = before.copy()
    after[:5] = False
    drop, (low, high) = paired_drop(before, after)
    assert drop == pytest.approx(5)
    assert 0 < low < 5 < high < 12
    # As many lost as gained: the same accuracy, less sure.
    after[90:95] = True
    drop, (low, high) = paired_drop(before, after)
    assert drop == 0
    assert low == pytest.approx(-high)
    assert high > 5
