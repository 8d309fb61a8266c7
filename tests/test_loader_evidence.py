"""The committed measurement of the loader: the loader is not the limit of a training, and the document says so."""

import json

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from scarlet_zoo.cli import image_options
from scarlet_zoo.data import augmentations
from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.evidence import loading

RECORD = json.loads((ROOT / "benchmarks" / "results" / "loader.json").read_text())
ROWS = {row["what"]: row for row in RECORD["rows"]}
DOCUMENT = (ROOT / "docs" / "training.md").read_text()
FORMS = ("folder", "torchvision", "array")


def test_the_loader_is_at_least_five_times_as_fast_as_the_training():
    for form in FORMS:
        assert ROWS[f"loader {form}"]["over_training"] >= 5
        assert {f"loader {form}", f"both {form}"} <= ROWS.keys()
    for row in ROWS.values():
        assert 0 < row["p10"] <= row["p50"] <= row["p90"]
    conditions = RECORD["conditions"]
    assert (conditions["data"], conditions["threads"], conditions["input"]) == ("CIFAR-10, JPEG", 2, [32, 32])
    assert all(conditions[key] for key in ("device", "instruction_sets", "cores", "torch", "date", "load_average"))


def test_the_document_has_the_numbers_of_the_record():
    for row in ROWS.values():
        shown = f"{row['p50']:,.0f} ({row['p10']:,.0f} to {row['p90']:,.0f}) | {row['over_training']:.1f} |"
        assert shown in DOCUMENT
    assert f"{RECORD['decoding_once']:,.0f} images a second" in DOCUMENT
    assert RECORD["conditions"]["remark"] in DOCUMENT


def test_the_document_and_the_help_name_every_recipe_and_setting():
    for name in (*augmentations._WHOLE, *augmentations._ADDED):
        assert f"| `{name}`" in DOCUMENT
        assert name in image_options._AUGMENTATION
    for name in augmentations._Settings.model_fields:
        assert f"`{augmentations._shown(name)}`" in DOCUMENT
    assert augmentations._Settings.model_fields.keys() == Augment.__dataclass_fields__.keys()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for position, photo in enumerate(photos(36)):
        place = root / ("test" if position % 3 == 2 else "train") / ("cat" if position % 2 else "ant")
        place.mkdir(parents=True, exist_ok=True)
        photo.resize((32, 32)).save(place / f"{position:02}.jpg")
    return root


def test_images_written_as_torchvision_does_are_the_folders(images, tmp_path, monkeypatch):
    import torchvision.datasets

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torchvision.datasets, "JpegCIFAR10", loading.JpegCIFAR10, raising=False)
    loading.write_as_torchvision_does(images, tmp_path)
    feed = Preprocessing((32, 32), (0.5,) * 3, (0.25,) * 3, "bilinear", 1.0)
    named = open_data("torchvision:JpegCIFAR10", feed, tmp_path, 6, cache_gb=1)
    assert named.classes == ("ant", "cat")
    held = loading.JpegCIFAR10(str(tmp_path)).data
    files = sorted((images / "train").rglob("*.jpg"))
    assert np.array_equal(held, [np.asarray(Image.open(file)) for file in files])


@pytest.mark.slow
def test_everything_is_measured_once_in_each_round(images):
    feed = Preprocessing((32, 32), (0.5,) * 3, (0.25,) * 3, "bilinear", 1.0)
    split = open_data(str(images), feed, validation=6).part("train")
    found = loading.measured_in_turns("scarlet_mini_s", {"folder": split}, {"other": split}, 2, 2)
    assert found.keys() == {"network", "loader folder", "loader other", "both folder"}
    assert all(len(rates) == 2 and min(rates) > 0 for rates in found.values())
