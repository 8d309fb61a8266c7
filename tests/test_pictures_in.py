import functools
import io
import json
import os
import shutil
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from conftest import TINY
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from torchvision.transforms import v2

import scarlet_zoo as zoo
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.cli import main
from scarlet_zoo.data import folders
from scarlet_zoo.data.image_errors import ImageError
from scarlet_zoo.data.image_io import open_image, prepare_image_file, strict_decoders
from scarlet_zoo.data.labels import imagenet_labels
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.to_onnx import export_onnx
from scarlet_zoo.errors import ArtifactError, ScarletError
from scarlet_zoo.inference import accuracy, classifier
from scarlet_zoo.inference import answers as answering
from scarlet_zoo.inference.load import load
from scarlet_zoo.models import loading
from scarlet_zoo.models.random_weights import randomize
from scarlet_zoo.models.weights.cards import RANDOM_WEIGHTS

NAME = "mobilenetv3_small_050"
TOKENS = ["e3k3", "e6k5se", "id", "e3k3", "e3k5", "e6k3", "id", "e3k3se"]
TURNED = 9  # of the labelled pictures


def make_decisive(model, images):
    """Scale the last layer in place: fresh from randomize() a network says nearly the same of every picture."""
    with torch.no_grad():
        logits = model(images)
        model.classifier.bias.sub_(logits.mean(0))
        scale = 3 / logits.std(0).mean()
        model.classifier.weight.mul_(scale)
        model.classifier.bias.mul_(scale)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A weights file of a network that is as sure of itself as a trained one, and counts as one."""
    network = loading.load_network(NAME, "random")
    model = network.model
    make_decisive(model, torch.from_numpy(network.preprocessing.batch(photos(4))))
    path = tmp_path_factory.mktemp("weights") / "trained.pth"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def onnx_file(weights):
    code = main.run(["export", NAME, "--weights", str(weights), "--out", str(weights.parent), "--json"])
    assert code == 0
    return weights.parent / f"{NAME}.onnx"


@pytest.fixture(scope="module")
def random_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random")
    assert main.run(["export", NAME, "--weights", "random", "--out", str(folder), "--json"]) == 0
    return folder / f"{NAME}.onnx"


@functools.cache
def photo(index=0, side=120):
    picture = photos(4)[index]
    return picture.resize((side, side * picture.height // picture.width))


def rotated_jpeg(path, orientation, picture):
    """A file whose camera was held so that the stored pixels are turned and a note says how."""
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # the inverses
    stored = picture if back is None else picture.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(path, exif=exif, quality=100, subsampling=0)
    return path


def gallery(folder):
    """One file of every kind that people have."""
    whole, grey = photo(0), photo(1).convert("L")
    alpha = np.linspace(0, 255, whole.width * whole.height).reshape(whole.height, whole.width).astype(np.uint8)
    deep = np.asarray(grey, dtype=np.uint16) * 257
    rotated_jpeg(folder / "rotated.jpg", 6, whole)
    Image.merge("RGBA", [*whole.split(), Image.fromarray(alpha)]).save(folder / "alpha.png")
    Image.fromarray(deep).save(folder / "deep.png")
    grey.save(folder / "grey.jpg")
    whole.convert("CMYK").save(folder / "cmyk.jpg")
    photo(3).convert("P").save(folder / "palette.png")
    whole.convert("P").save(folder / "animated.gif", save_all=True, append_images=[photo(2).convert("P")])
    grey.convert("1").save(folder / "bits.png")
    whole.save(folder / "wide.webp")
    photo(1).save(folder / "stereo.jpg", "MPO", save_all=True, append_images=[photo(2)])
    return sorted(folder.iterdir())


# Opening a file.


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tiff"])
def test_a_turned_camera_gives_the_upright_picture(tmp_path, orientation, ending):
    picture = photo(1)
    opened = open_image(rotated_jpeg(tmp_path / f"turned.{ending}", orientation, picture))
    assert opened.size == picture.size
    assert np.abs(np.asarray(opened, dtype=float) - np.asarray(picture)).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "I;16"])
def test_a_turned_camera_gives_every_kind_of_pixel_upright(tmp_path, orientation, mode):
    """Without loss, so that not one pixel may stand elsewhere."""
    grey = photo(1).convert("L")
    deep = Image.fromarray(np.asarray(grey, dtype=np.uint16) * 257)
    picture = deep if mode == "I;16" else photo(1).convert(mode)
    assert picture.mode == mode
    if mode == "RGBA":
        picture.putalpha(grey)
    picture.save(tmp_path / "upright.png")
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = picture if back is None else picture.transpose(Image.Transpose(back))
    stored.save(tmp_path / "turned.png", exif=exif)
    wanted = open_image(tmp_path / "upright.png")
    np.testing.assert_array_equal(open_image(tmp_path / "turned.png"), wanted)
    as_stored = open_image(tmp_path / "turned.png", upright=False)
    assert (orientation == 1) == np.array_equal(as_stored, wanted)  # type: ignore[arg-type]


def test_a_broken_camera_note_is_no_rotation(tmp_path):
    content = rotated_jpeg(tmp_path / "turned.jpg", 6, photo(0)).read_bytes()
    # The offset of the first directory of notes points beyond its end.
    (tmp_path / "broken.jpg").write_bytes(content.replace(b"MM\0*\0\0\0\x08", b"MM\0*\xff\xff\xff\xff"))
    stored = Image.open(io.BytesIO(content)).convert("RGB")
    with strict_decoders():
        np.testing.assert_array_equal(open_image(tmp_path / "broken.jpg"), stored)


def test_what_is_transparent_lies_on_white(tmp_path):
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0, :, 3] = 0, 128, 255
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    Image.fromarray(pixels[..., 2:]).save(tmp_path / "la.png")
    palette = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    palette.putpalette([0, 0, 0, 127, 127, 127, 0, 0, 0])
    for ending in ("png", "gif"):
        palette.save(tmp_path / f"palette.{ending}", transparency=0)
    for name in ("rgba.png", "la.png", "palette.png", "palette.gif"):
        seen = np.asarray(open_image(tmp_path / name))
        assert seen.shape == (1, 3, 3)
        assert seen[0, :, 0].tolist() == [255, 127, 0], name


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for name in ("deep.png", "deep.tiff", "deep.pgm"):
        Image.fromarray(values).save(tmp_path / name)
        seen = np.asarray(open_image(tmp_path / name))[..., 0]
        np.testing.assert_array_equal(seen, np.rint(values / 257))
    naive = np.asarray(Image.open(tmp_path / "deep.png").convert("RGB"))[..., 0]
    assert (naive != seen).mean() > 0.9  # what this guards against
    Image.fromarray(values).save(tmp_path / "hole.png", transparency=0)
    assert np.asarray(open_image(tmp_path / "hole.png"))[0, :2, 0].tolist() == [255, 0]


def test_samples_without_a_range_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(tmp_path / "float.tiff")
    Image.fromarray(np.full((4, 4), 70_000, dtype=np.int32)).save(tmp_path / "int.tiff")
    for name in ("float.tiff", "int.tiff"):
        with pytest.raises(ImageError, match="wanted 8 or 16 bits"):
            open_image(tmp_path / name)


def test_an_animation_is_its_first_frame(tmp_path):
    frames = [Image.new("P", (8, 8), index) for index in range(3)]
    for frame in frames:
        frame.putpalette([200, 100, 0, 0, 0, 0, 9, 9, 9])
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "moving.gif") as moving:
        assert getattr(moving, "n_frames") == 3  # noqa: B009
    assert np.asarray(open_image(tmp_path / "moving.gif"))[4, 4].tolist() == [200, 100, 0]


def test_without_the_rotation_it_is_what_torchvision_opens(tmp_path):
    photo(0).convert("CMYK").save(tmp_path / "cmyk.jpg")
    photo(1).convert("L").save(tmp_path / "grey.jpg")
    rotated_jpeg(tmp_path / "rotated.jpg", 8, photo(2))
    photo(3).convert("P").save(tmp_path / "palette.png")
    for path in tmp_path.iterdir():
        theirs = np.asarray(torchvision.datasets.folder.default_loader(str(path)))
        np.testing.assert_array_equal(open_image(path, upright=False), theirs)
    endings = torchvision.datasets.folder.IMG_EXTENSIONS
    assert folders.EXTENSIONS[: len(endings)] == endings


ENDINGS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000")


@functools.cache
def encoded(ending):
    file = io.BytesIO()
    photo(0, 24).save(file, ending)
    return file.getvalue()


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ENDINGS), st.floats(0, 1), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4))
def test_any_damage_is_a_picture_or_one_clear_line(tmp_path_factory, ending, cut, flips):
    content = bytearray(encoded(ending))
    for place, value in flips:
        content[int(place * (len(content) - 1))] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[: max(1, int(cut * len(content)))] if cut < 0.9 else content)
    with strict_decoders():
        try:
            assert open_image(path).mode == "RGB"
        except ImageError as error:
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_cut_short_is_named_whatever_others_have_set(tmp_path, monkeypatch, ending):
    content = encoded(ending)
    path = tmp_path / f"half.{ending.lower()}"
    path.write_bytes(content[: len(content) // 2])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with strict_decoders(), pytest.raises(ImageError, match=r"half\."):
        open_image(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_a_picture_too_narrow_to_be_resized_is_refused_before_memory_is_gone(tmp_path):
    Image.new("L", (1, 60_000)).save(tmp_path / "thread.png")
    Image.new("L", (100, 6_000)).save(tmp_path / "strip.png")
    feed = Preprocessing((224, 224), (0.5,) * 3, (0.5,) * 3, "bilinear", 0.875)
    assert prepare_image_file(tmp_path / "strip.png", feed).shape == (3, 224, 224)
    with pytest.raises(ImageError, match="1 x 60000 pixels, too narrow"):
        prepare_image_file(tmp_path / "thread.png", feed)


# predict.


@pytest.mark.slow
def test_both_backends_see_the_same_in_every_kind_of_file(scarlet, weights, onnx_file, tmp_path):
    files = gallery(tmp_path)
    code, out, err = scarlet("predict", NAME, *files, "--weights", weights, "--json")
    assert (code, err) == (0, "")
    ours = json.loads(out)
    code, out, err = scarlet("predict", onnx_file, *files, "--json")
    assert (code, err) == (0, "")
    theirs = json.loads(out)
    assert [row["file"] for row in ours] == [row["file"] for row in theirs] == [str(file) for file in files]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["weights"] == other["weights"] == "file trained.pth"
        assert [guess["index"] for guess in mine["predictions"]] == [guess["index"] for guess in other["predictions"]]
        for guess, same in zip(mine["predictions"], other["predictions"], strict=True):
            assert guess["label"] == same["label"] == imagenet_labels()[guess["index"]]
            assert abs(guess["score"] - same["score"]) < 1e-4
        scores = [guess["score"] for guess in mine["predictions"]]
        assert len(scores) == 5
        assert scores == sorted(scores, reverse=True)
        assert scores[0] > 0.01  # ten times what a network that knows nothing would say
    # Files do not look alike to it, or the comparison would say little.
    assert len({row["predictions"][0]["score"] for row in ours}) == len(files)
    assert len({row["predictions"][0]["index"] for row in ours}) >= 3


@pytest.mark.slow
def test_scores_are_the_softmax_of_the_models_logits(scarlet, weights, tmp_path):
    photo(2).save(tmp_path / "cat.png")
    network = loading.load_network(NAME, str(weights))
    images = torch.from_numpy(network.preprocessing.batch([photo(2)]))
    with torch.inference_mode():
        scores, indices = network.model(images).softmax(1).topk(3)
    _, out, _ = scarlet("predict", NAME, tmp_path / "cat.png", "--weights", weights, "--top", 3, "--json")
    guesses = json.loads(out)[0]["predictions"]
    assert [guess["index"] for guess in guesses] == indices[0].tolist()
    np.testing.assert_allclose([guess["score"] for guess in guesses], scores[0], atol=1e-6)


@pytest.mark.slow
def test_a_table_for_people_names_classes_and_weights(scarlet, onnx_file, tmp_path):
    photo(2).save(tmp_path / "cat.png")
    _, out, _ = scarlet("predict", onnx_file, tmp_path / "cat.png", "--json")
    code, table, _ = scarlet("predict", onnx_file, tmp_path / "cat.png")
    assert code == 0
    assert "file trained.pth" in table
    for guess in json.loads(out)[0]["predictions"]:
        assert guess["label"] in table


@pytest.mark.slow
def test_random_weights_are_refused_on_both_backends(scarlet, random_file, tmp_path):
    photo(0).save(tmp_path / "photo.png")
    for source in ((NAME, "--weights", "random"), (random_file,)):
        code, out, err = scarlet("predict", source[0], tmp_path / "photo.png", *source[1:], "--json")
        assert (code, out) == (2, "")
        assert "weights are random" in err
        assert err.count("\n") == 1


def test_more_pictures_than_a_batch_come_in_order(scarlet, onnx_file, tmp_path):
    for index, picture in enumerate(photos(19)):
        picture.resize((64, 64)).save(tmp_path / f"{index:02d}.png")
    files = sorted(tmp_path.iterdir())
    rows = json.loads(scarlet("predict", onnx_file, *files, "--json")[1])
    assert [row["file"] for row in rows] == [str(file) for file in files]
    for index in (0, 7, 8, 18):
        row, single = rows[index], json.loads(scarlet("predict", onnx_file, files[index], "--json")[1])[0]
        assert row["file"] == single["file"]
        assert row["predictions"][0]["index"] == single["predictions"][0]["index"]
        assert abs(row["predictions"][0]["score"] - single["predictions"][0]["score"]) < 1e-5


def samples(path):
    """A TIFF that says it has 11523 samples a pixel, of which Pillow tells its log."""
    content = encoded("TIFF")
    tag = struct.pack("<HHIH", 277, 3, 1, 3)
    assert tag in content
    path.write_bytes(content.replace(tag, tag[:-2] + struct.pack("<H", 11523)))


def bomb(path):
    """A PNG that says it has more pixels than Pillow's limit allows, in a few bytes."""
    Image.new("1", (8, 8)).save(path)
    content = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + content[24:29]
    path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])


