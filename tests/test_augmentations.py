"""Augmentation by name: each does what its name says, depends on its seed alone, and wrong text is one line."""

import random

import numpy as np
import pytest
import torch
from conftest import FASHION

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.augmentations import augment_plan, former_augment, usual_augment
from scarlet_zoo.data.auto_augment import policy
from scarlet_zoo.data.balance import balanced_order, class_weights
from scarlet_zoo.data.batches import Batch, Batches
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.mixing import Mixed, Mixing
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.errors import TrainingError


def still(**changes):
    """An augmentation that shifts and mirrors nothing."""
    return Augment(shift_px=0, flip=False, **changes)


@pytest.fixture(scope="module")
def pixels():
    """Photographs, uint8 (N, C, H, W)."""
    made = np.stack([np.asarray(photo.resize((32, 32))) for photo in photos(12)])
    return torch.from_numpy(made.transpose(0, 3, 1, 2).copy())


def test_the_default_bits_of_fashion_mnist_are_those_of_the_evidence():
    feed = Preprocessing((28, 28), (0.2861,), (0.3530,), "bilinear", 1.0)
    data = open_data("fashion-mnist", feed, FASHION)
    split = data.part("train", usual_augment("fashion-mnist", (28, 28)))
    images, targets = split.__getitems__(Batch(tuple(range(0, 640, 5)), 7))
    levels = torch.round((images * 0.3530 + 0.2861) * 255).to(torch.int64)
    weights = torch.arange(levels.numel()).reshape(levels.shape) % 9973
    # As they were when the committed evidence was made.
    assert (int((levels * weights).sum()), int(targets.sum())) == (36_951_074_688, 580)


EACH = {
    "vflip": still(vflip=True),
    "color-jitter": still(color_jitter=0.4),
    "rand": still(auto="rand-m9-mstd0.5-inc1"),
    "trivial": still(auto="trivial"),
    "original": still(auto="original"),
    "augmix": still(auto="augmix-m3-w3"),
    "3a": still(auto="3a"),
}


@pytest.mark.parametrize("augment", EACH.values(), ids=EACH)
def test_it_changes_images_by_the_seed_alone(augment, pixels):
    for batch in (pixels, pixels[:, :1]):
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        one = augment.arrays(batch, 5)
        after = random.random(), np.random.rand(), float(torch.rand(()))
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        assert (random.random(), np.random.rand(), float(torch.rand(()))) == after
        two, three = augment.arrays(batch, 5), augment.arrays(batch, 6)
        assert torch.equal(one, two)
        assert not torch.equal(one, three)
        assert (one.shape, one.dtype) == (batch.shape, torch.uint8)
    # Each image has its own values.
    same = pixels[:1].expand(12, -1, -1, -1)
    assert len({image.numpy().tobytes() for image in augment.arrays(same, 3)}) > 1


