"""Choose the search space of a training by its data, where the caller names none."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

import torch

from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.arch.usual_space import usual_space
from scarlet_zoo.data.divided import read_divided
from scarlet_zoo.data.folders import evenly
from scarlet_zoo.data.named_sets import is_named, read_named
from scarlet_zoo.data.plain_images import plain_preprocessing
from scarlet_zoo.errors import ScarletWarning
from scarlet_zoo.training.run import DataPlan

FASHION_MNIST = "fashion-mnist"
# Images that are looked at, spread over the training images.
_LOOKED_AT = 64
_SIDE = 64  # in pixels of a network that is not chosen yet, for which images must not be too narrow
_GREY = ("1", "L", "LA", "I", "F")
# Where the checkpoint of a supernet states its space, in front of the kind of skip.
_IDENTITY = "network"


@dataclass(frozen=True)
class Look:
    """What the images of a data set are like.

    Attributes:
        channels: 1 if all images that were looked at are stored in grey, else 3.
        side: median of their shorter sides, in pixels.
        images: number of training images.
    """

    channels: int
    side: int
    images: int

    def __str__(self) -> str:
        kind = "grey" if self.channels == 1 else "colour"
        return f"{self.images:,} {kind} images of about {self.side} pixels"


_FASHION = Look(1, 28, 55_000)


def space_of_data(plan: DataPlan, out: Path) -> SearchSpace:
    """Return the space that suits the data, and say which in one line; a run that has begun keeps its space.

    For Fashion-MNIST it is scarlet-mini, which needs no words: all documents use it so.

    Args:
        plan: the images.
        out: folder of the run.

    Raises:
        DatasetError: no such data.
    """
    begun = _begun_space(out / "checkpoint.pt")
    if begun is not None:
        return begun
    look = look_at(plan)
    space = get_space(usual_space(look.channels, look.side, look.images))
    if plan.name == FASHION_MNIST:
        return space
    kind = "grey" if space.in_chans == 1 else "colour"
    warnings.warn(
        f"data {plan.name}: {look}, so the search space is {space.name} ({space.input_size} x {space.input_size} "
        f"pixels, {kind}); --space NAME or FILE.toml takes another one",
        ScarletWarning,
        stacklevel=3,
    )
    return space


def look_at(plan: DataPlan) -> Look:
    """Look at some images of a data set; what is known of those of a folder was remembered when they were checked.

    Raises:
        DatasetError: no such data, or images that cannot be read and are not to be skipped.
    """
    if plan.name == FASHION_MNIST:
        return _FASHION
    count, shown = _images_of(plan)
    seen = [(min(size), mode) for size, mode in shown]
    grey = bool(seen) and all(mode.partition(";")[0] in _GREY for _, mode in seen)
    return Look(1 if grey else 3, median_low([side for side, _ in seen]) if seen else 224, count)


def number_of_images(plan: DataPlan) -> int:
    """Return the number of training images; of a data set by name, before any are set aside for validation.

    Raises:
        DatasetError: as for :func:`look_at`.
    """
    return (plan.images or _FASHION.images) if plan.name == FASHION_MNIST else _images_of(plan)[0]


def _images_of(plan: DataPlan) -> tuple[int, Iterator[tuple[tuple[int, int], str]]]:
    """The number of training images, and the size and mode of some of them."""
    if is_named(plan.name):
        found = read_named(plan.name, plan.folder, plain_preprocessing(plan.name, _SIDE))
        if not plan.skip_broken:
            found.tell_broken(skip=False)
        source, places = found.train, found.readable[0]
        opened = source.raw or source.open
        images = (opened(int(places[number])) for number in evenly(len(places), _LOOKED_AT))
        return plan.images or len(places), ((image.size, image.mode) for image in images)
    divided = read_divided(Path(plan.name), plan.validation, skip_broken=plan.skip_broken,
                           set_aside=plan.validation_data is None, by_class=plan.by_class)  # fmt: skip
    files = divided.parts.train.files
    facts = (divided.checked.facts[files[place]] for place in evenly(len(files), _LOOKED_AT))
    return plan.images or len(files), (((fact.width, fact.height), fact.mode) for fact in facts)


def _begun_space(checkpoint: Path) -> SearchSpace | None:
    """The space of a run that has begun, as its checkpoint states it; None where there is none or it cannot be read."""
    if not checkpoint.is_file():
        return None
    with suppress(Exception):  # a broken checkpoint is reported by the training that reads all of it
        stated = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["run"][_IDENTITY]
        # Without what the strategy has added, which it will add again.
        return SearchSpace.from_json(stated.rpartition(" ")[0]).chain
    return None
