"""Data sets: what is held out, what is refused, and that each source gives the same kind of batch."""

import gzip
import json
import os
import struct
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import FASHION, fashion
from PIL import Image

from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.data import fashion_mnist as files
from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.augmentations import usual_augment
from scarlet_zoo.data.batches import Batch
from scarlet_zoo.data.cached_split import CachedSplit
from scarlet_zoo.data.datasets import open_data, split_indices
from scarlet_zoo.data.fashion_mnist import fashion_mnist
from scarlet_zoo.data.preprocessing import Preprocessing, space_preprocessing
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.data.splits import ArraySplit, in_order
from scarlet_zoo.errors import DatasetError, ScarletWarning

MINI = get_space("scarlet-mini")
COLOUR = Preprocessing((32, 32), (0.5,) * 3, (0.25,) * 3, "bilinear", 0.875)


@pytest.mark.slow
def test_fashion_mnist_is_what_its_authors_say():
    images, targets = fashion_mnist("train", FASHION)
    assert images.shape == (60_000, 28, 28, 1)
    assert np.bincount(targets).tolist() == [6_000] * 10
    assert len(fashion_mnist("test", FASHION)[0]) == 10_000
    mean, std = (images / 255).mean(), (images / 255).std()
    assert [MINI.mean[0], MINI.std[0]] == pytest.approx([mean, std], abs=1e-3)


def test_the_held_out_pictures_are_always_the_same_and_never_trained_on():
    parts = split_indices(60_000, None, "fashion-mnist")
    assert {name: len(part) for name, part in parts.items()} == {"train": 55_000, "validation": 5_000}
    assert not set(parts["train"]) & set(parts["validation"])
    assert np.array_equal(parts["validation"], split_indices(60_000, None, "other")["validation"])
    assert len(split_indices(120, None, "small")["validation"]) == 10
    data = fashion(MINI)
    kept = fashion_mnist("train", FASHION)[1][parts["validation"]]
    assert np.array_equal(data.part("validation").targets.numpy(), kept)
    for held in (0, 60_000):
        with pytest.raises(DatasetError, match="validation images"):
            split_indices(60_000, held, "fashion-mnist")
    with pytest.raises(DatasetError, match="got part 'tests'"):
        data.part("tests")


def test_a_batch_of_arrays_is_what_the_preprocessing_makes_of_each_picture():
    pixels, targets = fashion_mnist("test", FASHION)
    split = ArraySplit(pixels[:20], targets[:20], space_preprocessing(MINI))
    images, _ = split.__getitems__(Batch((3, 7), 0))
    own = space_preprocessing(MINI).batch([Image.fromarray(pixels[i, ..., 0]) for i in (3, 7)])
    torch.testing.assert_close(images, torch.from_numpy(own))
    assert images.is_contiguous(memory_format=torch.channels_last)
    larger = ArraySplit(pixels[:20], targets[:20], COLOUR)
    assert larger.__getitems__(Batch((0,), 0))[0].shape == (1, 3, 32, 32)
    shifted = ArraySplit(pixels[:20], targets[:20], space_preprocessing(MINI), Augment())
    assert not torch.equal(shifted.__getitems__(Batch((3, 7), 1))[0], images)


def write_idx(path, content):
    with gzip.open(path, "wb") as file:
        file.write(content)


def make_fashion(folder, count=30):
    pixels = np.arange(count * 784).astype(np.uint8)
    for name in ("train", "t10k"):
        write_idx(
            folder / f"{name}-images-idx3-ubyte.gz", struct.pack(">IIII", 0x803, count, 28, 28) + pixels.tobytes()
        )
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", struct.pack(">II", 0x801, count) + bytes(range(10)) * 3)


def replaced(path, make):
    path.unlink()
    make(path)


def truncate(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-200])


def images_said(*sides, content=b"\0" * 7):
    """Write training images whose header says these sides."""
    return lambda folder: write_idx(
        folder / "train-images-idx3-ubyte.gz", struct.pack(">IIII", 0x803, *sides) + content
    )


