"""Weights cards: what is true of a set of weights, wherever the weights themselves are.

A card is a TOML file under ``weights/cards`` (inside the wheel: ``scarlet_zoo/_weights/cards``),
named ``<network>.<tag>.toml``, with exactly the fields below.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.files import shipped_folder
from scarlet_zoo.utils.schema import first_fault

WEIGHTS_FOLDER = shipped_folder("weights")


T = TypeVar("T")
# A list in TOML.
Row = Annotated[tuple[T, ...], Field(strict=False)]


class CardError(ScarletError):
    """A weights card that is not as cards are."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Published(_Strict):
    """Accuracy as somebody published it, in percent."""

    top1_percent: float
    top5_percent: float
    source: str


class CardPreprocessing(_Strict):
    """How images are fed: the shorter side resized, the centre cropped, in pixels; mean and std of [0, 1]."""

    resize: int
    crop: int
    interpolation: str
    mean: Row[float]
    std: Row[float]


class Measured(_Strict):
    """Accuracy that we measured, in percent, and how the weights were made.

    Attributes:
        validation_top1_percent: on the images that every choice was made on.
        test_top1_percent: on the test images, which were read once, at the end, on ``test_date``.
        commands: what was typed, in order.
        seed: of the training.
        hardware: what it ran on.
        minutes: how long the training took.
    """

    validation_top1_percent: float
    test_top1_percent: float
    test_images: int
    test_date: str
    commands: Row[str]
    seed: int
    hardware: str
    minutes: float


class WeightsCard(_Strict):
    """A set of weights.

    Attributes:
        name, tag: together the name that timm uses, ``name.tag``.
        arch: identity string of the network.
        dataset: what it was trained on.
        source: who has the weights, and where.
        licence: of the weights, ``none stated`` if so.
        redistributed: whether this project ships them.
        how_to_get: one sentence for a person without them.
        sha256: of the weights file, where it is known.
        published: accuracy that others published; never measured by us.
        measured: accuracy that we measured, for weights that we trained.
        labels: names of the classes in the order of the logits.
        preprocessing: what the network was trained to be fed.
    """

    name: str
    tag: str
    arch: str
    dataset: str
    num_classes: int
    source: str
    licence: str
    redistributed: bool
    how_to_get: str
    sha256: str | None = None
    published: Published | None = None
    measured: Measured | None = None
    labels: Row[str] | None = None
    preprocessing: CardPreprocessing | None = None


def read_card(path: Path) -> WeightsCard:
    """Read a card, strictly: every field known, none missing, each of its kind, the file named after it.

    What was published of a network of the zoo stands in the zoo, so the card of its authors' weights has no
    ``[published]`` and is given it here.

    Raises:
        CardError: what is wrong in which file.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CardError(f"{path}: not a weights card: {str(error).splitlines()[0]}") from error
    try:
        card = WeightsCard.model_validate(content)
    except ValidationError as error:
        raise CardError(f"{path}: {first_fault(error, WeightsCard.model_fields)}") from error
    if path.name != f"{card.name}.{card.tag}.toml":
        raise CardError(f"{path}: got the card of {card.name}.{card.tag}, wanted a file of that name")
    Arch.parse(card.arch)
    return card.model_copy(update={"published": card.published or _published_of(card)})


def _published_of(card: WeightsCard) -> Published | None:
    """What the zoo has of the authors' weights; of other weights of the same network it says nothing."""
    entry = ZOO.get(card.name)
    if entry is None or entry.published is None or entry.authors_tag != card.tag:
        return None
    figures = entry.published
    return Published(top1_percent=figures.top1_percent, top5_percent=figures.top5_percent, source=figures.source)


@cache
def all_cards() -> Mapping[str, WeightsCard]:
    """Every card of this project by ``name.tag``, in order of name.

    Raises:
        CardError: a card that is not as cards are.
    """
    cards = [read_card(path) for path in sorted((WEIGHTS_FOLDER / "cards").glob("*.toml"))]
    return MappingProxyType({f"{card.name}.{card.tag}": card for card in cards})


def cards_of(name: str) -> list[WeightsCard]:
    """The cards of one network."""
    return [card for card in all_cards().values() if card.name == name]
