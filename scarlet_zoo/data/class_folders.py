"""Which logit each class folder is for, by the folder's name."""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scarlet_zoo.data.labels import IMAGENET_CLASSES, imagenet_labels, wordnet_ids
from scarlet_zoo.errors import DatasetError, ScarletWarning
from scarlet_zoo.utils.reading import whole_number

AUTO, LABEL, INDEX, WORDNET, BOTH, SORTED = "auto", "label", "index", "wordnet", "index-wordnet", "sorted"
# What names of a rule look like, for messages.
_FORMS = {LABEL: "a label of the network", INDEX: "its index", WORDNET: "a WordNet id (n01440764)",
          BOTH: "both (0_n01440764)"}  # fmt: skip
RULES = (*_FORMS, SORTED)
# A function of a folder's name that gives the classes that it may stand for, none if it is not of a rule's form.
_Rule = Callable[[str], frozenset[int]]
_NONE: frozenset[int] = frozenset()
_NAMED = 5  # labels that a message names
_WORDNET_ID = r"n\d{8}"


@dataclass(frozen=True)
class Logits:
    """The logits of a network, which class folders are matched to.

    Attributes:
        source: the network's name or file, for messages.
        classes: number of logits.
        labels: class names in the order of the logits; None if the network has none of its own.
    """

    source: str
    classes: int
    labels: Sequence[str] | None = None

    @property
    def states_labels(self) -> bool:
        """Whether the network has class names of its own, other than ImageNet's, which are assumed for 1000 classes."""
        return self.labels is not None and (self.classes != IMAGENET_CLASSES or tuple(self.labels) != imagenet_labels())


@dataclass(frozen=True)
class Matched:
    """The logits of class folders.

    Attributes:
        rule: how the names were read: ``label``, ``index``, ``wordnet``, ``index-wordnet``, or ``sorted`` for names
            that were numbered in their order.
        index: the logit of each folder's name.
    """

    rule: str
    index: Mapping[str, int]


def match_folders(folder: Path | str, names: Sequence[str], used: Sequence[str], logits: Logits, rule: str = AUTO, *,
                  offer_sorted: bool = True) -> Matched:  # fmt: skip
    """Find the logit of each class folder.

    All names are read by one rule, the first that fits all of them: a label of the network; an index (``7``,
    ``007``); a WordNet id (``n01440764``, also with words behind it); or index and WordNet id joined by ``_``, in
    either order. Labels are compared exactly; if that does not fit, without regard to case and to characters other than
    letters and digits; and at last by one of several names that a label gives (``tench`` of ``tench, Tinca tinca``). If
    the network states no labels, no name fits by any rule and there are as many folders as logits, the folders are
    numbered in the order of their names.

    Args:
        folder: the folder of the class folders, or the name of the data set, for messages.
        names: names of all class folders or classes, in their order.
        used: names of those that hold images.
        logits: the network's logits.
        rule: one of :data:`RULES`, to read the names by this one only; ``auto`` tries them.
        offer_sorted: whether an error offers the rule ``sorted``, which only some verbs take.

    Raises:
        DatasetError: a name fits no class, or more than one; or two folders are for one class.
    """
    if rule not in (AUTO, *RULES):
        raise DatasetError(f"class folders: got {rule!r}, wanted one of {' '.join((AUTO, *RULES))}")
    found: dict[str, dict[str, frozenset[int]]] = {}
    for key, read in _readers(logits):
        if rule in (AUTO, key):
            found[key] = {name: read(name) for name in used}
            if all(found[key].values()):
                index = _one_each(folder, found[key], logits)
                if key == INDEX and len(names) == logits.classes and list(index.values()) != sorted(index.values()):
                    _warn_of_other_order(folder)
                return Matched(key, index)
    if rule == LABEL and not found:
        raise DatasetError(f"{folder}: {logits.source} has no labels to compare with the {len(names)} class folders")
    # Digits alone prove nothing: of the folders 1 to 10 of ten classes all but one are an index.
    proven = any(any(fits.values()) for key, fits in found.items() if key != INDEX)
    # Their order says nothing where the network knows its classes: a folder that was renamed would shift all others.
    guessed = rule == AUTO and not proven and not logits.states_labels
    if (rule == SORTED or guessed) and len(names) == logits.classes:
        return Matched(SORTED, {name: position for position, name in enumerate(names)})
    raise DatasetError(_misfit(folder, len(names), found, logits, offer_sorted=offer_sorted))


def _by_index(logits: Logits) -> _Rule:
    def read(name: str) -> frozenset[int]:
        number = whole_number(name) if re.fullmatch("[0-9]+", name) else None
        return frozenset({number}) if number is not None and number < logits.classes else _NONE

    return read


