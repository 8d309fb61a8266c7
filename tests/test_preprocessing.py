import numpy as np
import pytest
import timm
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.errors import ArtifactError


@pytest.mark.parametrize("name", ["scarlet_a", "resnet18", "efficientnet_b0", "mobileone_s1"])
def test_it_is_timms_own_evaluation_transform(name):
    import scarlet_zoo  # noqa: F401

    config = timm.data.resolve_model_data_config(timm.create_model(name))
    transform = timm.data.create_transform(**config)
    ours = Preprocessing.from_config(config)
    for photo in photos(12):
        np.testing.assert_array_equal(ours(photo), transform(photo).numpy())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 40), st.floats(0.5, 1.0))
def test_any_picture_gives_the_size_and_timms_pixels(width, height, size, crop):
    config = {
        "input_size": (3, size, size), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4),
        "interpolation": "bilinear", "crop_pct": crop,
    }  # fmt: skip
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
    ours = Preprocessing.from_config(config)(picture)
    assert ours.shape == (3, size, size)
    np.testing.assert_array_equal(ours, timm.data.create_transform(**config)(picture).numpy())


def test_one_channel_means_grey():
    grey = Preprocessing((16, 16), (0.5,), (0.5,), "bicubic", 1.0)
    assert grey(photos(1)[0]).shape == (1, 16, 16)


def test_it_travels_as_json():
    ours = Preprocessing((224, 192), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "bicubic", 0.875)
    assert Preprocessing.from_json(ours.to_json()) == ours
    for text in ("", "{}", ours.to_json().replace("bicubic", "magic"), ours.to_json().replace("0.875", "2")):
        with pytest.raises(ArtifactError):
            Preprocessing.from_json(text)
