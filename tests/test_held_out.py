"""The split of a training travels with what it wrote, classes are matched by their names, and images are upright."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY
from PIL import Image

import scarlet_zoo as zoo
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.calibration import calibration_images
from scarlet_zoo.data.class_folders import Logits
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.held_out import TrainingImages
from scarlet_zoo.data.partition import Division
from scarlet_zoo.data.preprocessing import Preprocessing, space_preprocessing
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.data.splits import in_order
from scarlet_zoo.errors import ArtifactError, DatasetError, ScarletWarning
from scarlet_zoo.inference.answers import answers
from scarlet_zoo.inference.load import load
from scarlet_zoo.models.weights.checkpoint import read_metadata
from scarlet_zoo.nas.one_shot import OneShot
from scarlet_zoo.nas.search.derive import derive
from scarlet_zoo.nas.train_supernet import train_supernet
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.training.train_network import train

CLASSES = ("ant", "bee", "cat", "dog")
ONE = TrainSettings(epochs=1, max_steps=1, batch_size=8, augment=None)
ARCH = str(Arch.of(TINY, ["e3k3"] * 8))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Forty photographs in four classes, a supernet and a network that were trained on them, and its file."""
    root = tmp_path_factory.mktemp("trained")
    for number, photo in enumerate(photos(40)):
        place = root / "data" / CLASSES[number % 4]
        place.mkdir(parents=True, exist_ok=True)
        photo.resize((48, 40)).save(place / f"{number:02}.png")
    supernet = train_supernet(TINY, data=root / "data", out=root / "supernet", settings=ONE)
    network = train(ARCH, data=root / "data", out=root / "network", settings=ONE, supernet=supernet.path)
    exported = zoo.export(ARCH, out=root / "exported", weights=str(network.path))
    return root, supernet, network, exported.path


def scored(supernet, data, held=None):
    return OneShot(supernet.path, (str(data), None, held)).images


@pytest.fixture
def copied(trained, tmp_path):
    shutil.copytree(trained[0] / "data", tmp_path / "data")
    return tmp_path / "data"


def test_the_split_is_in_the_report_the_weights_and_the_exported_file(trained):
    root, supernet, network, file = trained
    division = open_data(str(root / "data"), space_preprocessing(TINY)).division
    assert (division.train, division.validation) == (36, 4)
    stated = read_metadata(supernet.path)["split"]
    assert Division.from_json(stated, "") == division
    assert len(stated) < 200
    assert supernet.report["split"] == network.report["split"] == json.loads(stated)
    assert read_metadata(network.path)["split"] == load(file).training["split"] == stated
    assert "data" not in load(file).training  # an exported file names no folder of this machine


@pytest.mark.slow
def test_another_number_of_validation_images_is_refused_with_what_to_type(trained):
    root, supernet, _, file = trained
    assert len(scored(supernet, root / "data").part("validation")) == 4
    assert len(scored(supernet, root / "data", 4).part("validation")) == 4
    with pytest.raises(DatasetError, match=r"36 images .* 4 for validation, here 28 and 12.*; wanted --validation 4"):
        scored(supernet, root / "data", 12)
    with pytest.raises(DatasetError, match="wanted --validation 4"):
        zoo.validate(load(file), root / "data", split="validation", validation=12)
    # A training may start from it; that its accuracy says too much is said.
    with pytest.warns(ScarletWarning, match="wanted --validation 4; the validation accuracy is too high"):
        plan = zoo.DataPlan(name=str(root / "data"), validation=12)
        train(ARCH, data=plan, out=root / "never", settings=ONE, supernet=supernet.path)
    assert zoo.validate(load(file), root / "data", split="validation").images == 4