BAD = {
    "folder": (lambda path: path.mkdir(), "name the files in it"),
    "absent.jpg": (lambda path: None, "no such file"),
    "empty.jpg": (lambda path: path.touch(), "empty"),
    "words.jpg": (lambda path: path.write_text("no picture"), "not an image"),
    "page.eps": (lambda path: photo(0).save(path), "not an image"),
    "truncated.jpg": (lambda path: path.write_bytes(encoded("JPEG")[:-200]), "broken"),
    "truncated.png": (lambda path: path.write_bytes(encoded("PNG")[:-200]), "broken"),
    "samples.tiff": (samples, "not an image"),
    "bomb.png": (bomb, "bomb"),
    "pipe.jpg": (os.mkfifo, "not a regular file"),
    "x" * 300: (lambda path: None, "cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_among_good_ones_is_named_before_anything_is_computed(
    scarlet, onnx_file, tmp_path, monkeypatch, name
):
    photo(0).save(tmp_path / "good.png")
    make, says = BAD[name]
    make(tmp_path / name)
    monkeypatch.setattr(classifier, "answers", lambda *_, **__: pytest.fail("it computed"))
    files = [tmp_path / "good.png", tmp_path / name, tmp_path / "good.png"]
    code, out, err = scarlet("predict", onnx_file, *files, "--json")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {tmp_path / name}: ")
    assert says in err
    assert err.count("\n") == 1


def test_a_large_but_honest_picture_is_no_bomb_and_no_warning(scarlet, onnx_file, tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    photo(0).resize((1200, 1200)).save(tmp_path / "large.jpg")
    code, _, err = scarlet("predict", onnx_file, tmp_path / "large.jpg")
    assert (code, err) == (0, "")
    assert not [warning for warning in recwarn if issubclass(warning.category, Image.DecompressionBombWarning)]


def test_a_file_name_that_is_no_text_is_still_answered(scarlet, onnx_file, tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    photo(0).save(os.fsdecode(path))
    code, out, _ = scarlet("predict", onnx_file, os.fsdecode(path), "--json")
    assert code == 0
    assert json.loads(out.encode())[0]["file"].endswith("caf\\xe9.png")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("predict", "{onnx}", "{photo}", "--weights", "random"), "holds its own weights"),
        (("predict", "{onnx}"), "IMAGE"),
        (("predict", "{onnx}", "{photo}", "--top", "0"), "0"),
        (("predict", "absent.onnx", "{photo}"), "no such file"),
        (("predict", "scarlet_aa", "{photo}"), "scarlet_a"),
        (("predict", NAME, "{photo}", "--weights", "absent.pth"), "absent.pth"),
        (("predict", "{photo}.onnx", "{photo}"), "not an ONNX file"),
        (("validate", "{onnx}", "{photo}"), "is a file"),
        (("validate", "{onnx}", "{photo}s"), "no such folder"),
        (("validate", "{onnx}", "{empty}"), "got no class folders"),
        (("validate", "{onnx}", "{classes}"), "no images"),
        (("validate", "{onnx}", "{classes}", "--max-images", "0"), "0"),
    ],
)
def test_bad_input_is_one_line(scarlet, onnx_file, tmp_path, arguments, says):
    places = {"onnx": onnx_file, "photo": tmp_path / "photo.png", "empty": tmp_path / "empty",
              "classes": tmp_path / "classes"}  # fmt: skip
    photo(0).save(places["photo"])
    (tmp_path / "photo.png.onnx").write_bytes(places["photo"].read_bytes())
    (tmp_path / "empty" / ".hidden").mkdir(parents=True)
    (tmp_path / "classes" / "a").mkdir(parents=True)
    (tmp_path / "classes" / "a" / "notes.txt").write_text("no picture")
    code, out, err = scarlet(*(argument.format(**places) for argument in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert says in err
    assert err.count("\n") == 1


# Labels, and files of other shapes.


def exported(path, labels=None, **kwargs):
    """The file of a small network, of ten classes unless told otherwise."""
    torch.manual_seed(0)
    model = zoo.create_model(Arch.of(TINY, TOKENS), **kwargs).eval()
    return export_onnx(model, path, weights="file x", labels=labels).path


@pytest.fixture(scope="module")
def ten_classes(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("ten_classes") / "net.onnx")


@pytest.mark.slow
def test_a_files_own_labels_come_first_and_unknown_ones_are_null(scarlet, ten_classes, tmp_path):
    photo(0).save(tmp_path / "photo.png")
    names = [f"Klasse {index} - ä" for index in range(10)]
    path = exported(tmp_path / "named.onnx", labels=names)
    guesses = json.loads(scarlet("predict", path, tmp_path / "photo.png", "--top", 50, "--json")[1])[0]["predictions"]
    assert sorted(guess["index"] for guess in guesses) == list(range(10))
    assert all(guess["label"] == names[guess["index"]] for guess in guesses)
    guesses = json.loads(scarlet("predict", ten_classes, tmp_path / "photo.png", "--json")[1])[0]["predictions"]
    assert [guess["label"] for guess in guesses] == [None] * 5


def test_imagenets_labels_are_in_the_order_of_the_logits():
    names = imagenet_labels()
    assert len(names) == 1000
    assert (names[0], names[281], names[999].partition(",")[0]) == (
        "tench, Tinca tinca",
        "tabby, tabby cat",
        "toilet tissue",
    )


def spoiled(path, **metadata):
    import onnx

    model = onnx.load(path)
    kept = {entry.key: entry.value for entry in model.metadata_props} | metadata
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {key: value for key, value in kept.items() if value is not None})
    onnx.save(model, path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"labels": '["one", "two"]'}, "got 2 labels, wanted 10"),
        ({"labels": "one two"}, "not a list in JSON"),
        ({"preprocessing": None}, "does not describe its preprocessing"),
        ({"preprocessing": "{}"}, "preprocessing"),
        ({"weights": RANDOM_WEIGHTS}, "weights are random"),
    ],
)
def test_a_file_that_describes_itself_wrongly_is_refused(scarlet, ten_classes, tmp_path, metadata, says):
    photo(0).save(tmp_path / "photo.png")
    path = shutil.copy(ten_classes, tmp_path / "net.onnx")
    spoiled(path, **metadata)
    code, out, err = scarlet("predict", path, tmp_path / "photo.png", "--json")
    assert (code, out) == (2, "")
    assert says in err


