"""Augmentation by name: recipes, single settings, and the one that suits the size of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.auto_augment import RANDAUGMENT, TRIVIAL, policy
from scarlet_zoo.errors import TrainingError

USUAL = "usual"
# Input sizes up to this are those of small images: CIFAR-10 (32), Tiny ImageNet (64).
_SMALL_SIDE = 64
# Named recipes: those of a first kind are whole, those of the second add to the one that they stand beside.
_WHOLE = {
    USUAL: "small or photo, by the input size",
    "none": "no augmentation",
    "small": "shift by up to an eighth of the side, flip",
    "photo": "random resized crop of at least 35 % of the area, flip",
    "inception": "random resized crop of at least 8 % of the area, flip, color-jitter 0.4",
}
_ADDED: Mapping[str, Mapping[str, Any]] = {
    "randaugment": {"auto": RANDAUGMENT},
    "trivialaugment": {"auto": TRIVIAL},
    "autoaugment": {"auto": "original"},
}
_FIELDS = {"shift": "shift_px", "color-jitter": "color_jitter"}
_NAMES = {field: name for name, field in _FIELDS.items()}
Share = Annotated[float, Field(ge=0, le=1)]


class _Settings(BaseModel):
    """The settings that may be given as text, and their limits."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    shift_px: Annotated[int, Field(ge=0)] = 0
    flip: bool = True
    vflip: bool = False
    erase: Share = 0.0
    crop: Annotated[float, Field(ge=0.01, le=1)] = 1.0
    jitter: Share = 0.0
    color_jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    auto: str = ""


@dataclass(frozen=True)
class AugmentPlan:
    """An augmentation that is asked for before the size of the images is known.

    Attributes:
        recipe: ``usual``, ``none``, ``small``, ``photo`` or ``inception``.
        changes: fields of :class:`Augment` that replace the recipe's.
    """

    recipe: str = USUAL
    changes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def for_data(self, name: str, size: tuple[int, int]) -> Augment | None:
        """Return the augmentation of a data set's images.

        Args:
            name: the data set's name.
            size: (height, width) of the network's input in pixels.
        """
        if self.recipe == "none":
            return None
        return replace(_recipe(self.recipe, name, min(size)), **self.changes)


def usual_augment(name: str, size: tuple[int, int] = (224, 224)) -> Augment:
    """Return the default augmentation of a data set.

    Small images are shifted by up to an eighth of their side, as is usual for CIFAR-10, and mirrored. Photographs are
    mirrored, and a crop of at least 35 % of the area is stretched to the whole (the random resized crop of Inception,
    arXiv 1409.4842). 35 % is ours: the usual 8 % suits networks and data sets larger than a person's own. Fashion-MNIST
    is shifted by one pixel.

    Args:
        name: name of the data set, as for :func:`scarlet_zoo.data.datasets.open_data`.
        size: (height, width) of the network's input in pixels; up to 64 they are small images.
    """
    return _recipe(USUAL, name, min(size))


def former_augment(name: str) -> Augment:
    """Return the default augmentation that earlier versions trained with, for runs that they began."""
    return Augment() if name == "fashion-mnist" else Augment(shift_px=0, crop=0.08)


def _recipe(recipe: str, name: str, side: int) -> Augment:
    if recipe == USUAL and name == "fashion-mnist":
        return Augment()
    if recipe == "small" or (recipe == USUAL and side <= _SMALL_SIDE):
        return Augment(shift_px=max(side // 8, 1))
    if recipe == "inception":
        return Augment(shift_px=0, crop=0.08, color_jitter=0.4)
    return Augment(shift_px=0, crop=0.35)


def augment_plan(texts: Sequence[str], **given: float | None) -> AugmentPlan:
    """Read an augmentation from text: recipes by name, and settings as NAME=VALUE, separated by commas.

    Args:
        texts: such as ``randaugment`` or ``photo,crop=0.2,color-jitter=0.4``.
        given: settings that have an option of their own; None where it was left out.

    Raises:
        TrainingError: an unknown name, a value outside its limits, or a setting that is given twice.
    """
    recipes: list[str] = []
    changes: dict[str, Any] = {}

    def take(values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if name in changes:
                raise TrainingError(f"augmentation: got {_NAMES.get(name, name)} twice, wanted it once")
            changes[name] = value

    for word in (word.strip() for text in texts for word in text.split(",")):
        name, mark, value = word.partition("=")
        if mark:
            take({_field_of(name): value})
        elif word in _ADDED:
            take(_ADDED[word])
        elif word in _WHOLE:
            recipes.append(word)
        else:
            raise TrainingError(f"augmentation: got {word!r}, wanted one of {_names()}, or NAME=VALUE with a name of "
                                f"{' '.join(map(_shown, _Settings.model_fields))}")  # fmt: skip
    take({name: value for name, value in given.items() if value is not None})
    if len(recipes) > 1:
        raise TrainingError(f"augmentation: got {' and '.join(recipes)}, wanted one of {' '.join(_WHOLE)}")
    recipe = recipes[0] if recipes else USUAL
    if recipe == "none" and changes:
        raise TrainingError(f"augmentation: got none and {' '.join(map(_shown, changes))}, wanted one or the other")
    return AugmentPlan(recipe, _checked(changes))


def _names() -> str:
    return " ".join((*_WHOLE, *_ADDED))


def _shown(name: str) -> str:
    return _NAMES.get(name, name)


def _field_of(name: str) -> str:
    found = _FIELDS.get(name, name)
    if found not in _Settings.model_fields:
        raise TrainingError(
            f"augmentation: got the setting {name!r}, wanted one of {' '.join(map(_shown, _Settings.model_fields))}"
        )
    return found


def _checked(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        read = _Settings.model_validate(changes).model_dump(include=set(changes))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        wanted = first["msg"].removeprefix("Input should be ")
        raise TrainingError(f"augmentation: got {_shown(name)}={changes[name]}, wanted {wanted}") from error
    if read.get("auto"):
        policy(read["auto"], 32)
    return read
