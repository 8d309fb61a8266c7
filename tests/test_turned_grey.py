"""Colour images in a network that takes grey ones: every verb says so, on stderr and in its JSON."""

import json
import shutil
import warnings
from dataclasses import replace

import pytest
from PIL import Image
from training_parts import FEED, album

from scarlet_zoo.data.image_io import look_at_image
from scarlet_zoo.data.pixel_kinds import shows_colour
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.training.run import DataPlan

SAID = "show colour, but {} takes grey images (one channel), so they are turned grey"
SPACE = """name = "few"
in_chans = {}
stages = [[8, 2, 2], [12, 1, 2]]
kernel_sizes = [3]
input_size = 16
stem_width = 8
first_width = 8
head_width = 16
squeeze_excite = false
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """The same photographs in colour, and in grey that is stored as if it were colour."""
    root = tmp_path_factory.mktemp("photographs")
    album(root / "colour", each=4)
    shutil.copytree(root / "colour", root / "grey")
    for file in (root / "grey").rglob("*.jpg"):
        Image.open(file).convert("L").convert("RGB").save(file)
    for channels in (1, 3):
        (root / f"{channels}.toml").write_text(SPACE.format(channels))
    return root


def test_what_shows_colour_is_told_from_grey_that_is_stored_in_colour(photographs):
    for kind in ("colour", "grey"):
        for file in (photographs / kind).rglob("*.jpg"):
            assert look_at_image(file).shows_colour == shows_colour(Image.open(file)) == (kind == "colour")
    photo = photos(1)[0]
    assert shows_colour(photo.convert("CMYK"))
    assert shows_colour(photo.convert("P"))
    assert not any(shows_colour(photo.convert("L").convert(mode)) for mode in ("L", "1", "I;16", "LA", "P", "CMYK"))


@pytest.mark.parametrize(("kind", "turned"), [("colour", True), ("grey", False)])
def test_a_training_says_it_before_it_starts(photographs, kind, turned):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = DataPlan(name=str(photographs / kind)).open(replace(FEED, mean=(0.5,), std=(0.25,)))
    assert [SAID.format("the network") in str(one.message) for one in said] == [True] * turned
    assert data.turned_grey is turned


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "channels"), [("colour", 1), ("grey", 1), ("colour", 3)])
def test_every_verb_says_that_it_turns_colours_grey(photographs, tmp_path, scarlet, kind, channels):
    data, turned = photographs / kind, (kind, channels) == ("colour", 1)
    short = ("--data", data, "--validation", 3, "--max-steps", 1, "--batch-size", 4, "--augment", "none", "--json")

    def run(network, *command):
        code, out, err = scarlet(*command)
        assert code == 0, err
        lines = [line for line in err.splitlines() if SAID.format(network) in line]
        assert len(lines) == turned, err
        return json.loads(out)

    supernet, found = tmp_path / "supernet" / "supernet.safetensors", tmp_path / "search"
    space = ("--space", photographs / f"{channels}.toml")
    report = run("the network", "supernet", "train", *space, *short, "--out", supernet.parent)
    assert (report["turned_grey"], report["preprocessing_rule"]) == (turned, 2)
    report = run("the space few", "search", "--supernet", supernet, "--evaluations", 2, "--bn-images", 4, "--json",
                 "--out", found)  # fmt: skip
    assert report["turned_grey"] is turned
    arch = report["front"][0]["arch"]
    report = run("the network", "train", arch, "--supernet", supernet, *short, "--out", tmp_path / "run")
    assert report["turned_grey"] is turned
    model = str(tmp_path / "run" / "model.safetensors")
    for more in ((), ("--split", "validation", "--validation", 3)):
        assert run(model, "validate", model, data, *more, "--json")["turned_grey"] is turned
    images = sorted((data / "cat").iterdir())[:2]
    assert [row["turned_grey"] for row in run(model, "predict", model, *images, "--json")] == [turned] * 2


def test_data_check_says_that_grey_images_suit_every_network(photographs, scarlet):
    for kind in ("colour", "grey"):
        code, out, _ = scarlet("data", "check", photographs / kind, "--json")
        report = json.loads(out)
        assert (code, report["colour"]) == (0, kind == "colour")
        assert any("are grey, and a network that takes colour takes them too" in line
                   for line in report["remarks"]) == (kind == "grey")  # fmt: skip