@pytest.mark.slow
def test_a_network_for_many_channels_or_without_classes_is_refused(scarlet, tmp_path):
    photo(0).save(tmp_path / "photo.png")
    path = exported(tmp_path / "five.onnx", in_chans=5)
    code, _, err = scarlet("predict", path, tmp_path / "photo.png")
    assert code == 2
    assert "takes 5 channels" in err


@pytest.mark.slow
def test_logits_that_are_no_numbers_are_no_answer_and_random_ones_have_no_labels(ten_classes, tmp_path):
    photo(0).save(tmp_path / "photo.png")
    broken = load(str(ten_classes), "random")
    assert replace(broken, given_labels=["a"] * 10).labels is not None
    assert replace(broken, given_labels=["a"] * 10, trained=False).labels is None
    broken = replace(broken, run=lambda images, batch: np.full((len(images), 10), np.nan))
    with pytest.raises(ScarletError, match=r"photo\.png: .*not finite"):
        broken.predict([tmp_path / "photo.png"])


# validate.


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A ten-class SCARLET network of ImageNet's images, its file, and a folder on which it is sometimes right."""
    folder = tmp_path_factory.mktemp("labelled")
    torch.manual_seed(1)  # with these weights another interpolation, crop or mean, or a rotation, changes the counts
    arch = Arch.of(replace(TINY, name="ten", input_size=224), TOKENS)
    model = zoo.create_model(arch)
    feed = loading.preprocessing_of(model)
    randomize(model, loading.calibration_images(feed)[:4])
    pictures = photos(14)
    # Of one picture the camera was turned, and is counted as it is stored.
    stored = [p.transpose(Image.Transpose.ROTATE_90) if n == TURNED else p for n, p in enumerate(pictures)]
    make_decisive(model.eval(), torch.from_numpy(feed.batch(stored)))
    path = export_onnx(model, folder / "ten.onnx", weights="file ten.pth").path
    with torch.inference_mode():
        ranked = model(torch.from_numpy(feed.batch(stored))).argsort(1, descending=True)
    for index in range(10):
        (folder / "val" / f"n{index:02d}").mkdir(parents=True)
    for number, picture in enumerate(pictures):
        # Some at the first place, some at the fifth, some at the sixth.
        place = folder / "val" / f"n{ranked[number][(0, 4, 5)[number % 3]]:02d}"
        if number == TURNED:
            rotated_jpeg(place / f"{number:02d}.JPEG", 6, picture)
        else:
            picture.save(place / f"{number:02d}.PNG", compress_level=1)
    (folder / "val" / ".hidden").mkdir()
    (folder / "val" / "n00" / "notes.txt").write_text("no picture")
    network = loading.Network("ten", model, arch, "file ten.pth", "", feed)
    return network, path, folder / "val"