CHANGES = {
    "added": lambda data: photos(1)[0].save(data / "ant" / "new.png"),
    "removed": lambda data: next((data / "ant").iterdir()).unlink(),
    "replaced": lambda data: photos(1)[0].resize((48, 40)).transpose(Image.Transpose.ROTATE_180).save(
        sorted((data / "bee").iterdir())[0]),
    "renamed": lambda data: sorted((data / "cat").iterdir())[0].rename(data / "cat" / "z.png"),
    "moved": lambda data: sorted((data / "cat").iterdir())[0].rename(data / "dog" / "z.png"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_other_images_than_those_of_the_training_are_refused(trained, copied, change):
    _, supernet, network, _ = trained
    # The same images at another place are the same images.
    assert len(scored(supernet, copied).part("validation")) == 4
    CHANGES[change](copied)
    with pytest.raises(DatasetError, match=r"not those that .*supernet\.safetensors was trained with .*a new training"):
        scored(supernet, copied)
    # Validating on other images is what validating is for, and whether some are among them is said to be unknown.
    classifier = load(ARCH, str(network.path))
    with pytest.warns(ScarletWarning, match="was trained on other images"):
        zoo.validate(classifier, copied, split="validation")
    here = replace(classifier, training={**classifier.training, "data": str(copied)})
    with pytest.raises(DatasetError, match="are not those that"):
        zoo.validate(here, copied, split="validation")


@pytest.mark.slow
def test_derived_networks_carry_the_split_and_derive_refuses_other_images(trained, copied, tmp_path):
    _, supernet, _, _ = trained
    row = {"arch": ARCH, "values": {"macs": 1.0}}
    content = {"objectives": ["macs"], "limits": [], "front": [row], "space": "tiny", "definition": TINY.to_json(),
               "evaluations": 1}  # fmt: skip
    (tmp_path / "front.json").write_text(json.dumps(content))
    (network,) = derive(tmp_path / "front.json", out=tmp_path / "out", choose="0", supernet=supernet.path)
    assert read_metadata(network.path)["split"] == read_metadata(supernet.path)["split"]
    CHANGES["added"](copied)
    with pytest.raises(DatasetError, match="are not those that"):
        derive(tmp_path / "front.json", out=tmp_path / "out", choose="0", supernet=supernet.path, data=str(copied))


def test_a_file_without_a_split_is_taken_and_said():
    here = Division.of(["a", "b"], ["c"])
    old = TrainingImages("old.safetensors", {"data": "hf:x", "validation": "1"})
    with pytest.warns(ScarletWarning, match="old.safetensors: was written before files stated which images"):
        old.require(here, "hf:x", None)
    # Fashion-MNIST's division follows from its number alone.
    fashion = TrainingImages("old.safetensors", {"data": "fashion-mnist", "validation": "5000"})
    fashion.require(replace(here, validation=5000), "fashion-mnist", None)
    with pytest.raises(DatasetError, match="wanted --validation 5000"):
        fashion.require(here, "fashion-mnist", 1)
    TrainingImages("of.onnx", {}).require(here, "fashion-mnist", 1)
    with pytest.raises(DatasetError, match="its split: got 'half'"):
        TrainingImages("net", {"data": "x", "split": "half"}).require(here, "x", None)


def test_all_images_of_the_training_folder_are_said_to_hold_training_images(trained):
    root, _, network, _ = trained
    with pytest.warns(ScarletWarning, match="trained on too; --split validation counts the others"):
        assert zoo.validate(load(ARCH, str(network.path)), root / "data").images == 40


# Classes by their names.


def test_a_renamed_class_is_refused_by_every_verb_and_a_lost_one_keeps_the_indices(trained, copied):
    _, supernet, network, file = trained
    shutil.rmtree(copied / "bee")
    assert zoo.validate(load(file), copied).classes_seen == 3
    data = open_data(str(copied), space_preprocessing(TINY), logits=Logits("net", 4, CLASSES))
    assert data.classes == CLASSES
    assert sorted(set(data.part("train").targets.tolist())) == [0, 2, 3]
    (copied / "ant").rename(copied / "wasp")
    with pytest.raises(DatasetError, match=r"'wasp' fits no class, wanted a label .*\(ant, bee, cat, dog\)"):
        scored(supernet, copied)
    for source in (load(file), load(ARCH, str(network.path))):
        for split in (None, "validation"):
            with pytest.raises(DatasetError, match="folder 'wasp' fits no class"):
                zoo.validate(source, copied, split=split)
    # All renamed: their order would turn right answers into wrong ones.
    for number, name in enumerate(("cat", "dog", "wasp")):
        (copied / name).rename(copied / f"k{number}")
    (copied / "k3").mkdir()
    shutil.copy(next((copied / "k0").iterdir()), copied / "k3" / "one.png")
    with pytest.raises(DatasetError, match="fits no class, wanted a label"):
        zoo.validate(load(file), copied)
    assert zoo.validate(load(file), copied, class_folders="sorted").matched_by == "sorted"


def test_a_network_of_a_supernet_takes_the_order_of_its_classes(trained, copied, tmp_path):
    _, supernet, _, _ = trained
    for name, other in zip(CLASSES, ("d", "c", "b", "a"), strict=True):
        (copied / name).rename(copied / other)
    with pytest.raises(DatasetError, match="fits no class"):
        train(ARCH, data=copied, out=tmp_path / "run", settings=ONE, supernet=supernet.path)


@pytest.mark.slow
def test_a_data_set_by_name_is_matched_by_its_labels(trained, monkeypatch):
    import torchvision.datasets

    shown = [photo.resize((48, 40)) for photo in photos(20)]

    class Pets:
        classes = ("dog", "ant", "cat", "bee")
        targets = [0, 1, 2, 3] * 5

        def __init__(self, root, train, download):
            pass

        def __len__(self):
            return 20

        def __getitem__(self, index):
            return shown[index], self.targets[index]

    monkeypatch.setattr(torchvision.datasets, "Pets", Pets, raising=False)
    classifier = load(trained[3])
    data = open_data("torchvision:Pets", classifier.preprocessing)
    images, targets = next(in_order(data.part("test"), 20))
    own = [CLASSES.index(Pets.classes[target]) for target in targets.tolist()]
    right = sum(int(row.argmax() == one) for row, one in zip(classifier.logits(images.numpy()), own, strict=True))
    result = zoo.validate(classifier, "torchvision:Pets", split="test")
    assert result.top1 == 100 * right / 20
    Pets.classes = ("dog", "ant", "cat", "cow")
    with pytest.raises(DatasetError, match="class 'cow' fits no class"):
        zoo.validate(classifier, "torchvision:Pets", split="test")


# Upright images.


@pytest.fixture
def phone(tmp_path):
    """The same photographs as they are seen, and as a phone stores them with the rotation in their EXIF data."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    for number, photo in enumerate(photos(8)):
        name = CLASSES[number % 4]
        for kind in ("seen", "stored"):
            (tmp_path / kind / name).mkdir(parents=True, exist_ok=True)
        seen = photo.resize((48, 40))
        seen.save(tmp_path / "seen" / name / f"{number}.png")
        seen.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "stored" / name / f"{number}.png", exif=exif)
    return tmp_path


def every_way(classifier, folder):
    """The inputs or the logits of the same images in a training, a validation, a prediction and a calibration."""
    feed = classifier.preprocessing
    data = open_data(str(folder), feed)
    trained = torch.cat([next(in_order(data.part(part), 99))[0] for part in ("train", "validation")])
    files = sorted(folder.rglob("*.png"))
    predicted = np.stack([row for _, row in answers(classifier, files, batch=8)])
    opened = np.stack([row for _, row in answers(classifier, [Image.open(file) for file in files], batch=8)])
    calibrated = calibration_images(str(folder), feed, 99)
    return trained.sum((0, 2, 3)).numpy(), predicted, opened, calibrated, zoo.validate(classifier, folder).top1


def test_training_validation_prediction_and_calibration_turn_images_alike(trained, phone):
    upright = load(trained[3])
    as_stored = load(trained[3], preprocessing="upright=false")
    assert (upright.preprocessing.upright, as_stored.preprocessing.upright) == (True, False)
    seen = every_way(upright, phone / "seen")
    for ours, theirs in zip(every_way(upright, phone / "stored"), seen, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    lying = every_way(as_stored, phone / "stored")
    for ours, theirs in zip(lying[1:4], seen[1:4], strict=True):
        assert np.abs(ours - theirs).max() > 1e-3


def test_upright_is_kept_where_it_is_false_and_true_where_nothing_is_said():
    feed = Preprocessing((32, 32), (0.5,), (0.5,), "bilinear", 1.0)
    assert "upright" not in feed.to_json()  # files that are exported again have the same bytes as before
    assert Preprocessing.from_json(feed.to_json()).upright
    lying = replace(feed, upright=False)
    assert Preprocessing.from_json(lying.to_json()) == lying
    with pytest.raises(ArtifactError, match="wanted true or false"):
        Preprocessing.from_json(lying.to_json().replace("false", '"no"'))


def test_the_command_line_takes_images_as_they_lie(trained, phone, scarlet):
    code, out, err = scarlet("validate", trained[3], phone / "stored", "--preprocessing", "upright=false", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["preprocessing"]["upright"] is False
    code, out, err = scarlet("validate", trained[3], phone / "stored", "--preprocessing", "upright=no")
    assert (code, out) == (2, "")
    assert err == "error: preprocessing: upright: got 'no', wanted true or false\n"
