"""Folders of images as people have them: with files that are none, and with some of a network's classes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo
from torch import nn

import scarlet_zoo as zoo
from scarlet_zoo.data.calibration import read_calibration
from scarlet_zoo.data.class_folders import Logits, match_folders
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.folders import list_images, read_dataset
from scarlet_zoo.data.image_errors import ImageError
from scarlet_zoo.data.image_io import open_image
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.errors import DatasetError, ScarletWarning

FEED = Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)
IMAGENET = ImageNetInfo("imagenet-1k")
IDS = IMAGENET.label_names()
LABELS = [IMAGENET.index_to_description(index) for index in range(1000)]


def rubbish(folder, of):
    """Beside good images what systems, broken downloads and people leave in a folder."""
    content = of.read_bytes()
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (folder / "._IMG_1.jpg").write_bytes(b"\0\5\x16\7" + b"\0" * 100)
    (folder / "notes.txt").write_text("taken in spring")
    (folder / "words.png").write_text("no image")
    (folder / "zero.jpg").touch()
    (folder / "half.jpg").write_bytes(content[: len(content) // 2])
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "IMG_2.jpg").write_bytes(content)
    (folder / "gone.jpg").symlink_to(folder / "absent.jpg")
    return 9


@pytest.fixture
def album(tmp_path):
    """Nine photographs in the formats that people have."""
    folder = tmp_path / "album"
    (folder / "deeper").mkdir(parents=True)
    small = [photo.resize((48, 40)) for photo in photos(9)]
    names = ("a.JPG", "b.gif", "c.webp", "d.bmp", "e.TIFF", "f.png", "g.jfif", "deeper/h.Jpeg", "deeper/i.ppm")
    for name, photo in zip(names, small, strict=True):
        image = photo.convert("P") if name == "b.gif" else photo.convert("RGBA") if name == "f.png" else photo
        image.save(folder / name, format="JPEG" if name == "g.jfif" else None)
    return folder


@pytest.mark.slow
def test_what_is_no_image_is_skipped_counted_and_said(album, scarlet, tmp_path):
    clean = read_calibration(str(album), FEED, 128)
    count = rubbish(album, album / "a.JPG")
    arguments = ("export", "scarlet_mini_s", "--weights", "random", "--target", "ort-int8", "--calibration", album)
    code, out, err = scarlet(*arguments, "--out", tmp_path / "out", "--json")
    assert (code, err.count("\n")) == (0, 1)
    assert err.startswith(f"warning: {album}: skipped {count} of {count + 9} files (")
    for said in ("hidden file: .DS_Store, ._IMG_1.jpg", "no image's extension: Thumbs.db, notes.txt",
                 "empty file: zero.jpg", "not an image: words.png", "broken image: half.jpg",
                 "no regular file: gone.jpg"):  # fmt: skip
        assert said in err
    said = json.loads(out)["calibration"]
    assert (said["images"], said["skipped"], len(said["skipped_files"])) == (9, count, count)
    reasons = {row["file"].rpartition("/")[2]: row["reason"] for row in said["skipped_files"]}
    assert reasons["half.jpg"].startswith("broken image file: ")
    with pytest.warns(ScarletWarning, match="skipped"):
        np.testing.assert_array_equal(read_calibration(str(album), FEED, 128).images, clean.images)


def test_every_format_is_among_the_images(album):
    images = read_calibration(str(album), FEED, 128).images
    assert images.shape == (9, 3, 32, 32)
    wanted = FEED.batch([photo.resize((48, 40)) for photo in photos(9)])
    order = ("a", "b", "c", "d", "deeper/h", "deeper/i", "e", "f", "g")
    for image, name in zip(images, order, strict=True):
        assert np.abs(image - wanted["abcdefghi".index(name[-1])]).mean() < 0.1, name


def test_another_image_is_read_in_the_place_of_a_broken_one(album):
    for name in ("a.JPG", "deeper/h.Jpeg"):
        (album / name).write_bytes(b"no image")
    with pytest.warns(ScarletWarning) as told:
        read = read_calibration(str(album), FEED, 4)
    assert len(read.images) == 4
    assert [entry.file.name for entry in read.skipped] == ["a.JPG", "h.Jpeg"]
    assert any("got 4 different images" in str(warning.message) for warning in told)


def test_links_to_folders_are_followed_and_a_circle_ends(album, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "all").symlink_to(album)
    (album / "deeper" / "up").symlink_to(album)
    assert len(list_images(tmp_path / "linked")[0]) == 9


def test_only_where_none_is_left_it_is_an_error(scarlet, tmp_path):
    folder = tmp_path / "none"
    folder.mkdir()
    photos(1)[0].resize((64, 64)).save(tmp_path / "good.jpg")
    rubbish(folder, tmp_path / "good.jpg")
    arguments = ("export", "scarlet_mini_s", "--weights", "random", "--target", "ort-int8", "--calibration", folder)
    code, out, err = scarlet(*arguments, "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {folder}: got no images in the folder, skipped 9 of 9 files")


def noisy_black(seed):
    noise = np.random.default_rng(seed).integers(0, 3, (40, 40, 3))
    return Image.fromarray(noise.astype(np.uint8))


@pytest.mark.parametrize("make", [lambda n: Image.new("RGB", (40, 40)), lambda n: Image.new("L", (40, 40), 20 * n),
                                  noisy_black], ids=["black", "greys", "a covered lens"])  # fmt: skip
def test_images_that_show_nothing_are_refused(tmp_path, make):
    for number in range(10):
        make(number).save(tmp_path / f"{number}.png")
    with pytest.raises(DatasetError, match=r"each of the 10 calibration images shows one colour only \(0\.png, 1\.png"):
        read_calibration(str(tmp_path), FEED, 128)
    for number, photo in enumerate(photos(8)):
        photo.resize((40, 40)).save(tmp_path / f"photo{number}.png")
    assert len(read_calibration(str(tmp_path), FEED, 128).images) == 18


def test_few_images_are_used_and_their_number_is_said(tmp_path):
    photo = photos(1)[0].resize((40, 40))
    photo.save(tmp_path / "1.png")
    with pytest.warns(ScarletWarning, match="got 1 image to calibrate on; wanted 8 or more"):
        assert len(read_calibration(str(tmp_path), FEED, 128).images) == 1
    for number in range(9):
        photo.save(tmp_path / f"copy{number}.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "black.png")
    with pytest.warns(ScarletWarning, match=r"got 1 image .*, 9 more are copies, 1 more show one colour only"):
        assert len(read_calibration(str(tmp_path), FEED, 128).images) == 11


def test_a_heic_image_is_opened_or_the_package_for_it_is_named(tmp_path, monkeypatch):
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + b"\0" * 40)
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"IMG_0001.HEIC: is a HEIC image, .*install it with: pip install"):
        open_image(path)
    monkeypatch.undo()
    pillow_heif = pytest.importorskip("pillow_heif")
    photo = photos(1)[0].resize((96, 80))
    pillow_heif.from_pillow(photo).save(path, quality=95)
    for name in (path, path.rename(tmp_path / "renamed.jpg")):
        if name.exists():
            assert np.abs(np.asarray(open_image(name), float) - np.asarray(photo, float)).mean() < 5


# Class folders.

PLACES = (0, 7, 134, 281, 999)  # logits of the five photographs


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small network by torch's own exporter, which takes five photographs for five classes of ImageNet."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 16, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()).eval()
    head = nn.Linear(64, 1000)
    images = torch.from_numpy(FEED.batch([photo.resize((32, 32)) for photo in photos(5)]))
    with torch.no_grad():
        features = body(images)
        head.weight.zero_()
        head.bias.zero_()
        middle = features.mean(0)
        for place, own in zip(PLACES, features, strict=True):
            head.weight[place] = (own - middle) / (own - middle).square().sum()
            head.bias[place] = -head.weight[place] @ middle
    path = tmp_path_factory.mktemp("network") / "theirs.onnx"
    torch.onnx.export(nn.Sequential(body, head).eval(), (images[:1],), path, dynamo=False, input_names=["x"],
                      output_names=["logits"], dynamic_axes={"x": {0: "n"}, "logits": {0: "n"}})  # fmt: skip
    opened = zoo.load(path, preprocessing=FEED)
    assert opened.logits(images.numpy()).argmax(1).tolist() == list(PLACES)
    return opened


def filled(root, names):
    for name, photo in zip(names, photos(5), strict=True):
        (root / name).mkdir(parents=True)
        photo.resize((32, 32)).save(root / name / "one.png")
    return root


SPELLED = {
    "index": lambda place: f"{place}",
    "index with zeros": lambda place: f"{place:04}",
    "wordnet": lambda place: IDS[place],
    "wordnet with words": lambda place: f"{IDS[place]}-{LABELS[place].split(',')[0].replace(' ', '_')}",
    "index-wordnet": lambda place: f"{place:03}_{IDS[place]}",
    "index-wordnet reversed": lambda place: f"{IDS[place]}_{place}",
}


@pytest.mark.parametrize("spelling", SPELLED)
def test_some_classes_are_found_by_their_names(network, tmp_path, spelling):
    folder = filled(tmp_path / "data", [SPELLED[spelling](place) for place in PLACES])
    result = zoo.validate(network, folder)
    assert (result.top1, result.images, result.classes_seen, result.classes) == (100, 5, 5, 1000)
    assert result.matched_by == spelling.split(" ")[0]
    assert list(result.top1_interval) == pytest.approx([100 * 5 / (5 + 1.959964**2), 100], abs=1e-3)
    # Numbered anew, or one folder mistaken for another, and it is no longer right.
    (folder / SPELLED[spelling](7)).rename(folder / SPELLED[spelling](8))
    assert zoo.validate(network, folder).top1 == 80


def test_labels_are_found_in_every_spelling(network, tmp_path):
    names = ["Tench", "cock", "n02012849", "tabby,_tabby_cat", LABELS[999].upper().replace(" ", "_")]
    with pytest.raises(DatasetError, match="'n02012849' fits no class, wanted "):
        zoo.validate(network, filled(tmp_path / "mixed", names))
    names[2] = "crane"
    with pytest.raises(DatasetError, match="'crane' is ambiguous, it fits the classes 134 and 517"):
        zoo.validate(network, filled(tmp_path / "two", names))
    folder = tmp_path / "two"
    (folder / "crane").rename(folder / "goldfish")
    result = zoo.validate(network, folder)
    assert (result.top1, result.matched_by) == (80, "label")


def places_of(names, logits, rule="auto"):
    return match_folders(Path("data"), sorted(names), sorted(names), logits, rule)


def test_a_networks_own_labels_come_first(tmp_path):
    """Our training numbers folders in the order of their names and writes them into the file."""
    own = sorted(map(str, range(12)))
    found = places_of(own, Logits("net", 12, own))
    assert (found.rule, found.index["10"]) == ("label", 2)
    assert places_of(["10", "3"], Logits("net", 12, own)).index == {"10": own.index("10"), "3": own.index("3")}
    with pytest.warns(ScarletWarning, match="--class-folders sorted"):
        assert places_of(own, Logits("net", 12)).index["10"] == 10
    assert places_of(own, Logits("net", 12), "sorted").index["10"] == 2
    shirt = places_of(["t_shirt_TOP", "Bag"], Logits("net", 3, ["Bag", "Coat", "T-shirt/top"]))
    assert shirt.index == {"Bag": 0, "t_shirt_TOP": 2}


def test_names_that_are_of_no_rule_are_numbered_if_there_are_as_many():
    found = places_of(["b", "a"], Logits("net", 2))
    assert (found.rule, dict(found.index)) == ("sorted", {"a": 0, "b": 1})
    one_based = [str(number) for number in range(1, 11)]
    assert places_of(one_based, Logits("net", 10)).rule == "sorted"
    assert places_of(["n01440764", "n01443537"], Logits("net", 2)).rule == "sorted"


@pytest.mark.parametrize(
    ("names", "logits", "rule", "says"),
    [
        (["a", "b"], Logits("net", 3), "auto", "got 2 class folders, but net gives 3 logits, and folder 'a' fits no"),
        (["0", "3"], Logits("net", 3), "auto", "'3' fits no class, wanted its index or"),
        (["7", "007"], Logits("net", 10), "auto", "'007' and '7' are both for class 7"),
        ([IDS[0], IDS[1] + "0"], Logits("net", 1000), "auto", f"{IDS[1]}0' fits no class"),
        ([f"0_{IDS[1]}"], Logits("net", 1000), "auto", f"'0_{IDS[1]}' fits no class"),
        (["car", "cat"], Logits("net", 2, ["automobile", "cat"]), "auto", "'car' fits no class, wanted a label"),
        (["cat"], Logits("net", 3, ["cat", "dog", "Cat "]), "label", None),
        (["CAT"], Logits("net", 3, ["cat", "dog", "Cat"]), "auto", "ambiguous, it fits the classes 0 and 2"),
        (["a"], Logits("net", 2), "label", "net has no labels"),
        (["a"], Logits("net", 2), "sorted", "wanted the same number of both"),
        (["a"], Logits("net", 1), "alphabet", "wanted one of auto label index"),
    ],
)
def test_a_name_that_fits_no_class_or_several_is_named(names, logits, rule, says):
    if says is None:
        assert places_of(names, logits, rule).index == {"cat": 0}
        return
    with pytest.raises(DatasetError) as caught:
        places_of(names, logits, rule)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_image_is_lost_in_silence(tmp_path, scarlet):
    """Of class folders too: what is broken is not counted, and said in the result."""
    names = ("Bag", "Coat", "Dress", "Sandal", "Shirt")
    folder = filled(tmp_path / "data", names)
    code, out, err = scarlet("validate", "scarlet_mini_s", folder, "--json")
    grey = "the images show colour, but scarlet_mini_s takes grey images (one channel), so they are turned grey"
    assert (code, err) == (0, f"warning: {folder}: {grey}\n")
    clean = json.loads(out)
    assert (clean["matched_by"], clean["classes_seen"], clean["classes"], clean["skipped"]) == ("label", 5, 10, 0)
    photos(1)[0].resize((64, 64)).save(tmp_path / "good.jpg")
    count = rubbish(folder / "Coat", tmp_path / "good.jpg")
    code, out, err = scarlet("validate", "scarlet_mini_s", folder, "--json")
    assert (code, err.count("\n"), err.count(grey)) == (0, 2, 1)
    assert f"warning: {folder}: skipped {count} of {count + 5} files (" in err
    said = json.loads(out)
    assert (said["images"], said["top1"], said["skipped"]) == (5, clean["top1"], count)
    assert len(said["skipped_files"]) == count
    code, out, err = scarlet("validate", "scarlet_mini_s", folder)
    assert f"{count} files" in out
    assert "5 in 5 of 10 classes" in out
    assert "95 % interval" in out
    for name in names:
        photos(2)[1].resize((64, 64)).save(folder / name / "two.png")
    code, out, err = scarlet("validate", "scarlet_mini_s", folder, "--validation", 3, "--json")
    part = json.loads(out)
    assert (code, part["part"], part["matched_by"], part["images"]) == (0, "validation", "label", 3)


def test_training_leaves_out_what_is_no_image_by_its_name_or_size(tmp_path):
    folder = filled(tmp_path / "data", "abcde")
    photos(2)[1].resize((64, 64)).save(folder / "c" / "two.png")
    rubbish(folder / "a", folder / "b" / "one.png")
    with pytest.warns(ScarletWarning, match="skipped 9 of 15 files"):
        data = open_data(str(folder), FEED, validation=1)
    assert data.classes == tuple("abcde")
    assert [len(data.part(name)) for name in ("train", "validation")] == [5, 1]
    files = [file.name for file in read_dataset(folder).files]
    assert files == ["half.jpg", "one.png", "words.png", "one.png", "one.png", "two.png", *["one.png"] * 2]


@pytest.mark.slow
def test_broken_images_are_named_before_a_training_starts_or_are_skipped(scarlet, tmp_path):
    """Which images a step sees follows from the seed alone, so none is left out on the way."""
    folder = filled(tmp_path / "data", "abcde")
    broken = [folder / name / "half.png" for name in "ab"]
    for file in broken:
        photos(2)[1].resize((64, 64)).save(file.parent / "two.png")
        whole = (file.parent / "one.png").read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
    command = ("supernet", "train", "--space", "scarlet-mini-7", "--data", folder, "--max-steps", 1, "--batch-size", 4,
               "--out", tmp_path / "run", "--json")  # fmt: skip
    code, out, err = scarlet(*command)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {folder}: 2 of 9 images cannot be read: broken image: a/half.png, b/half.png; ")
    assert err.endswith("; wanted readable images, or --skip-broken\n")
    code, out, err = scarlet(*command, "--skip-broken")
    said = json.loads(out)
    assert (code, said["pictures"], said["validation_pictures"], said["classes"]) == (0, 5, 2, 5)
    assert f"{folder}: skipped 2 of 9 files (broken image: half.png, half.png)" in err
    assert f"{folder}: no validation image of c, d, e, so nothing is measured of it" in err


def test_an_image_beside_the_class_folders_is_of_none(tmp_path):
    folder = filled(tmp_path / "data", "abcde")
    photos(1)[0].resize((32, 32)).save(folder / "stray.png")
    (folder / "classes.txt").write_text("a b c d e")
    (skipped,) = read_dataset(folder).skipped
    assert (skipped.file.name, skipped.kind) == ("stray.png", "in no class folder")
