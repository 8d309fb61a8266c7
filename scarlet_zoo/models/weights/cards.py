"""Weights cards: descriptions of sets of weights, whether or not the weights are on this machine.

A card is a TOML file in ``weights/cards`` (inside the wheel: ``scarlet_zoo/_weights/cards``),
named ``<network>.<tag>.toml``, with exactly the fields below.
"""

from __future__ import annotations

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
from scarlet_zoo.utils.reading import bounded_text, parse_toml
from scarlet_zoo.utils.schema import first_fault
from scarlet_zoo.utils.schema_versions import SCHEMAS, refuse_newer

WEIGHTS_FOLDER = shipped_folder("weights")
# What stands in place of a card's name for weights that nobody has trained.
RANDOM_WEIGHTS = "random (structure and latency only)"


T = TypeVar("T")
# The type of a TOML list.
Row = Annotated[tuple[T, ...], Field(strict=False)]


class CardError(ScarletError):
    """A weights card that cannot be read or has invalid fields."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Published(_Strict):
    """Published accuracy, in percent, and its source."""

    top1_percent: float
    top5_percent: float
    source: str


class CardPreprocessing(_Strict):
    """The preprocessing of images.

    Attributes:
        resize: length of the resized shorter side, in pixels.
        crop: side of the central crop, in pixels.
        interpolation: Pillow's filter for resizing, such as ``bilinear``.
        mean, std: mean and deviation of each channel, for values in [0, 1].
    """

    resize: int
    crop: int
    interpolation: str
    mean: Row[float]
    std: Row[float]


class Measured(_Strict):
    """Accuracy that we measured, in percent, and the training of the weights.

    Attributes:
        validation_top1_percent: accuracy on the validation images, on which every choice was made.
        test_top1_percent: accuracy on the test images, which were read once, at the end, on ``test_date``.
        test_images: number of test images.
        test_date: day on which the test images were read.
        commands: the commands that trained the weights, in order.
        seed: seed of the training.
        hardware: hardware of the training.
        minutes: duration of the training.
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
    """The description of a set of weights.

    Attributes:
        name, tag: name of the network and of this set of weights; timm's name is ``name.tag``.
        arch: identity string of the network.
        dataset: data set of the training.
        num_classes: number of classes.
        source: who provides the weights, and where.
        licence: licence of the weights, or ``none stated``.
        redistributed: whether this project ships the weights.
        how_to_get: one sentence on how to get the weights.
        sha256: digest of the weights file, if known.
        published: accuracy that others published; never measured by us.
        measured: accuracy that we measured, for weights that we trained.
        labels: class names in the order of the logits.
        preprocessing: the preprocessing of the training images.
        schema_version: version of these fields.
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
    schema_version: int = SCHEMAS["weights card"]


def read_card(path: Path) -> WeightsCard:
    """Read a weights card; unknown, missing and invalid fields and a wrong file name are errors.

    The zoo holds the figures that a network's authors published, so the card of the authors' weights has no
    ``[published]`` table; this function fills it in.

    Raises:
        CardError: the card is invalid; the message names the file and the fault.
        ArchError: the card's identity string is invalid.
    """
    try:
        content = parse_toml(bounded_text(path))
    except (OSError, ValueError) as error:
        raise CardError(f"{path}: not a weights card: {str(error).splitlines()[0]}") from error
    refuse_newer("weights card", content, path, CardError)
    try:
        card = WeightsCard.model_validate(content)
    except ValidationError as error:
        raise CardError(f"{path}: {first_fault(error, WeightsCard.model_fields)}") from error
    if path.name != f"{card.name}.{card.tag}.toml":
        raise CardError(f"{path}: got the card of {card.name}.{card.tag}, wanted file {card.name}.{card.tag}.toml")
    Arch.parse(card.arch)
    return card.model_copy(update={"published": card.published or _published_of(card)})


def _published_of(card: WeightsCard) -> Published | None:
    """Return the zoo's published figures for the authors' weights; None for other weights of the same network."""
    entry = ZOO.get(card.name)
    if entry is None or entry.published is None or entry.authors_tag != card.tag:
        return None
    figures = entry.published
    return Published(top1_percent=figures.top1_percent, top5_percent=figures.top5_percent, source=figures.source)


@cache
def all_cards() -> Mapping[str, WeightsCard]:
    """Return all cards of this project by ``name.tag``, sorted by name.

    Raises:
        CardError: a card is invalid.
    """
    cards = [read_card(path) for path in sorted((WEIGHTS_FOLDER / "cards").glob("*.toml"))]
    return MappingProxyType({f"{card.name}.{card.tag}": card for card in cards})


def cards_of(name: str) -> list[WeightsCard]:
    """Return the cards of one network."""
    return [card for card in all_cards().values() if card.name == name]
