"""Augmentation policies of timm and torchvision, applied to each image of a batch as a function of a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scarlet_zoo.errors import TrainingError

Change = Callable[[Image.Image], Image.Image]
TRIVIAL = "trivial"
RANDAUGMENT = "rand-m9-mstd0.5-inc1"
_GREY = (128, 128, 128)  # of the corners that a turned or moved image leaves


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global random numbers of Python, numpy and torch, and give them back as they were.

    The libraries' augmentations draw from these, and an image must depend on the seed and the step alone.
    """
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def altered(pixels: Tensor, auto: str, color_jitter: float, seed: int) -> Tensor:
    """Change the images of a batch, uint8 (N, C, H, W), each with its own random values.

    Args:
        pixels: the images; those of one channel are changed as grey images of three.
        auto: ``trivial``, or a policy of timm, see :func:`policy`; empty for none.
        color_jitter: strength of the changes of brightness, contrast and saturation; 0 for none.
        seed: seed of all random values.

    Raises:
        TrainingError: there is no such policy.
    """
    changes = [policy(auto, min(pixels.shape[2:]))] if auto else []
    changes += [_colour_jitter(color_jitter)] if color_jitter else []
    grey = pixels.shape[1] == 1
    made = []
    with seeded(seed):
        for values in pixels.permute(0, 2, 3, 1).numpy():
            image = Image.fromarray(values[..., 0]).convert("RGB") if grey else Image.fromarray(values)
            for change in changes:
                image = change(image)
            made.append(np.asarray(image.convert("L"))[..., None] if grey else np.asarray(image))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2)


@lru_cache(maxsize=8)
def policy(auto: str, side: int) -> Change:
    """Return the change of an image by a policy.

    Args:
        auto: ``trivial`` for TrivialAugment (arXiv 2103.10158, torchvision's ``TrivialAugmentWide``); else what timm's
            ``--aa`` takes: ``rand-m9-mstd0.5-inc1`` (RandAugment, arXiv 1909.13719), ``original`` or ``v0``
            (AutoAugment, arXiv 1805.09501), ``augmix-m3-w3`` (AugMix, arXiv 1912.02781), ``3a`` (arXiv 2204.07118).
        side: the shorter side of the images in pixels, which limits how far they are moved.

    Raises:
        TrainingError: there is no such policy.
    """
    if auto == TRIVIAL:
        from torchvision.transforms.v2 import TrivialAugmentWide

        trivial: Change = TrivialAugmentWide(fill=list(_GREY))
        return trivial
    from timm.data import auto_augment as timms

    makers = {"rand": timms.rand_augment_transform, "augmix": timms.augment_and_mix_transform}
    make: Any = makers.get(auto.split("-")[0], timms.auto_augment_transform)
    # As timm's create_transform does.
    moved = {"translate_pct": 0.3} if "augmix" in auto else {"translate_const": int(side * 0.45)}
    try:
        change: Change = make(auto, {"img_mean": _GREY, **moved})
        _keep_a_bit(change)
        with seeded(0):
            change(Image.new("RGB", (8, 8)))
    except Exception as error:  # timm asserts, and raises what float() and its tables do
        wanted = f"wanted {TRIVIAL} or a policy of timm such as {RANDAUGMENT}, original, augmix-m3-w3 or 3a"
        raise TrainingError(f"augmentation: got auto={auto}, {wanted}") from error
    return change


def _keep_a_bit(change: Any) -> None:
    """Let a policy of timm posterize to one bit where it would to none.

    The strongest posterizing of timm keeps 0 bits of a colour, which made black images with Pillow up to 11 and is an
    error since.
    """
    from timm.data.auto_augment import posterize

    def posterize_to_a_bit(image: Image.Image, bits: int, **rest: Any) -> Image.Image:
        kept: Image.Image = posterize(image, max(bits, 1), **rest)
        return kept

    nested = change.policy if hasattr(change, "policy") else [change.ops]
    for step in (step for steps in nested for step in steps):
        if step.aug_fn is posterize:
            step.aug_fn = posterize_to_a_bit


@lru_cache(maxsize=8)
def _colour_jitter(strength: float) -> Change:
    from torchvision.transforms.v2 import ColorJitter

    change: Change = ColorJitter(strength, strength, strength)
    return change
