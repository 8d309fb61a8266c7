"""Folders and lists of images as people have them: what is a class, what is a part, what is left out and said."""

import json
import os

import numpy as np
import pytest
from conftest import FASHION
from PIL import Image

from scarlet_zoo.data import image_io
from scarlet_zoo.data.check import check_images
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.divided import read_divided
from scarlet_zoo.data.layout import read_parts
from scarlet_zoo.data.partition import split_indices, stratified_indices
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.data.splits import in_order
from scarlet_zoo.errors import DatasetError, ScarletWarning
from scarlet_zoo.training.run import DataPlan

FEED = Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)
SMALL = [photo.resize((40, 32)) for photo in photos(40)]


def fill(folder, counts, first=0):
    """Photographs in class folders, all different ones."""
    number = first
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            SMALL[number].save(folder / name / f"{number:02}.png")
            number += 1
    return folder


# What is a part and what is a class.


def test_a_class_named_train_is_a_class(tmp_path):
    fill(tmp_path, {"bus": 2, "car": 2, "train": 3})
    parts = read_parts(tmp_path)
    assert (parts.train.classes, parts.test, parts.divided) == (("bus", "car", "train"), None, False)
    assert parts.remarks == (
        f"{tmp_path}: its folder train is read as a class, because bus, car beside it hold images too",
    )
    # Also where cameras have made folders in it.
    fill(tmp_path / "train", {"100CANON": 1, "101CANON": 1}, 10)
    assert read_parts(tmp_path).train.classes == ("bus", "car", "train")
    with pytest.warns(ScarletWarning, match="is read as a class"):
        assert len(open_data(str(tmp_path), FEED).part("train")) == 6


