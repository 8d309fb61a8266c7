"""A network's answer to image files: the same from a torch model and from an ONNX file."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.data.image_io import check_picture_path, open_picture, prepare_picture, strict_decoders
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.inference.classifier import Array, Classifier, Logits, Progress

_THREADS = 2
_BATCH = 8


@dataclass(frozen=True, slots=True)
class Guess:
    """One of the classes that a network names, with its softmax probability."""

    index: int
    label: str | None
    score: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a network sees in one picture, the likeliest first."""

    file: Path
    guesses: tuple[Guess, ...]


def predict(
    classifier: Classifier, files: Sequence[Path], top: int = 5, progress: Progress | None = None
) -> list[Prediction]:
    """What a network sees in each picture; every file is read to its end before anything is computed.

    Args:
        classifier: from :func:`open_classifier`.
        files: pictures of any kind that :mod:`scarlet_zoo.data.image_io` opens.
        top: how many classes to name.
        progress: told (done, expected).

    Raises:
        PictureError: a file that is no sound picture.
    """
    labels = classifier.labels
    with strict_decoders():
        check_pictures(files)
        made = []
        for file, logits in answers(classifier, files, batch=_BATCH):
            made.append(Prediction(file, _guesses(logits, labels, top)))
            if progress is not None:
                progress(len(made), len(files))
    return made


def check_pictures(files: Sequence[Path]) -> None:
    """Read every file to its end and keep nothing: all of them prepared may be more than memory holds.

    Raises:
        PictureError: the first that is no sound picture.
    """
    for file in files:
        check_picture_path(file)
    for file in files:
        open_picture(file)


def answers(
    classifier: Classifier, files: Sequence[Path], *, batch: int, upright: bool = True
) -> Iterator[tuple[Path, Logits]]:
    """Each file with its logits (classes), in order; pictures are prepared while the network runs."""

    def prepare(file: Path) -> Array:
        return prepare_picture(file, classifier.preprocessing, upright=upright)

    waiting: deque[Future[Array]] = deque()
    rest = iter(files)
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for start in range(0, len(files), batch):
                # This batch and the next one.
                while len(waiting) < 2 * batch and (file := next(rest, None)) is not None:
                    waiting.append(pool.submit(prepare, file))
                part = files[start : start + batch]
                images = np.stack([waiting.popleft().result() for _ in part])
                yield from _finite(classifier, part, classifier.logits(images))
        finally:
            # After a broken file nobody waits for those behind it.
            pool.shutdown(wait=True, cancel_futures=True)


def _finite(classifier: Classifier, files: Sequence[Path], logits: Logits) -> Iterator[tuple[Path, Logits]]:
    for file, row in zip(files, logits, strict=True):
        if not np.isfinite(row).all():
            raise ScarletError(f"{file}: {classifier.source} gives logits that are not finite numbers")
        yield file, row


def likeliest(logits: Logits, top: int) -> NDArray[np.intp]:
    """Indices of the largest logits, the largest first; equal ones in their order."""
    return np.argsort(-logits, kind="stable")[:top]


def _guesses(logits: Logits, labels: Sequence[str] | None, top: int) -> tuple[Guess, ...]:
    powers = np.exp(logits - logits.max())
    scores = powers / powers.sum()
    return tuple(
        Guess(int(index), None if labels is None else labels[index], float(scores[index]))
        for index in likeliest(logits, top)
    )