BROKEN = {
    "7 bytes of data, wanted 2147483648x2147483648x4$": images_said(2**31, 2**31, 4),  # wraps to 0
    "0 bytes of data, wanted 65536x65536x4294967295$": images_said(2**16, 2**16, 2**32 - 1, content=b""),
    "0 bytes of data, wanted 0x4294967295x4294967295$": images_said(0, 2**32 - 1, 2**32 - 1, content=b""),
    "got images of 14 x 56 pixels, wanted 28 x 28": images_said(30, 14, 56, content=bytes(30 * 784)),
    "got the class 10, wanted 0 to 9": lambda folder: write_idx(
        folder / "train-labels-idx1-ubyte.gz", struct.pack(">II", 0x801, 30) + bytes(29) + b"\x0a"
    ),
    "truncated or not a gzip file: Compressed": lambda folder: (folder / "train-images-idx3-ubyte.gz").write_bytes(
        b"\x1f\x8b\x08"
    ),
    "is a folder, a pipe or a device": lambda folder: replaced(folder / "train-images-idx3-ubyte.gz", os.mkfifo),
    "no such file": lambda folder: (folder / "train-images-idx3-ubyte.gz").unlink(),
    "truncated": truncate,
    "not a gzip file": lambda folder: (folder / "train-images-idx3-ubyte.gz").write_bytes(b"pictures"),
    "wanted an IDX file": lambda folder: write_idx(folder / "train-images-idx3-ubyte.gz", b"\0\0\x0d\x03" + b"\0" * 50),
    "bytes of data, wanted": lambda folder: write_idx(
        folder / "train-images-idx3-ubyte.gz", struct.pack(">IIII", 0x803, 9, 28, 28) + b"\0" * 7
    ),
    "labels": lambda folder: write_idx(folder / "train-labels-idx1-ubyte.gz", struct.pack(">II", 0x801, 5) + bytes(5)),
}


@pytest.mark.parametrize("says", BROKEN)
def test_each_broken_file_has_its_own_line(says, tmp_path):
    make_fashion(tmp_path)
    assert len(fashion_mnist("train", tmp_path)[0]) == 30
    BROKEN[says](tmp_path)
    with pytest.raises(DatasetError, match=says) as caught:
        fashion_mnist("train", tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_file_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    make_fashion(tmp_path)
    monkeypatch.setattr(files, "_MOST_BYTES", 40_000)
    assert len(fashion_mnist("train", tmp_path)[0]) == 30
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", bytes(10**7))
    with pytest.raises(DatasetError, match="unpacks to more than 40,000 bytes"):
        fashion_mnist("train", tmp_path)


def test_without_debians_package_torchvision_is_asked_to_download(tmp_path, monkeypatch):
    """The same call on a machine without it: torchvision puts the files into the user's cache."""
    import torchvision.datasets

    def download(root, download):
        assert download
        folder = tmp_path / "cache" / "scarlet_zoo" / "data" / "FashionMNIST" / "raw"
        assert str(folder.parent.parent) == root
        folder.mkdir(parents=True)
        make_fashion(folder)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "DEBIAN_FOLDER", tmp_path / "none")
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", download)
    assert len(fashion_mnist("train")[0]) == 30

    def refuse(root, download):
        raise RuntimeError("Error downloading\nand more")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", refuse)
    with pytest.raises(DatasetError, match="apt install dataset-fashion-mnist"):
        fashion_mnist("train")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs as train and val, a folder a class."""
    root = tmp_path_factory.mktemp("pictures")
    for position, photo in enumerate(photos(40)):
        part = "val" if position % 4 == 3 else "train"
        place = root / part / ("even" if position % 2 else "odd")
        place.mkdir(parents=True, exist_ok=True)
        photo.resize((48, 40)).save(place / f"{position:02}.png")
    (root / "val" / "odd").mkdir(exist_ok=True)
    photos(1)[0].save(root / "val" / "odd" / "one.png")
    return root


def test_a_folder_a_class(folder):
    data = open_data(str(folder), COLOUR, validation=6)
    assert data.classes == ("even", "odd")
    sizes = {name: len(data.part(name)) for name in ("train", "validation", "test")}
    assert sizes == {"train": 24, "validation": 6, "test": 11}
    images, targets = next(in_order(data.part("validation"), 6))
    assert images.shape == (6, 3, 32, 32)
    assert set(targets.tolist()) <= {0, 1}
    augmented = data.part("train", Augment())
    one, two, three = (augmented.__getitems__(Batch((0, 1), seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    alone = open_data(str(folder / "train"), COLOUR)
    assert len(alone.part("train")) + len(alone.part("validation")) == 30
    with pytest.raises(DatasetError, match="no test part"):
        alone.part("test")


FED = COLOUR.size


@pytest.fixture(scope="module")
def as_files_and_arrays(tmp_path_factory):
    """The same pictures at the network's size, as a folder and in memory."""
    root = tmp_path_factory.mktemp("same")
    pixels = np.stack([np.asarray(photo.resize(FED)) for photo in photos(24)])
    for position, picture in enumerate(pixels):
        (root / "only").mkdir(exist_ok=True)
        Image.fromarray(picture).save(root / "only" / f"{position:02}.png")
    whole = Preprocessing(FED, COLOUR.mean, COLOUR.std, "bilinear", 1.0)
    return open_data(str(root), whole, validation=4), pixels, whole


