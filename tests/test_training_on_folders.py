"""Trainings on a folder of photographs: how its images are altered is recorded, and resumes to the same bits."""

import json
import shutil
from dataclasses import asdict
from typing import Any

import pytest
import torch
from PIL import Image

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.augmentations import augment_plan
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.training import loop
from scarlet_zoo.training.learner import NetworkLearner
from scarlet_zoo.training.run import DataPlan, as_begun
from scarlet_zoo.training.settings import TrainSettings

COLOUR = Preprocessing((24, 24), (0.5,) * 3, (0.25,) * 3, "bilinear", 1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs of three classes of uneven size."""
    root = tmp_path_factory.mktemp("photographs")
    for position, photo in enumerate(photos(36)):
        place = root / ("many" if position % 6 else "few" if position % 12 else "fewer")
        place.mkdir(exist_ok=True)
        photo.resize((48, 40)).save(place / f"{position:02}.jpg")
    return root


def network():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    return torch.nn.Sequential(*layers, torch.nn.Linear(8, 3))


def trained(folder, out, cache_gb=1.0, by_class=True, **settings):
    """Train, and return the lines of the log."""
    plan = DataPlan(name=str(folder), validation=6, cache_gb=cache_gb, by_class=by_class)
    how = TrainSettings(**{"batch_size": 8, "epochs": 4, "threads": 1, **settings})
    how, plan = as_begun(how, plan, out)
    loop.train(NetworkLearner(network()), plan.open(COLOUR), how, out)
    return (out / "steps.jsonl").read_text().splitlines()


KINDS: dict[str, dict[str, Any]] = {
    "usual": {},
    "cropped": {"augment": Augment(shift_px=0, crop=0.3, color_jitter=0.4)},
    "mixed": {"augment": augment_plan(["randaugment"]), "mixup": 0.2, "cutmix": 1.0, "balance": "sampling"},
    "weighted": {"augment": augment_plan(["trivialaugment,vflip=1"]), "mixup": 0.2, "balance": "loss"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(kind, folder, tmp_path):
    whole = trained(folder, tmp_path / "whole", **KINDS[kind])
    assert len(whole) == 12
    trained(folder, tmp_path / "parts", max_steps=5, **KINDS[kind])
    torch.manual_seed(99)
    assert trained(folder, tmp_path / "parts", **KINDS[kind]) == whole
    assert trained(folder, tmp_path / "other", seed=1, **KINDS[kind]) != whole


@pytest.mark.slow
@pytest.mark.parametrize("cache_gb", [1.0, 0.0], ids=["cached", "opened"])
def test_worker_processes_give_the_same_bits(folder, tmp_path, cache_gb):
    how = KINDS["mixed"] | {"augment": augment_plan(["photo,randaugment"])}
    runs = [trained(folder, tmp_path / str(workers), cache_gb, max_steps=4, workers=workers, **how)
            for workers in (0, 2)]  # fmt: skip
    assert runs[0] == runs[1]


def test_without_crops_a_run_may_go_on_from_other_storage_and_with_crops_not(folder, tmp_path):
    whole = trained(folder, tmp_path / "whole")
    trained(folder, tmp_path / "parts", max_steps=5)
    assert trained(folder, tmp_path / "parts", cache_gb=0.0) == whole
    trained(folder, tmp_path / "cropped", max_steps=2, **KINDS["cropped"])
    with pytest.raises(TrainingError, match="crops_from '36x36', not 'None'"):
        trained(folder, tmp_path / "cropped", cache_gb=0.0, **KINDS["cropped"])


def as_an_earlier_version_wrote(out):
    """Take out of a checkpoint what the first version that trained on folders did not state."""
    file = out / "checkpoint.pt"
    content = torch.load(file, weights_only=True)
    run = content["run"]
    for key in ("mixup", "cutmix", "mixup_prob", "balance", "crops_from", "split"):
        del run[key]
    augment = {key: value for key, value in asdict(FORMER).items() if key not in ("vflip", "color_jitter", "auto")}
    assert list(augment) == ["shift_px", "flip", "erase", "crop", "jitter"]
    content["run"] = {**run, "augment": str(augment)}
    torch.save(content, file)


FORMER = Augment(shift_px=0, crop=0.08)


def test_a_run_of_an_earlier_version_goes_on_with_its_crops_of_the_originals(folder, tmp_path):
    """The default was a crop of 8 %, taken from the files; the same command, without a word of either, continues it."""
    before = {"cache_gb": 0.0, "by_class": False, "augment": FORMER}
    whole = trained(folder, tmp_path / "whole", **before)
    trained(folder, tmp_path / "parts", max_steps=5, **before)
    as_an_earlier_version_wrote(tmp_path / "parts")
    assert trained(folder, tmp_path / "parts") == whole
    assert trained(folder, tmp_path / "new") != whole


def test_a_run_of_an_earlier_version_is_refused_where_it_saw_other_pixels(folder, tmp_path):
    """It took rotated photographs as they lie. One that has ended, and one on other photographs, stay as they are."""
    shutil.copytree(folder, tmp_path / "phone")
    rotated = Image.Exif()
    rotated[0x0112] = 6
    one = tmp_path / "phone" / "many" / "01.jpg"
    Image.open(one).save(one, exif=rotated)
    for data in (folder, tmp_path / "phone"):
        out = tmp_path / f"run of {data.name}"
        trained(data, out, max_steps=2)
        content = torch.load(out / "checkpoint.pt", weights_only=True)
        assert content.pop("preprocessing_rule") == 2
        torch.save(content, out / "checkpoint.pt")
    trained(folder, tmp_path / f"run of {folder.name}", max_steps=3)
    trained(tmp_path / "phone", out, max_steps=2)
    with pytest.raises(
        TrainingError, match="version 1 of the preprocessing, here version 2: it took 1 of the images oth"
    ):
        trained(tmp_path / "phone", out, max_steps=3)


LOSSES: dict[str, dict[str, Any]] = {
    "plain": {},
    "loss": {"balance": "loss"},
    "sampling": {"balance": "sampling"},
    "mixed": {"mixup": 1.0},
}


def test_what_is_mixed_and_balanced_reaches_the_loss(folder, tmp_path):
    losses = [json.loads(trained(folder, tmp_path / name, max_steps=1, **how)[0])["loss"]
              for name, how in LOSSES.items()]  # fmt: skip
    assert len(set(losses)) == 4
    data = open_data(str(folder), COLOUR, validation=6)
    learner = NetworkLearner(network())
    loop.Loop(learner, data, TrainSettings(balance="loss", batch_size=8), tmp_path / "w", {})
    counts = torch.bincount(data.part("train").targets).float()
    torch.testing.assert_close(learner.criterion.weight * counts, torch.full((3,), 10.0))
    with pytest.raises(TrainingError, match="balance: got 'classes', wanted one of none"):
        TrainSettings(balance="classes")
    with pytest.raises(TrainingError, match="mixing: got mixup -1"):
        TrainSettings(mixup=-1)


def test_a_strategy_that_compares_views_takes_no_mixing(scarlet, folder, tmp_path):
    code, out, err = scarlet("supernet", "train", "--space", "scarlet-rgb32", "--data", folder, "--strategy", "pi-nas",
                             "--cutmix", 1, "--batch-size", 8, "--option", "queue=16", "--out", tmp_path)  # fmt: skip
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert "got mixup 0 and cutmix 1, wanted neither: the strategy compares 4 views" in err


COMMAND_ERRORS = {
    ("--augment", "blur"): "augmentation: got 'blur'",
    ("--augment", "crop=0.3", "--crop", 0.2): "got crop twice",
    ("--mixup-prob", 0.5): "--mixup-prob 0.5: would be ignored",
    ("--balance", "classes"): "balance: got 'classes', wanted one of none loss sampling",
}


@pytest.mark.parametrize("flags", COMMAND_ERRORS, ids=str)
def test_a_wrong_flag_is_one_line(flags, scarlet, folder, tmp_path):
    code, out, err = scarlet("train", "scarlet_mini_s", "--data", folder, *flags, "--out", tmp_path / "run")
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert COMMAND_ERRORS[flags] in err