def by_hand(model, folder):
    """The released evaluation: torchvision's folder and transforms, torch's topk."""
    transform = v2.Compose([
        v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True),
        v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    geometry = torchvision.transforms.Compose(
        [torchvision.transforms.Resize(256), torchvision.transforms.CenterCrop(224)]
    )
    first = among = count = 0
    for index, name in enumerate(sorted(child.name for child in folder.iterdir() if child.name != ".hidden")):
        for file in sorted(folder.joinpath(name).glob("*.[JP]*")):
            image = transform(geometry(torchvision.datasets.folder.default_loader(str(file))))
            with torch.inference_mode():
                named = model(image[None]).topk(5).indices[0].tolist()
            first, among, count = first + (named[0] == index), among + (index in named), count + 1
    return count, 100 * first / count, 100 * among / count


@pytest.mark.slow
def test_both_backends_give_what_the_released_evaluation_gives(scarlet, labelled, monkeypatch):
    network, path, folder = labelled
    count, top1, top5 = by_hand(network.model, folder)
    assert count == 14
    assert 0 < top1 < top5 < 100
    monkeypatch.setattr(loading, "load_network", lambda name, weights, **_: network)
    for source in ("ten", path):
        code, out, err = scarlet(
            "validate", source, folder, "--batch-size", 4, "--preprocessing", "upright=false", "--json"
        )
        assert (code, err) == (0, "")
        said = json.loads(out)
        assert (said["images"], said["top1"], said["top5"]) == (count, top1, top5)
        assert (said["weights"], said["trained"], said["classes"]) == ("file ten.pth", True, 10)
        assert said["preprocessing"]["size"] == [224, 224]
        assert said["preprocessing"]["crop"] == 0.875


@pytest.mark.slow
def test_a_rotation_carried_out_or_a_class_moved_changes_the_numbers(labelled, tmp_path):
    _, path, folder = labelled
    upright = load(str(path), "random")
    assert upright.preprocessing.upright
    opened = load(str(path), "random", preprocessing="upright=false")
    dataset = folders.read_dataset(folder)
    right = accuracy.validate(opened, dataset)
    moved = replace(dataset, targets=tuple((t + 1) % len(dataset.classes) for t in dataset.targets))
    assert accuracy.validate(opened, moved).top1 != right.top1
    turned = dict(answering.answers(upright, dataset.files, batch=8))
    stored = dict(answering.answers(opened, dataset.files, batch=8))
    changed = [file.name for file in dataset.files if np.abs(turned[file] - stored[file]).max() > 1e-3]
    assert changed == [f"{TURNED:02d}.JPEG"]
    (file,) = (file for file in dataset.files if file.name in changed)
    assert file.parent.name == f"n{stored[file].argmax():02d}"
    assert np.abs(turned[file] - stored[file]).max() > 0.1 * np.ptp(stored[file])


@pytest.mark.slow
def test_a_limit_is_spread_over_the_classes(labelled, scarlet):
    _, path, folder = labelled
    everything = folders.read_dataset(folder)
    half = folders.read_dataset(folder, 7)
    assert half.files == everything.files[::2]
    assert folders.read_dataset(folder, 99) == everything
    assert json.loads(scarlet("validate", path, folder, "--max-images", 3, "--json")[1])["images"] == 3


@pytest.mark.slow
def test_a_fixed_batch_gives_the_same_numbers(labelled, tmp_path):
    network, path, folder = labelled
    recipe = zoo.Recipe(batch=3)
    fixed = export_onnx(network.model, tmp_path / "fixed.onnx", recipe, weights="file ten.pth").path
    dataset = folders.read_dataset(folder, 8)
    results = [accuracy.validate(load(str(file), ""), dataset) for file in (path, fixed)]
    assert (results[0].top1, results[0].top5) == (results[1].top1, results[1].top5)


def test_a_broken_picture_is_skipped_and_said_and_a_wrong_count_says_both(labelled, scarlet, onnx_file, tmp_path):
    _, path, folder = labelled
    code, out, err = scarlet("validate", onnx_file, folder, "--json")
    assert (code, out) == (2, "")
    assert "10 class folders" in err
    assert "1000 logits" in err
    for index in range(10):
        (tmp_path / f"{index}").mkdir()
    photo(0).save(tmp_path / "0" / "good.jpg")
    (tmp_path / "5" / "broken.jpg").write_bytes(encoded("JPEG")[:-200])
    code, out, err = scarlet("validate", path, tmp_path, "--json")
    assert code == 0
    assert err == f"warning: {tmp_path}: skipped 1 of 2 files (broken image: broken.jpg)\n"
    said = json.loads(out)
    assert (said["images"], said["skipped"], said["classes_seen"], said["classes"]) == (1, 1, 1, 10)
    assert said["skipped_files"][0]["file"] == str(tmp_path / "5" / "broken.jpg")
    (tmp_path / "0" / "good.jpg").unlink()
    code, out, err = scarlet("validate", path, tmp_path, "--json")
    assert (code, out) == (2, "")
    assert err == f"error: {tmp_path}: no image can be read; skipped 1 of 1 files (broken image: broken.jpg)\n"


@pytest.mark.slow
def test_random_weights_are_measured_and_said(scarlet, random_file, tmp_path):
    for index in range(1000):
        (tmp_path / f"n{index:04d}").mkdir()
    for index in (3, 500, 999):
        photo(index % 4).save(tmp_path / f"n{index:04d}" / "one.jpg")
    answers = []
    for source in ((NAME, "--weights", "random"), (random_file,)):
        code, out, err = scarlet("validate", source[0], tmp_path, *source[1:], "--json")
        assert (code, err) == (0, "")
        said = json.loads(out)
        assert (said["weights"], said["trained"], said["images"]) == (RANDOM_WEIGHTS, False, 3)
        answers.append((said["top1"], said["top5"]))
    assert answers[0] == answers[1]
    assert "these percentages are meaningless" in scarlet("validate", random_file, tmp_path)[1]


@pytest.mark.slow
def test_top5_of_few_classes_is_all_of_them(tmp_path):
    path = exported(tmp_path / "three.onnx", num_classes=3)
    for index in range(3):
        (tmp_path / "val" / str(index)).mkdir(parents=True)
        photo(index).save(tmp_path / "val" / str(index) / "one.png")
    result = accuracy.validate(load(str(path), ""), folders.read_dataset(tmp_path / "val"))
    assert (result.images, result.top5) == (3, 100.0)


def test_linked_class_folders_are_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    photo(0).save(tmp_path / "elsewhere" / "one.png")
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "cat").symlink_to(tmp_path / "elsewhere")
    assert len(folders.read_dataset(tmp_path / "val").files) == 1


def test_an_onnx_file_without_labels_and_a_network_of_features_are_told_apart(monkeypatch, tmp_path):
    torch.manual_seed(0)
    model = zoo.create_model(NAME, num_classes=0).eval()
    network = loading.Network("headless", model, None, "file x", "", loading.preprocessing_of(model))
    monkeypatch.setattr(loading, "load_network", lambda name, weights, **_: network)
    with pytest.raises(ScarletError, match="gives features"):
        load("headless", "random")
    with pytest.raises(ArtifactError, match="no such file"):
        load(str(tmp_path / "absent.onnx"), "random")
