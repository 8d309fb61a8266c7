"""The space of a training without --space: by the channels, the size and the number of the images."""

import re
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, TINY
from PIL import Image

from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.arch.usual_space import usual_space
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.errors import DatasetError, ScarletWarning
from scarlet_zoo.nas.space_of_data import Look, look_at, space_of_data
from scarlet_zoo.nas.train_supernet import train_supernet
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.training.settings import TrainSettings


@cache
def shown():
    """Photographs, made once."""
    return photos(14)


def folder_of(folder, size, mode="RGB", per_class=7, suffix="png"):
    """A folder with two classes of photographs in this size and mode."""
    for number, photo in enumerate(shown()[: 2 * per_class]):
        place = folder / ("first" if number < per_class else "second")
        place.mkdir(parents=True, exist_ok=True)
        image = photo.resize(size).convert("L" if mode == "I;16" else mode)
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        image.save(place / f"{number:02}.{suffix}")
    return folder


@pytest.mark.parametrize(
    ("size", "mode", "channels", "space"),
    [
        ((32, 32), "RGB", 3, "scarlet-rgb32"),
        ((28, 40), "L", 1, "scarlet-mini"),
        ((120, 90), "RGB", 3, "scarlet-rgb96"),
        ((90, 120), "LA", 1, "scarlet-grey96"),
        ((90, 90), "I;16", 1, "scarlet-grey96"),
        ((300, 200), "P", 3, "scarlet-rgb96"),
        ((300, 200), "RGBA", 3, "scarlet-rgb96"),
    ],
)
def test_the_space_follows_the_images(size, mode, channels, space, tmp_path):
    plan = DataPlan(name=str(folder_of(tmp_path / "images", size, mode)), validation=2)
    assert look_at(plan) == Look(channels, min(size), 12)
    with pytest.warns(ScarletWarning, match=rf"12 \w+ images of about {min(size)} pixels, so the .* is {space} \("):
        assert space_of_data(plan, tmp_path / "out") == get_space(space)


def test_one_image_in_colour_makes_the_data_colour(tmp_path):
    folder = folder_of(tmp_path / "images", (40, 40), "L")
    shown()[0].resize((40, 40)).save(folder / "first" / "00.png")
    (folder / "second" / "broken.png").write_bytes(b"no image")
    # Validation images are not looked at, whichever they are.
    plans = [DataPlan(name=str(folder), validation=held, skip_broken=True) for held in range(2, 5)]
    assert 3 in {look_at(plan).channels for plan in plans}
    with pytest.raises(DatasetError, match=r"second/broken\.png; wanted readable images, or --skip-broken"):
        look_at(replace(plans[0], skip_broken=False))


def test_large_data_of_photographs_gets_the_space_of_imagenet():
    assert usual_space(3, 375, 1_281_167) == "scarlet"
    assert usual_space(3, 375, 99_999) == usual_space(3, 159, 1_281_167) == "scarlet-rgb96"
    assert usual_space(3, 63, 10**7) == "scarlet-rgb32"
    assert look_at(DataPlan(name="fashion-mnist")) == Look(1, 28, 55_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # its space is the one of the documents, as it always was
        assert space_of_data(DataPlan(name="fashion-mnist"), Path("none")) == get_space("scarlet-mini")


def test_the_document_has_the_rule():
    text = (ROOT / "docs" / "spaces.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| (colour|grey) \| .* \| `(\S+)` \|$", text, re.MULTILINE)
    cases = [(3, 63, 1), (3, 64, 1), (3, 160, 100_000), (1, 63, 1), (1, 64, 1)]
    assert [("grey" if case[0] == 1 else "colour", usual_space(*case)) for case in cases] == named


def test_a_run_that_has_begun_keeps_its_space(tmp_path):
    plan = DataPlan(name=str(folder_of(tmp_path / "images", (32, 32))))
    space = replace(get_space("scarlet-mini").with_path_sets(2), num_classes=2)
    torch.save({"run": {"network": f"{space.to_json()} plain"}}, tmp_path / "checkpoint.pt")
    assert space_of_data(plan, tmp_path) == replace(get_space("scarlet-mini"), num_classes=2)
    (tmp_path / "checkpoint.pt").write_bytes(b"broken")
    with pytest.warns(ScarletWarning, match="scarlet-rgb32"):
        space_of_data(plan, tmp_path)


def test_data_that_is_not_there_is_said_before_a_space_is(tmp_path):
    with pytest.raises(DatasetError, match="no such"):
        look_at(DataPlan(name=str(tmp_path / "none")))


@pytest.mark.slow
def test_a_supernet_of_photographs_is_one_of_colour(tmp_path, scarlet):
    folder = folder_of(tmp_path / "images", (32, 32))
    code, out, said = scarlet("supernet", "train", "--data", folder, "--out", tmp_path / "run", "--max-steps", 1,
                              "--batch-size", 4, "--threads", 1)  # fmt: skip
    assert code == 0
    assert "scarlet-rgb32" in out
    assert said == (
        f"warning: data {folder}: 12 colour images of about 32 pixels, so the search space is scarlet-rgb32 "
        "(32 x 32 pixels, colour); --space NAME or FILE.toml takes another one\n"
    )


def test_a_named_space_is_taken_without_a_word(tmp_path):
    folder = folder_of(tmp_path / "images", (32, 32))
    settings = TrainSettings(epochs=1, max_steps=1, batch_size=4, threads=1)
    trained = train_supernet(TINY, data=DataPlan(name=str(folder), validation=2), out=tmp_path / "run",
                             settings=settings)  # fmt: skip
    assert trained.space == replace(TINY, num_classes=2)
