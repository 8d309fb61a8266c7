"""Preprocessing as people have it: words, settings, timm's and Hugging Face's files; and what is none."""

from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import timm.data.constants
from PIL import Image

from scarlet_zoo.data.given_preprocessing import CONSTANTS, EXAMPLE, read_preprocessing
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.errors import ScarletError

BASE = Preprocessing((96, 96), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "nearest", 0.5)
WHOLE = Preprocessing((224, 224), *CONSTANTS["imagenet"], "bicubic", 0.875)


def test_the_words_are_timms_constants():
    known = timm.data.constants
    assert CONSTANTS["imagenet"] == (known.IMAGENET_DEFAULT_MEAN, known.IMAGENET_DEFAULT_STD)
    assert CONSTANTS["inception"] == (known.IMAGENET_INCEPTION_MEAN, known.IMAGENET_INCEPTION_STD)


TIMM = {"input_size": [3, 224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        "interpolation": "bicubic", "crop_pct": 0.875, "crop_mode": "center"}  # fmt: skip
HUB = {"architecture": "x", "num_classes": 5, "pretrained_cfg": {**TIMM, "tag": "a1", "label_names": None}}
CONVNEXT = {
    "image_processor_type": "ConvNextImageProcessor",
    "crop_pct": 0.875,
    "do_normalize": True,
    "image_mean": TIMM["mean"],
    "image_std": TIMM["std"],
    "resample": 3,
    "size": {"shortest_edge": 224},
}
MOBILENET = {"do_center_crop": True, "crop_size": {"height": 224, "width": 224}, "do_rescale": True,
             "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": TIMM["mean"], "image_std": TIMM["std"],
             "resample": 3, "size": {"shortest_edge": 256}}  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [EXAMPLE, EXAMPLE.replace("224,", "224x224,"), "imagenet, size=224, interpolation=bicubic, crop_pct=0.875", TIMM,
     HUB, WHOLE.to_json(), json.dumps(TIMM), CONVNEXT, MOBILENET],
    ids=["settings", "height and width", "word and settings", "mapping", "hub", "ours", "inline", "convnext",
         "hugging face"],
)  # fmt: skip
def test_the_same_in_every_form(given):
    assert read_preprocessing(given).complete(BASE) == WHOLE


def test_a_file_is_read_and_what_it_leaves_out_is_taken_from_the_network(tmp_path):
    file = tmp_path / "a=b.json"
    file.write_text(json.dumps({"mean": [0.5], "crop_pct": 1}))
    for given in (file, str(file)):
        got = read_preprocessing(given).complete(BASE)
        assert got == Preprocessing((96, 96), (0.5,) * 3, BASE.std, "nearest", 1.0)
    assert read_preprocessing("imagenet").complete(BASE, (32, 48)).size == (32, 48)
    # A configuration's usual size gives way to the file's only one; a size that was asked for does not.
    assert read_preprocessing(TIMM).complete(BASE, (32, 48)).size == (32, 48)
    with pytest.raises(ScarletError, match="got 224 x 224 pixels, but the network takes 32 x 48"):
        read_preprocessing("size=224").complete(BASE, (32, 48))


def test_every_timm_configuration_gives_what_timm_prepares():
    model = timm.create_model("mobilenetv3_small_050", pretrained=False)
    registered = timm.models.get_pretrained_cfg("mobilenetv3_small_050").to_dict()
    for config in (timm.data.resolve_model_data_config(model), registered):
        ours = read_preprocessing(config).complete(BASE)
        image = photos(1)[0]
        wanted = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)(image)
        assert np.abs(ours(image) - wanted.numpy()).max() < 2e-6


def test_a_processor_without_scaling_is_given_raw_pixels():
    raw = {"do_rescale": False, "do_normalize": False, "do_resize": True, "size": 8, "resample": 2}
    feed = read_preprocessing(raw).complete(BASE)
    assert feed(Image.new("RGB", (8, 8), (255, 0, 51)))[:, 0, 0].tolist() == pytest.approx([255, 0, 51], abs=1e-4)


def test_what_is_not_done_is_said():
    assert "crop_mode 'squash'" in read_preprocessing({**TIMM, "crop_mode": "squash"}).notes[0]
    vit = {"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}, "do_normalize": False}
    assert "stretched" in read_preprocessing(vit).notes[0]
    assert read_preprocessing(TIMM).notes == ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("imagnet", "got 'imagnet', which is no file, wanted imagenet, inception"),
        ("", "got '', which is no file"),
        ("none.json", "got 'none.json', which is no file"),
        ("size=224,crop", "got 'crop'"),
        ("sise=224", "unknown setting 'sise', wanted size mean std interpolation crop upright, did you mean size?"),
        ("size=big", "size: got 'big'"),
        ("size=0", "size: got '0'"),
        ("size=1/2/3/4", "size: got '1/2/3/4'"),
        ("mean=123.7/116.3/103.5", "mean: got '123.7/116.3/103.5', wanted values from 0 to 1, of pixels in [0, 1]; "),
        ("mean=nan", "mean: got 'nan'"),
        ("std=0/1/1", "std: got '0/1/1', wanted positive"),
        ("crop=87.5", "crop: got '87.5', wanted a share"),
        ("interpolation=cubic", "interpolation: got 'cubic', wanted one of nearest bilinear bicubic lanczos"),
        ('{"mean": ', "is not JSON"),
        ({"mean": "0.5,0.5"}, "mean: got '0.5,0.5'"),
        ({"do_flip_channel_order": True, "do_resize": True}, "takes RGB"),
        ({"do_resize": True, "resample": 5}, "resample: got 5"),
        ({"do_resize": True, "size": {"shortest_edge": "x"}}, "size: got"),
    ],
)  # fmt: skip
def test_a_wrong_key_or_value_is_one_line(given, words):
    with pytest.raises(ScarletError) as error:
        read_preprocessing(given)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_for_other_channels_are_refused():
    grey = Preprocessing((8, 8), (0.5,), (0.5,), "bilinear", 1.0)
    with pytest.raises(ScarletError, match="is for 3 channels, but the network takes 1"):
        read_preprocessing(TIMM).complete(grey)
    with pytest.raises(ScarletError, match="mean: got 3 values, wanted 1"):
        read_preprocessing("imagenet").complete(grey)