LAYOUTS = {
    "train and val": ({"train": {"a": 4, "b": 4}, "val": {"a": 1, "b": 1}}, "test", ()),
    "train and test and val": (
        {"train": {"a": 4, "b": 4}, "test": {"a": 1, "b": 1}, "val": {"a": 1, "b": 1}},
        "test",
        (
            "val: is used with --validation-data only: test is the test part, and validation images are otherwise "
            "taken out of train",
        ),
    ),
    "capitals, and the names of others": ({"Train": {"a": 4, "b": 4}, "Valid": {"b": 2}}, "test", ()),
    "train alone": ({"train": {"a": 4, "b": 4}}, None, ()),
    "test images without classes": (
        {"train": {"a": 4, "b": 4}, "test": {".": 2}},
        None,
        ("test: is not used, it holds no class folders with images",),
    ),
    "others beside parts": (
        {"train": {"a": 4, "b": 4}, "test": {"a": 2}, "spare": {"x": 2}},
        "test",
        (": spare beside train is not used",),
    ),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_parts_are_parts_where_that_is_what_they_are(kind, tmp_path):
    layout, test, said = LAYOUTS[kind]
    for place, (name, counts) in enumerate(layout.items()):
        fill(tmp_path / name, counts, 10 * place)
    parts = read_parts(tmp_path)
    assert parts.divided
    assert (parts.train.classes, len(parts.train.files)) == (("a", "b"), 8)
    assert ("test" if parts.test is not None else None) == test
    assert len(parts.remarks) == len(said)
    assert all(line.endswith(text) for line, text in zip(parts.remarks, said, strict=True))


def test_a_part_that_lacks_a_class_keeps_the_indices_and_is_said(tmp_path):
    fill(tmp_path / "train", {"a": 4, "b": 4, "c": 4})
    fill(tmp_path / "test", {"a": 1, "c": 2}, 20)
    with pytest.warns(ScarletWarning, match="no test image of b, so nothing is measured of it"):
        data = DataPlan(name=str(tmp_path)).open(FEED)
    assert data.classes == ("a", "b", "c")
    assert data.part("test").targets.tolist() == [0, 2, 2]
    fill(tmp_path / "test", {"d": 1}, 30)
    with pytest.raises(DatasetError, match=r"class 'd', which has none in .*train, wanted the classes a, b"):
        open_data(str(tmp_path), FEED)


def test_folders_without_images_are_no_classes(tmp_path):
    fill(tmp_path, {"a": 3, "b": 3, "__MACOSX": 1, ".thumbnails": 1, "later": 0})
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.txt").write_text("nothing")
    dataset = read_parts(tmp_path).train
    assert (dataset.classes, dataset.empty, set(dataset.targets)) == (("a", "b"), ("later", "notes"), {0, 1})
    with pytest.warns(ScarletWarning, match="no images in later, notes, so this is no class"):
        assert DataPlan(name=str(tmp_path)).open(FEED).classes == ("a", "b")


def test_one_class_is_refused(tmp_path):
    fill(tmp_path, {"cat": 5})
    with pytest.raises(DatasetError, match=r"got images of one class only \(cat\), wanted two or more"):
        DataPlan(name=str(tmp_path)).open(FEED)


def test_links_and_nested_folders_and_upper_case(tmp_path):
    fill(tmp_path / "elsewhere", {"cat": 2})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    fill(tmp_path / "data" / "dog" / "DCIM", {"100CANON": 1, "101CANON": 1}, 5)
    SMALL[9].save(tmp_path / "data" / "dog" / "IMG.JPG")
    (tmp_path / "data" / "dog" / "again").symlink_to(tmp_path / "data" / "dog")
    parts = read_parts(tmp_path / "data")
    assert [parts.train.targets.count(index) for index in (0, 1)] == [2, 3]


# How it is divided.


def test_nine_images_and_classes_with_one(tmp_path):
    fill(tmp_path, {"a": 4, "b": 4, "c": 1})
    with pytest.warns(ScarletWarning, match="no validation image of c, so nothing is measured of it"):
        data = DataPlan(name=str(tmp_path)).open(FEED)
    assert data.part("validation").targets.tolist() == [0, 1]
    assert sorted(data.part("train").targets.tolist()) == [0, 0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("held", [None, 3, 10, 37, 180])
def test_validation_images_are_of_every_class_in_proportion(held):
    counts = [1, 2, 3, 40, 160]
    targets = np.random.default_rng(1).permutation(np.repeat(np.arange(5), counts))
    parts = stratified_indices(targets, held, "set")
    assert sorted([*parts["train"], *parts["validation"]]) == list(range(206))
    taken = np.bincount(targets[parts["validation"]], minlength=5)
    assert taken.sum() == (17 if held is None else held)
    assert taken[0] == 0
    assert (taken < np.maximum(counts, 2)).all()
    assert (taken[1:] >= 1).all() or held == 3
    if held in (None, 10, 37):  # by hand: what is left after one each goes to the largest remainders
        share = 206 / taken.sum()
        assert abs(taken[3] - 40 / share) <= 1
        assert abs(taken[4] - 160 / share) <= 3
    again = stratified_indices(targets, held, "other")
    assert np.array_equal(again["validation"], parts["validation"])


def test_one_class_is_divided_as_it_always_was():
    ours, theirs = stratified_indices(np.zeros(60, np.int64), 7, "set"), split_indices(60, 7, "set")
    assert all(np.array_equal(ours[part], theirs[part]) for part in ("train", "validation"))


@pytest.mark.parametrize(
    ("counts", "held", "says"),
    [([5, 5], 9, "got 9 validation images, wanted 1 to 8"), ([1, 1], None, "no class with two images"),
     ([5, 5], 0, "got 0 validation images")],
)  # fmt: skip
def test_divisions_that_cannot_be(counts, held, says):
    with pytest.raises(DatasetError, match=says):
        stratified_indices(np.repeat(np.arange(2), counts), held, "set")


# What is in the files.


def test_every_kind_of_pixels_becomes_the_same_kind_of_input(tmp_path):
    photo = SMALL[0]
    deep = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    kinds = {"rgb.PNG": photo, "grey.png": photo.convert("L"), "cmyk.jpg": photo.convert("CMYK"), "deep.png": deep,
             "palette.gif": photo.convert("P"), "alpha.webp": photo.convert("RGBA")}  # fmt: skip
    pytest.importorskip("pillow_heif").register_heif_opener()
    kinds["phone.HEIC"] = photo
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for file, image in kinds.items():
            if file.endswith("webp"):
                image.save(tmp_path / name / file, lossless=True)
            else:
                image.save(tmp_path / name / file)
    data = open_data(str(tmp_path), FEED)
    images, _ = next(in_order(data.part("train"), 99))
    assert images.shape == (12, 3, 32, 32)
    wanted, grey = FEED(photo), FEED(photo.convert("L"))
    errors = [min(float(np.abs(image - one).mean()) for one in (wanted, grey)) for image in images.numpy()]
    assert max(errors) < 0.11  # the colours of a CMYK JPEG and of HEIC
    checked = read_divided(tmp_path).checked
    modes = {file.name: facts.mode for file, facts in checked.facts.items()}
    assert modes["cmyk.jpg"] == "CMYK"
    assert modes["deep.png"] == "I;16"
    assert modes["palette.gif"] == "P"


def test_heic_without_its_package_is_said_before_a_training(tmp_path, monkeypatch):
    pytest.importorskip("pillow_heif").register_heif_opener()
    fill(tmp_path, {"a": 3, "b": 3})
    SMALL[9].save(tmp_path / "a" / "IMG_1.HEIC")

    def missing(path):
        raise image_io.ImageError(f"{path}: is a HEIC image, install pillow-heif", "a HEIC image, install pillow-heif")

    monkeypatch.setattr(image_io, "_open_heic_with_pillow", missing)
    with pytest.raises(DatasetError, match=r"1 of 7 images cannot be read: .* install pillow-heif: a/IMG_1\.HEIC"):
        DataPlan(name=str(tmp_path)).open(FEED)
    monkeypatch.undo()
    # What is broken is not remembered, so that an installed package is enough.
    assert len(DataPlan(name=str(tmp_path)).open(FEED).part("train")) == 5


def test_a_check_is_remembered_and_made_again_for_what_has_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = fill(tmp_path / "data", {"a": 3, "b": 3})
    files = list(read_parts(folder).train.files)
    assert check_images(folder, files).read == 6
    again = check_images(folder, files)
    assert again.read == 0
    before = again.facts[files[2]]
    SMALL[20].save(files[2])
    changed = check_images(folder, files)
    assert (changed.read, changed.facts[files[2]].sha256 != before.sha256) == (1, True)
    files[0].write_bytes(files[0].read_bytes()[:-300])
    for _ in range(2):
        broken = check_images(folder, files)
        assert ([entry.file for entry in broken.broken], broken.read) == ([files[0]], 1)
    (cache,) = (tmp_path / "cache" / "scarlet_zoo" / "checked").iterdir()
    cache.write_text("{half")
    assert check_images(folder, files).read == 6
    # A file of the same size and time of change counts as unchanged: that is what remembering means.
    status = files[1].stat()
    files[1].write_bytes(b"\0" * status.st_size)
    os.utime(files[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert check_images(folder, files).read == 1  # the broken one alone


def test_very_many_broken_images_are_shortened(tmp_path):
    fill(tmp_path, {"a": 2, "b": 2})
    for number in range(25):
        (tmp_path / "a" / f"broken{number:02}.jpg").write_bytes(b"no image")
    with pytest.raises(DatasetError) as caught:
        DataPlan(name=str(tmp_path)).open(FEED)
    said = str(caught.value)
    assert said.startswith(
        f"{tmp_path}: 25 of 29 images cannot be read: not an image: a/broken00.jpg, a/broken01.jpg, "
    )
    assert said.count("a/broken") == 20
    assert said.endswith("and 5 more, which 'scarlet-zoo data check' lists; wanted readable images, or --skip-broken")
    for file in (tmp_path / "b").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(DatasetError, match="no training image of b can be read"):
        DataPlan(name=str(tmp_path), skip_broken=True).open(FEED)


def test_an_image_too_narrow_to_be_resized_is_found_with_the_broken_ones(tmp_path):
    fill(tmp_path, {"a": 2, "b": 2})
    Image.new("RGB", (9000, 1)).save(tmp_path / "a" / "line.png")
    wide = Preprocessing((256, 256), (0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)
    with pytest.raises(DatasetError, match="cannot be read: too narrow: a/line"):
        DataPlan(name=str(tmp_path)).open(wide)


def test_images_on_both_sides_are_said(tmp_path):
    fill(tmp_path / "train", {"a": 6, "b": 6})
    fill(tmp_path / "val", {"a": 1, "b": 1}, 20)
    (tmp_path / "val" / "a" / "copy.png").write_bytes((tmp_path / "train" / "a" / "00.png").read_bytes())
    (tmp_path / "train" / "b" / "copy.png").write_bytes((tmp_path / "train" / "b" / "07.png").read_bytes())
    divided = read_divided(tmp_path)
    held = {file.name for file in divided.parts.validation.files}
    said = [line for line in divided.dangers if "training images too" in line]
    assert len(said) == 1 + bool(held & {"copy.png", "07.png"})
    assert said[-1].startswith(f"{tmp_path}: 1 of the test images are training images too (")


# Lists.

LISTED = {
    "m.csv": "path,label\na/00.png,cat\na/01.png,cat\nb/02.png,dog\nb/03.png,dog\n",
    "bom.csv": "\ufefffile_name;class\r\na/00.png;cat\r\na/01.png;cat\r\nb/02.png;dog\r\nb/03.png;dog\r\n",
    "m.tsv": "Label\tPath\ncat\ta/00.png\ncat\t./a/01.png\ndog\tb/02.png\ndog\tb/03.png\n",
    "m.json": json.dumps([{"path": f"a/0{n}.png", "label": "cat"} for n in (0, 1)]
                         + [{"image": f"b/0{n}.png", "label": "dog"} for n in (2, 3)]),
    "m.jsonl": "".join(json.dumps({"file": f"{'ab'[n // 2]}/0{n}.png", "label": ("cat", "dog")[n // 2]}) + "\n\n"
                       for n in range(4)),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTED)
def test_a_list_is_read_in_every_form(name, tmp_path):
    fill(tmp_path, {"a": 2, "b": 2})
    (tmp_path / name).write_text(LISTED[name])
    train = read_parts(tmp_path / name).train
    assert train.classes == ("cat", "dog")
    assert [train.name_of(file) for file in train.files] == ["a/00.png", "a/01.png", "b/02.png", "b/03.png"]
    data = open_data(str(tmp_path / name), FEED)
    assert [len(data.part(part)) for part in ("train", "validation")] == [2, 2]


def test_a_list_may_say_the_parts_and_numbers_keep_their_order(tmp_path):
    fill(tmp_path, {"x": 14})
    rows = [f"x/{n:02}.png,{(2, 10, 0)[n % 3]},{'test' if n > 11 else 'val' if n > 8 else 'train'}" for n in range(14)]
    (tmp_path / "m.csv").write_text("\n".join(["path,label,split", *rows]))
    data = open_data(str(tmp_path / "m.csv"), FEED)
    assert data.classes == ("0", "2", "10")
    assert [len(data.part(part)) for part in ("train", "validation", "test")] == [9, 3, 2]
    assert data.part("test").targets.tolist() == [1, 2]
    with pytest.raises(DatasetError, match="says itself which images are for validation"):
        open_data(str(tmp_path / "m.csv"), FEED, validation=3)


WRONG = {
    "path,label\na/00.png\n": "line 2: got no label",
    "path,label\na/00.png,\n": "line 2: got no label",
    "path,label\na/00.png,cat,3\n": "line 2: got 3 values, wanted 2",
    "name,colour\na/00.png,red\n": "line 1: got the columns name colour, wanted path and label",
    "path,label\n": "names no images",
    "": "names no images",
    "path,label\na/00.png,cat\na/01.png,cat\na/00.png,dog\n": "line 4: names 00.png again, which line 2 names",
    "path,label,split\na/00.png,cat,holdout\n": "line 2: split: got 'holdout', wanted train, validation or test",
    "path,label,split\na/00.png,cat,train\na/01.png,cat,\n": "line 3: has no split",
    "path,label,split\na/00.png,cat,test\n": "got images for test only, wanted some with the split train",
    "path,label\nhttps://x.org/1.png,cat\n": "line 2: got the address",
    '[{"path": "a/00.png", "label": null}]': "line 1: got no label",
    '[{"path": "a/00.png", "label": 1.5}]': "line 1: label: got 1.5, wanted text or a whole number",
    '[{"path": "a/00.png"': "is not JSON",
    '{"path": "a/00.png", "label": "a"}\n["x"]\n': "line 2: got",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_list_is_one_line_with_its_place(text, tmp_path):
    file = tmp_path / ("m.json" if text.startswith(("[", "{")) else "m.csv")
    file.write_text(text)
    with pytest.raises(DatasetError) as caught:
        read_parts(file)
    assert WRONG[text] in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_files_that_a_list_names_and_that_are_missing_are_broken(tmp_path):
    fill(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "m.csv").write_text(LISTED["m.csv"] + "a/99.png,cat\n")
    with pytest.raises(DatasetError, match=r"1 of 5 images cannot be read: .*no such file: .*99"):
        DataPlan(name=str(tmp_path / "m.csv")).open(FEED)
    with pytest.warns(ScarletWarning, match="skipped 1 of 5 files"):
        assert len(DataPlan(name=str(tmp_path / "m.csv"), skip_broken=True).open(FEED).part("train")) == 2


def test_hugging_face_folders(tmp_path):
    fill(tmp_path / "one", {"train": 6, "test": 2})
    rows = [{"file_name": f"train/{n:02}.png", "label": n % 2} for n in range(6)]
    rows += [{"file_name": f"test/{n:02}.png", "label": n % 2} for n in (6, 7)]
    (tmp_path / "one" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    fill(tmp_path / "each", {"train": 6, "validation": 2})
    for part in ("train", "validation"):
        names = sorted(file.name for file in (tmp_path / "each" / part).iterdir())
        text = "\n".join(["file_name,label", *(f"{name},{('cat', 'dog')[int(name[1]) % 2]}" for name in names)])
        (tmp_path / "each" / part / "metadata.csv").write_text(text)
    fill(tmp_path / "captions", {"a": 3, "b": 3})
    (tmp_path / "captions" / "metadata.csv").write_text("file_name,text\na/00.png,a photo\n")
    found = {name: read_parts(tmp_path / name) for name in ("one", "each", "captions")}
    assert {name: parts.train.classes for name, parts in found.items()} == {
        "one": ("0", "1"), "each": ("cat", "dog"), "captions": ("a", "b")}  # fmt: skip
    assert [len(parts.train.files) for parts in found.values()] == [6, 6, 6]
    assert [parts.test.targets for parts in list(found.values())[:2]] == [(0, 1), (0, 1)]
    assert found["captions"].test is None


# The verb.


def test_data_check_says_what_a_folder_holds(scarlet, tmp_path):
    fill(tmp_path / "train", {"a": 5, "b": 5, "c": 1, "none": 0})
    fill(tmp_path / "val", {"a": 1, "b": 1}, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    SMALL[30].save(tmp_path / "train" / "a" / "phone.jpg", exif=exif)
    code, out, err = scarlet("data", "check", tmp_path, "--json")
    said = json.loads(out)
    assert (code, err) == (0, "")
    assert said["parts"] == {"train": 10, "validation": 2, "test": 2}
    assert said["classes"]["c"] == {"train": 1, "validation": 0, "test": 0}
    assert (said["turned"], said["modes"], said["sizes"]) == (1, {"RGB": 14}, {"40x32": 14})
    assert said["formats"] == {"PNG": 13, "JPEG": 1}
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in (tmp_path / "train").rglob("*.*g")])
    assert said["mean"] == pytest.approx((pixels / 255).mean((0, 1, 2)), abs=2e-3)
    assert said["std"] == pytest.approx((pixels / 255).std((0, 1, 2)), abs=2e-3)
    assert [line.partition(": ")[2] for line in said["remarks"]] == [
        "no images in none, so this is no class",
        "no validation image of c, so nothing is measured of it",
        "no test image of c, so nothing is measured of it",
    ]
    assert (said["refusal"], said["split"]["train"]) == (None, 10)
    (tmp_path / "train" / "b" / "half.jpg").write_bytes(b"no image")
    code, out, err = scarlet("data", "check", tmp_path)
    assert code == 1
    assert "half.jpg: not an image of a supported format" in out
    assert err.startswith("error: a training would refuse this: ")
    assert "1 of 15 images cannot be read" in err
    assert scarlet("data", "check", tmp_path, "--skip-broken")[0] == 0
    code, out, err = scarlet("data", "check", tmp_path / "none")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_data_check_tells_classes_and_colours_of_a_data_set_by_name(scarlet):
    code, out, err = scarlet("data", "check", "fashion-mnist", "--data-dir", FASHION, "--json")
    said = json.loads(out)
    assert (code, err) == (0, "")
    assert said["parts"] == {"train": 55000, "validation": 5000, "test": 10000}
    assert said["classes"]["bag"]["test"] == 1000
    assert said["mean"] == pytest.approx([0.286] * 3, abs=0.01)
    assert said["split"]["validation"] == 5000
    code, out, err = scarlet("data", "check", "fashion", "--json")
    assert (code, out, err.count("\n")) == (2, "", 1)