@pytest.mark.parametrize(
    "augment",
    [
        Augment(shift_px=3, flip=False),
        Augment(shift_px=0, flip=True),
        Augment(shift_px=0, flip=False, jitter=0.4),
        Augment(shift_px=0, flip=False, erase=0.9),
        Augment(shift_px=2, flip=True, jitter=0.2, erase=0.5),
    ],
    ids=["shift", "flip", "jitter", "erase", "all"],
)
def test_every_augmentation_reaches_files_as_it_does_arrays(augment, as_files_and_arrays):
    """The folder's pictures come out as those in memory do, and not as without it."""
    data, pixels, feed = as_files_and_arrays
    kept = split_indices(24, 4, "same")["train"]
    arrays = ArraySplit(pixels[kept], np.zeros(20, dtype=np.int64), feed, augment)
    batch = Batch(tuple(range(20)), 7)
    made = data.part("train", augment).__getitems__(batch)[0]
    torch.testing.assert_close(made, arrays.__getitems__(batch)[0], rtol=0, atol=1e-4)
    assert not torch.allclose(made, data.part("train").__getitems__(batch)[0], atol=1e-2)


def test_a_crop_of_a_file_is_that_of_an_array_taken_from_the_picture_itself(as_files_and_arrays, tmp_path):
    """At the network's size it shows what the array's does; of a large picture it has the details."""
    data, pixels, feed = as_files_and_arrays
    augment = Augment(shift_px=0, flip=False, crop=0.3)
    kept = split_indices(24, 4, "same")["train"]
    batch = Batch(tuple(range(20)), 7)
    theirs = ArraySplit(pixels[kept], np.zeros(20, dtype=np.int64), feed, augment).__getitems__(batch)[0]
    made = data.part("train", augment).__getitems__(batch)[0]
    # Pillow shrinks with a wider filter than torch's grid_sample stretches with, so edges differ a little.
    assert (made - theirs).abs().mean() < 0.1 * (made - data.part("train").__getitems__(batch)[0]).abs().mean()
    fine = np.indices((256, 256)).sum(0) % 2 * 255  # stripes that are grey at the network's size
    (tmp_path / "a").mkdir()
    for number in range(2):
        Image.fromarray(fine.astype(np.uint8)).convert("RGB").save(tmp_path / "a" / f"{number}.png")
    small = Augment(shift_px=0, flip=False, crop=1 / 64)
    views = [open_data(str(tmp_path), feed, validation=1).part("train", small).__getitems__(Batch((0,), seed))[0]
             for seed in range(40)]  # fmt: skip
    assert max(float(view.std()) for view in views) > 0.5


def test_what_training_does_by_default_depends_on_the_data():
    assert usual_augment("fashion-mnist", (28, 28)) == Augment(shift_px=1, flip=True)
    assert usual_augment("folder", (32, 32)) == Augment(shift_px=4, flip=True)
    assert usual_augment("hf:x", (224, 224)) == Augment(shift_px=0, flip=True, crop=0.35)


