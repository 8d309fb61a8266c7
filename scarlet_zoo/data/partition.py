"""Which training images are set aside for validation, and the digest by which a later verb knows the same choice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.errors import DatasetError
from scarlet_zoo.utils.reading import parse_json

VALIDATION_IMAGES = 5_000
_SPLIT_SEED = 0
_DIGITS = 32  # of a digest in hexadecimal


@dataclass(frozen=True, slots=True)
class Division:
    """How the training images of a data set were divided, short enough for a file's metadata.

    Attributes:
        train, validation: numbers of images that are trained on and that are set aside.
        images: digest of all these images: their names, classes and contents.
        digest: digest of which of them are set aside.
    """

    train: int
    validation: int
    images: str
    digest: str

    @classmethod
    def of(cls, train: Sequence[str], validation: Sequence[str]) -> Division:
        """The division into images that are trained on and that are set aside, each known by a line of text."""
        return cls(len(train), len(validation), _digest(sorted([*train, *validation])), _digest(sorted(validation)))

    def with_validation(self, other: Division) -> Division:
        """The division of images that are all trained on, with all of another data set for validation."""
        return Division(self.train, other.train, _digest([self.images, other.images]), other.images)

    def to_json(self) -> str:
        """One line of JSON; :meth:`from_json` reads it."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, source: str) -> Division:
        """Read the text of :meth:`to_json`.

        Args:
            text: the text.
            source: the file that holds it, for the error message.

        Raises:
            DatasetError: the text is none.
        """
        try:
            fields: dict[str, Any] = parse_json(text)
            return cls(int(fields["train"]), int(fields["validation"]), str(fields["images"]), str(fields["digest"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{source}: its split: got {text[:60]!r}, wanted what a training writes") from error


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]


def check_division(trained: Division, here: Division, source: str, data: str, held: int | None) -> None:
    """Check that images are divided as they were for a training, so that none is judged on which was trained on.

    Args:
        trained: the division of the training.
        here: the division of the images that are read now.
        source: the file that the training wrote, for messages.
        data: the data set, for messages.
        held: the number of validation images that was asked for; None for the usual number.

    Raises:
        DatasetError: the divisions differ; the message says what to do.
    """
    if here == trained:
        return
    counts = f"{trained.train:,} images to train on and {trained.validation:,} for validation"
    found = f"{here.train:,} and {here.validation:,}"
    if here.images != trained.images:
        raise DatasetError(
            f"{data}: its images are not those that {source} was trained with ({counts}, here {found}): some were "
            "added, removed, renamed or replaced, so it is not known which were trained on; wanted the same images, "
            "or a new training on these"
        )
    ask = f"--validation {trained.validation}" if held != trained.validation else "the rule of that training"
    raise DatasetError(
        f"{data}: got another split than {source} was trained with ({counts}, here {found}), so images that were "
        f"trained on would be counted; wanted {ask}"
    )


def split_indices(count: int, validation: int | None, name: str) -> dict[str, Any]:
    """Divide images into ``train`` and ``validation`` indices without regard to classes; always in the same way.

    Args:
        count: number of images in the training part.
        validation: number of validation images; when left out, a twelfth of the images, at most 5,000.
        name: name of the data set, for the error message.

    Raises:
        DatasetError: more validation images than the training part has, or none.
    """
    held = min(count // 12, VALIDATION_IMAGES) if validation is None else validation
    if not 0 < held < count:
        raise DatasetError(f"data {name}: got {held} validation images, wanted 1 to {count - 1}")
    order = np.random.default_rng(_SPLIT_SEED).permutation(count)
    return {"validation": np.sort(order[:held]), "train": np.sort(order[held:])}


def divided_indices(
    targets: NDArray[np.int64], validation: int | None, name: str, *, by_class: bool
) -> dict[str, NDArray[np.int64]]:
    """Divide images by :func:`stratified_indices`, or without regard to classes by :func:`split_indices`."""
    if by_class:
        return stratified_indices(targets, validation, name)
    return split_indices(len(targets), validation, name)


def stratified_indices(targets: NDArray[np.int64], validation: int | None, name: str) -> dict[str, NDArray[np.int64]]:
    """Divide images into ``train`` and ``validation`` indices, class by class; always in the same way.

    Each class gives its share of the validation images, and at least one while there are enough; of every class at
    least one image is trained on. So a class with one image has none for validation.

    Args:
        targets: class index of each image (N,).
        validation: number of validation images; when left out a twelfth, but one for each class of two images or more,
            and at most 5,000.
        name: name of the data set, for the error message.

    Raises:
        DatasetError: more validation images than can be set aside, or no class has two images.
    """
    counts = np.bincount(targets) if len(targets) else np.zeros(0, np.int64)
    most = int(np.maximum(counts - 1, 0).sum())
    usual = max(len(targets) // 12, int((counts > 1).sum()))
    held = min(usual, most, VALIDATION_IMAGES) if validation is None else validation
    if not most:
        raise DatasetError(f"data {name}: got no class with two images, wanted one to train on and one for validation")
    if not 0 < held <= most:
        raise DatasetError(f"data {name}: got {held} validation images, wanted 1 to {most}, since every class keeps "
                           "an image to train on")  # fmt: skip
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(targets))
    left = _quotas(counts, held)
    chosen = []
    for position in order:
        if left[targets[position]]:
            left[targets[position]] -= 1
            chosen.append(position)
    taken = np.sort(np.asarray(chosen, np.int64))
    return {"validation": taken, "train": np.setdiff1d(np.arange(len(targets)), taken)}


def _quotas(counts: NDArray[np.int64], held: int) -> NDArray[np.int64]:
    """How many validation images each class gives: in proportion to its images, by largest remainders."""
    limits = np.maximum(counts - 1, 0)
    able = limits > 0
    # One for each class that can give one, the largest classes first where there are too few.
    quotas = np.zeros_like(counts)
    quotas[np.argsort(-np.where(able, counts, 0), kind="stable")[: min(held, int(able.sum()))]] = 1
    ideal = counts * held / counts.sum()
    while (rest := held - int(quotas.sum())) > 0:
        wanted = np.where(quotas < limits, ideal - quotas, -np.inf)
        whole = np.minimum(np.floor(np.maximum(wanted, 0)), limits - quotas).astype(np.int64)
        if 0 < whole.sum() <= rest:
            quotas = quotas + whole
        else:
            quotas[int(np.argmax(wanted))] += 1
    return quotas
