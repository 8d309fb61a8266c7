"""Weights cards: what is true of a set of weights, wherever the weights themselves are.

A card is a TOML file under ``weights/cards`` (inside the wheel: ``scarlet_zoo/_weights/cards``),
named ``<network>.<tag>.toml``, with exactly the fields below.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.files import shipped_folder

WEIGHTS_FOLDER = shipped_folder("weights")


class CardError(ScarletError):
    """A weights card that is not as cards are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Accuracy as somebody published it, in percent."""

    top1_percent: float
    top5_percent: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPreprocessing:
    """How pictures are fed: the shorter side resized, the centre cropped, in pixels; mean and std of [0, 1]."""

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Accuracy that we measured, in percent, and how the weights were made.

    Attributes:
        validation_top1_percent: on the pictures that every choice was made on.
        test_top1_percent: on the test pictures, which were read once, at the end, on ``test_date``.
        commands: what was typed, in order.
        seed: of the training.
        hardware: what it ran on.
        minutes: how long the training took.
    """

    validation_top1_percent: float
    test_top1_percent: float
    test_images: int
    test_date: str
    commands: tuple[str, ...]
    seed: int
    hardware: str
    minutes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsCard:
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
    labels: tuple[str, ...] | None = None
    preprocessing: CardPreprocessing | None = None


def read_card(path: Path) -> WeightsCard:
    """Read a card, strictly: every field known, none missing, each of its kind, the file named after it.

    Raises:
        CardError: what is wrong in which file.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CardError(f"{path}: not a weights card: {str(error).splitlines()[0]}") from error
    for key, kind in (("published", Published), ("measured", Measured), ("preprocessing", CardPreprocessing)):
        if key in content:
            content[key] = _strictly(kind, content[key], f"{path}, [{key}]")
    card: WeightsCard = _strictly(WeightsCard, content, str(path))
    if path.name != f"{card.name}.{card.tag}.toml":
        raise CardError(f"{path}: got the card of {card.name}.{card.tag}, wanted a file of that name")
    Arch.parse(card.arch)
    return card


def _strictly(kind: type[Any], content: Any, where: str) -> Any:
    if not isinstance(content, Mapping):
        raise CardError(f"{where}: got {content!r}, wanted a table")
    known = {field.name: field for field in fields(kind)}
    unknown = sorted(set(content) - set(known))
    missing = [name for name, field in known.items() if field.default is MISSING and name not in content]
    if unknown or missing:
        raise CardError(f"{where}: unknown fields {unknown}, missing fields {missing}, wanted {sorted(known)}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
    for key, value in values.items():
        wanted = str(known[key].type)
        if not _is_of(value, wanted):
            raise CardError(f"{where}: {key} is {value!r}, wanted {wanted}")
    return kind(**values)


def _is_of(value: Any, wanted: str) -> bool:
    kind = wanted.removesuffix(" | None")
    if kind.startswith("tuple"):
        item_kind = str if "str" in kind else (int, float)
        return isinstance(value, tuple) and all(isinstance(item, item_kind) for item in value)
    plain = {"str": str, "int": int, "bool": bool, "float": (int, float)}
    if kind not in plain:
        return True
    return isinstance(value, plain[kind]) and isinstance(value, bool) == (kind == "bool")  # type: ignore[arg-type]


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