@pytest.mark.slow
def test_training_on_a_folder_takes_its_classes(folder, scarlet, tmp_path):
    code, out, err = scarlet("supernet", "train", "--space", "scarlet-mini-7", "--data", folder, "--max-steps", 2,
                             "--batch-size", 4, "--out", tmp_path / "s", "--loaders", 1, "--json")  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["classes"] == 2
    rows = [json.loads(line) for line in (tmp_path / "s" / "steps.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows] == [4, 4]
    arch = "scarlet-mini-7:" + "-".join(layer.tokens[0] for layer in get_space("scarlet-mini-7").layers)
    supernet, weights = tmp_path / "s" / "supernet.safetensors", tmp_path / "n" / "model.safetensors"
    code, out, err = scarlet("train", arch, "--data", folder, "--max-steps", 2, "--batch-size", 4,
                             "--supernet", supernet, "--out", tmp_path / "n", "--json")  # fmt: skip
    assert code == 0, err
    code, out, err = scarlet("export", arch, "--weights", weights, "--out", tmp_path, "--json")
    assert code == 0, err
    assert json.loads(json.loads(out)["metadata"]["labels"]) == ["even", "odd"]


@pytest.mark.slow
def test_hugging_face_and_torchvision_sets(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    import torchvision.datasets

    pictures, labels = [photo.resize((20, 20)) for photo in photos(24)], [i % 3 for i in range(24)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    part = datasets.Dataset.from_dict({"image": pictures, "label": labels}, features=features)
    datasets.DatasetDict({"train": part, "test": part.select(range(5))}).save_to_disk(tmp_path / "hf")
    data = open_data(f"hf:{tmp_path / 'hf'}", COLOUR, validation=4)
    assert data.classes == ("a", "b", "c")
    assert [len(data.part(name)) for name in ("train", "validation", "test")] == [20, 4, 5]
    _, targets = next(in_order(data.part("test"), 5))
    assert targets.tolist() == [0, 1, 2, 0, 1]
    cached = open_data(f"hf:{tmp_path / 'hf'}", COLOUR, validation=4, cache_gb=1)
    assert isinstance(cached.part("train"), CachedSplit)
    assert torch.equal(next(in_order(cached.part("train"), 20))[0], next(in_order(data.part("train"), 20))[0])
    with pytest.raises(DatasetError, match="hf:"):
        open_data(f"hf:{tmp_path}", COLOUR)

    class Small:
        classes = ("x", "y")

        def __init__(self, root, train, download):
            self.count = 12 if train else 3

        def __len__(self):
            return self.count

        def __getitem__(self, index):
            return pictures[index], index % 2

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Small)
    data = open_data("torchvision:CIFAR10", COLOUR, validation=2)
    assert [len(data.part(name)) for name in ("train", "validation", "test")] == [10, 2, 3]
    assert next(in_order(data.part("test"), 3))[0].shape == (3, 3, 32, 32)


class OnDisk:
    """A data set of torchvision's kind that opens its images when they are asked for, some of which are damaged."""

    classes = ("x", "y")
    wrong: frozenset[int] = frozenset()
    looked_at: ClassVar[list[int]] = []

    def __init__(self, root, train, download):
        self.root, self.train = Path(root), train
        if not self.root.is_dir():
            self.root.mkdir()
            (self.root / "images").touch()
        self.targets = [number % 2 for number in range(12 if train else 3)]

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        type(self).looked_at.append(index)
        if self.train and index in self.wrong:
            content = BytesIO()
            photos(1)[0].resize((40, 40)).save(content, format="JPEG")
            return Image.open(BytesIO(content.getvalue()[:-200])), index % 2
        return Image.new("RGB", (20, 20), (10 * index, 0, 0)), index % 2


def test_images_of_a_data_set_by_name_are_checked_before_a_training(tmp_path, monkeypatch, scarlet):
    import torchvision.datasets

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", OnDisk)
    monkeypatch.setattr(OnDisk, "wrong", frozenset({3, 7}))
    name = ("torchvision:CIFAR10", COLOUR, tmp_path / "data", 2)
    says = "2 of 15 images cannot be read: broken image: train image 3, train image 7; wanted readable images, or --sk"
    with pytest.raises(DatasetError, match=says):
        open_data(*name, skip_broken=False)
    OnDisk.looked_at.clear()
    with pytest.warns(ScarletWarning, match="skipped 2 of 15 images .broken image: train image 3, train image 7"):
        data = open_data(*name)
    assert OnDisk.looked_at == [3, 7]
    assert [len(data.part(part)) for part in ("train", "validation", "test")] == [8, 2, 3]
    red = torch.cat([next(in_order(data.part(part), 8))[0][:, 0, 0, 0] for part in ("train", "validation")])
    levels = ((red * 0.25 + 0.5) * 255).round().int().tolist()
    assert sorted(levels) == [10 * number for number in range(12) if number not in (3, 7)]
    command = ("data", "check", name[0], "--data-dir", name[2], "--json")
    code, out, err = scarlet(*command)
    assert (code, says.partition(";")[0] in err) == (1, True)
    assert [Path(entry["file"]).name for entry in json.loads(out)["broken"]] == ["train image 3", "train image 7"]
    assert scarlet(*command, "--skip-broken")[0] == 0
    code, _, err = scarlet("supernet", "train", "--data", name[0], "--data-dir", name[2], "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1)
    assert says in err
    monkeypatch.setattr(OnDisk, "wrong", frozenset(range(1, 12, 2)))
    with pytest.raises(
        DatasetError, match=r"no training image of y can be read, wanted one at least: .*skipped 6 of 15"
    ):
        open_data("torchvision:CIFAR10", COLOUR, tmp_path / "other", 2)


@pytest.mark.slow
def test_images_of_a_hugging_face_set_are_checked_and_prepared_as_files_are(tmp_path):
    datasets = pytest.importorskip("datasets")
    kinds = {"grey16": Image.fromarray(np.full((20, 20), 40_000, np.uint16)), "clear": Image.new("RGBA", (20, 20)),
             "red": Image.new("RGB", (20, 20), "red")}  # fmt: skip
    rows = []
    for number in range(12):
        content = BytesIO()
        list(kinds.values())[number % 3].save(content, format="PNG")
        rows.append({"bytes": content.getvalue() if number != 8 else b"no image", "path": f"{number}.png"})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    part = datasets.Dataset.from_dict({"image": rows, "label": [n % 3 for n in range(12)]}, features=features)
    secret = datasets.Dataset.from_dict({"image": rows[:2], "label": [-1, -1]}, features=features)
    datasets.DatasetDict({"train": part, "test": secret}).save_to_disk(tmp_path / "hf")
    name = f"hf:{tmp_path / 'hf'}"
    with pytest.raises(DatasetError, match="1 of 12 images cannot be read: not an image: train image 8; wanted"), \
            pytest.warns(ScarletWarning, match="its test images have no labels"):  # fmt: skip
        open_data(name, COLOUR, skip_broken=False)
    with pytest.warns(ScarletWarning):
        data = open_data(name, COLOUR)
    assert data.altered == 8
    images, targets = next(in_order(data.part("train"), 12))
    expected = {0: (156, 156, 156), 1: (255, 255, 255), 2: (255, 0, 0)}
    for image, target in zip(COLOUR.restore(images.numpy()), targets.tolist(), strict=True):
        assert tuple(image[5, 5]) == expected[target]


@pytest.mark.parametrize(
    ("name", "says"),
    [("torchvision:Nothing", "Nothing"), ("fashion", "wanted fashion-mnist"), ("torchvision:", "no such")],
)
def test_data_that_is_none(name, says):
    with pytest.raises(DatasetError, match=says):
        open_data(name, COLOUR)


def test_a_limit_is_spread_over_the_classes(folder):
    split = open_data(str(folder), COLOUR, validation=20).part("validation")
    (_, everything), (_, some) = next(in_order(split, 20)), next(in_order(split, 20, limit=6))
    assert len(some) == 6
    assert set(some.tolist()) == set(everything.tolist()) == {0, 1}