def _by_wordnet_id(logits: Logits) -> _Rule:
    def read(name: str) -> frozenset[int]:
        found = re.fullmatch(rf"({_WORDNET_ID})(?:[-_ .,]+\D.*)?", name)
        return frozenset({place}) if found and (place := _places(logits.classes).get(found[1])) is not None else _NONE

    return read


def _by_both(logits: Logits) -> _Rule:
    by_index, by_id = _by_index(logits), _by_wordnet_id(logits)

    def read(name: str) -> frozenset[int]:
        found = re.fullmatch(rf"([0-9]+)_({_WORDNET_ID})|({_WORDNET_ID})_([0-9]+)", name)
        if found is None:
            return _NONE
        index, wordnet_id = by_index(found[1] or found[4]), found[2] or found[3]
        # Classes that are not ImageNet's have no WordNet ids to compare with.
        return index & by_id(wordnet_id) if _places(logits.classes) else index

    return read


@cache
def _places(classes: int) -> Mapping[str, int]:
    """The logit of each WordNet id; empty if the classes are not ImageNet's."""
    return {name: place for place, name in enumerate(wordnet_ids(classes) or ())}


def _readers(logits: Logits) -> Iterator[tuple[str, _Rule]]:
    """The rules in the order in which they are tried; what loads timm, and so torch, comes last."""
    if logits.labels is not None and len(logits.labels) == logits.classes:
        yield LABEL, _by_label(logits.labels)
    yield INDEX, _by_index(logits)
    yield WORDNET, _by_wordnet_id(logits)
    yield BOTH, _by_both(logits)
    if logits.labels is None and logits.classes == IMAGENET_CLASSES:
        yield LABEL, _by_label(imagenet_labels())


def _by_label(labels: Sequence[str]) -> _Rule:
    """Read a name as a label, in the strictest way in which any label is found."""
    ways: list[dict[str, set[int]]] = [defaultdict(set) for _ in range(3)]
    for index, label in enumerate(labels):
        ways[0][label].add(index)
        ways[1][_words(label)].add(index)
        for part in label.split(","):
            ways[2][_words(part)].add(index)

    def read(name: str) -> frozenset[int]:
        spelled = (name, _words(name), _words(name))
        return next((frozenset(way[text]) for way, text in zip(ways, spelled, strict=True) if text in way), _NONE)

    return read


def _words(text: str) -> str:
    """Letters and digits in lower case, everything else as single spaces: a folder's name can hold no ``/``."""
    return " ".join(re.split(r"[\W_]+", text.casefold())).strip()


def _one_each(folder: Path | str, fits: Mapping[str, frozenset[int]], logits: Logits) -> dict[str, int]:
    """The one class of each name.

    Raises:
        DatasetError: a name has several, or a class has several names.
    """
    for name, classes in fits.items():
        if len(classes) > 1:
            several = " and ".join(map(str, sorted(classes)))
            raise DatasetError(
                f"{folder}: class folder {name!r} is ambiguous, it fits the classes {several} of {logits.source}, "
                "wanted their index as the folder's name"
            )
    index = {name: next(iter(classes)) for name, classes in fits.items()}
    for number, count in Counter(index.values()).items():
        if count > 1:
            same = " and ".join(repr(name) for name in index if index[name] == number)
            raise DatasetError(f"{folder}: class folders {same} are both for class {number}, wanted one folder a class")
    return index


def _warn_of_other_order(folder: Path | str) -> None:
    warnings.warn(
        f"{folder}: class folders are taken by index; a network that was trained on folders in the order of their "
        "names (10 before 2, as torchvision's ImageFolder numbers them) needs --class-folders sorted",
        ScarletWarning,
        stacklevel=4,
    )


def _misfit(folder: Path | str, count: int, found: Mapping[str, Mapping[str, frozenset[int]]], logits: Logits, *,
            offer_sorted: bool) -> str:  # fmt: skip
    """The message about a name that fits no class, or about the number of folders."""
    noun, one = ("class folders", "folder") if isinstance(folder, Path) else ("classes", "class")
    several = f"{folder}: got {count} {noun}, but {logits.source} gives {logits.classes} logits"
    if not found:
        return f"{several}, wanted the same number of both"
    closest = max(found, key=lambda key: sum(map(bool, found[key].values())))
    name = next(name for name, classes in found[closest].items() if not classes)
    forms = [_FORMS[key] for key in found] + ["--class-folders sorted"] * (offer_sorted and count == logits.classes)
    known = f" ({', '.join(logits.labels[:_NAMED])}{' ...' * (len(logits.labels) > _NAMED)})" if logits.labels else ""
    forms = [form + known * (form == _FORMS[LABEL]) for form in forms]
    return f"{several}, and {one} {name!r} fits no class, wanted {' or '.join(forms)}"