def test_upside_down_is_all_that_vflip_does(pixels):
    made = EACH["vflip"].arrays(pixels, 0)
    turned = [torch.equal(a, b.flip(1)) for a, b in zip(made, pixels, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(made, pixels, strict=True)]
    assert all(a != b for a, b in zip(turned, kept, strict=True))
    assert 0 < sum(turned) < 12


def test_colour_jitter_keeps_every_pixel_in_its_place(pixels):
    """Colours change, edges do not move: grey images stay grey, and the order of two grey levels is kept."""
    grey = (torch.arange(64).view(1, 1, 8, 8) + 90).to(torch.uint8).expand(6, 3, 8, 8)
    made = EACH["color-jitter"].arrays(grey, 0).int()
    assert (made - made[:, :1]).abs().max() <= 1
    assert (made.flatten(2).diff() >= 0).all()
    assert (made.float().mean((1, 2, 3)) - 121.5).abs().max() > 5


def test_a_policy_moves_small_images_by_at_most_what_timm_does():
    assert policy("rand-m9", 32) is policy("rand-m9", 32)
    assert vars(policy("rand-m9", 32))["ops"][0].hparams["translate_const"] == 14
    assert vars(policy("rand-m9", 224))["ops"][0].hparams["translate_const"] == 100


@pytest.mark.parametrize("auto", ["rand-m10-inc1", "rand-m9-mstd0.5-inc1", "v0", "originalr", "augmix-m10-w1-d1", "3a"])
def test_every_image_of_a_policy_comes_out(auto):
    """Pillow 12 refuses to posterize to 0 bits, which timm asks for at its strongest: such images keep one bit."""
    same = torch.arange(3 * 64).view(1, 3, 8, 8).to(torch.uint8).expand(400, -1, -1, -1)
    made = still(auto=auto).arrays(same, 0)
    assert made.shape == same.shape
    assert len({image.numpy().tobytes() for image in made}) > 4


TEXTS = {
    (): usual_augment("x", (32, 32)),
    ("none",): None,
    ("small",): Augment(shift_px=4),
    ("photo",): Augment(shift_px=0, crop=0.35),
    ("inception",): Augment(shift_px=0, crop=0.08, color_jitter=0.4),
    ("randaugment",): Augment(shift_px=4, auto="rand-m9-mstd0.5-inc1"),
    ("photo,trivialaugment", "erase=0.25"): Augment(shift_px=0, crop=0.35, auto="trivial", erase=0.25),
    ("usual,shift=2,flip=0,vflip=true,color-jitter=.3",): Augment(2, flip=False, vflip=True, color_jitter=0.3),
    ("auto=rand-m6-n3, crop=0.5",): Augment(4, crop=0.5, auto="rand-m6-n3"),
}


@pytest.mark.parametrize("texts", TEXTS, ids=str)
def test_text_names_an_augmentation(texts):
    assert augment_plan(texts).for_data("x", (32, 32)) == TEXTS[texts]


WRONG = {
    "blur": "got 'blur', wanted one of usual none small",
    "blur=1": "got the setting 'blur', wanted one of shift flip",
    "crop=0": "got crop=0, wanted greater than or equal to 0.01",
    "shift=two": "got shift=two, wanted a valid integer",
    "shift=-1": "got shift=-1",
    "color-jitter=nan": "got color-jitter=nan",
    "flip=perhaps": "got flip=perhaps",
    "auto=rand-m9-x3": "got auto=rand-m9-x3, wanted trivial or a policy of timm",
    "auto=best": "got auto=best",
    "small,photo": "got small and photo",
    "none,erase=0.5": "got none and erase",
    "erase=0.1,erase=0.2": "got erase twice",
    "randaugment,trivialaugment": "got auto twice",
    "": "got ''",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_text_is_one_line(text):
    with pytest.raises(TrainingError) as caught:
        augment_plan([text])
    assert WRONG[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flag_of_its_own_is_the_setting():
    assert augment_plan((), erase=0.2, crop=None).for_data("fashion-mnist", (28, 28)) == Augment(erase=0.2)
    with pytest.raises(TrainingError, match="got crop twice"):
        augment_plan(("crop=0.3",), crop=0.3)


def test_earlier_defaults_are_kept_for_the_runs_that_have_them():
    assert former_augment("fashion-mnist") == Augment(shift_px=1)
    assert former_augment("folder") == Augment(shift_px=0, crop=0.08)


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.4), Mixing(cutmix=1.0), Mixing(0.4, 1.0), Mixing(0.4, prob=0.5)])
def test_mixed_targets_are_shares_of_what_is_in_the_image(mixing):
    """Each image has one constant value, its class: what a mixed image shows must be what its target says."""
    targets = torch.arange(5)
    images = targets.float().view(5, 1, 1, 1).expand(5, 3, 16, 16).contiguous()
    kinds = set()
    for seed in range(40):
        mixed, shares = mixing(images, targets, 5, seed)
        again, same = mixing(images, targets, 5, seed)
        assert torch.equal(mixed, again)
        assert torch.equal(shares, same)
        torch.testing.assert_close(shares.sum(1), torch.ones(5))
        torch.testing.assert_close(mixed.mean((1, 2, 3)), shares @ targets.float(), atol=1e-4, rtol=1e-4)
        values = len(mixed[1].unique())
        kinds.add("cut" if values == 2 else "whole" if shares.max(1).values.min() == 1 else "blend")
    assert kinds - {"whole"} == ({"blend"} if mixing.mixup else set()) | ({"cut"} if mixing.cutmix else set())
    assert "whole" in kinds or mixing.prob == 1


def test_a_mixed_split_depends_on_the_batch_alone(pixels):
    feed = Preprocessing((28, 28), (0.2861,), (0.3530,), "bilinear", 1.0)
    split = open_data("fashion-mnist", feed, FASHION).part("train", Augment())
    mixed = Mixed(split, Mixing(0.2, 1.0), 10)
    one, two, other = (mixed.__getitems__(Batch((1, 2, 3, 4), seed)) for seed in (1, 1, 2))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[0], other[0])
    assert one[0].is_contiguous(memory_format=torch.channels_last)


UNEVEN = np.repeat([0, 1, 2], [70, 23, 7])


def test_balanced_sampling_draws_every_class_equally_often():
    batches = Batches(100, 10, 0, 20, seed=3, balanced=UNEVEN)
    epochs = [[index for batch in list(batches)[start : start + 10] for index in batch.indices] for start in (0, 10)]
    for drawn in epochs:
        assert sorted(np.bincount(UNEVEN[drawn])) == [33, 33, 34]
        times = np.bincount(drawn, minlength=100)
        assert set(times[UNEVEN == 2]) <= {4, 5}  # 33 or 34 draws of 7 images
        assert set(times[UNEVEN == 1]) <= {1, 2}
        assert set(times[UNEVEN == 0]) <= {0, 1}
    assert epochs[0] != epochs[1]
    assert list(Batches(100, 10, 7, 20, seed=3, balanced=UNEVEN)) == list(batches)[7:]
    halves = [Batches(100, 10, 0, 20, 3, process, 2, UNEVEN) for process in range(2)]
    for batch, *parts in zip(batches, *halves, strict=True):
        assert sorted(batch.indices) == sorted(index for part in parts for index in part.indices)
    # Fewer images than classes, and a class without an image.
    assert len(balanced_order(np.array([0, 4]), np.random.default_rng(0))) == 2


def test_class_weights_give_every_class_the_same_part_of_the_loss():
    weights = class_weights(torch.from_numpy(UNEVEN), 4)
    counts = torch.tensor([70.0, 23.0, 7.0])
    torch.testing.assert_close(weights[:3] * counts, torch.full((3,), 100 / 3))
    assert weights[3] == 0
    torch.testing.assert_close(class_weights(torch.tensor([0, 1, 0, 1]), 2), torch.ones(2))
