"""A network that labels images: one value, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from scarlet_zoo.data.image_io import strict_decoders
from scarlet_zoo.data.labels import labels_of
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.inference.answers import (
    AnyImage,
    Array,
    Logits,
    Prediction,
    Progress,
    answers,
    check_images,
    guesses,
)

_BATCH = 8


@dataclass(frozen=True)
class Classifier:
    """A network that labels images, from :func:`scarlet_zoo.load`.

    Attributes:
        source: the name or the file that it came from.
        weights: where the weights come from.
        trained: whether its answers mean anything.
        preprocessing: what it wants to be fed.
        given_labels: class names that it brings along, not checked.
        classes: how many logits it gives.
        batch: the only batch size that it takes; any when None.
        run: images (N, C, H, W) and a batch size to logits (N, classes).
    """

    source: str
    weights: str
    trained: bool
    preprocessing: Preprocessing
    given_labels: Sequence[str] | None
    classes: int
    batch: int | None
    run: Callable[[Array, int], Logits]

    def logits(self, images: Array) -> Logits:
        """Logits (N, classes) of prepared images, float32 (N, C, H, W)."""
        return self.run(images, self.batch or len(images))

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Its class names, where they are known and the weights are trained."""
        return labels_of(self.given_labels, self.classes, self.source) if self.trained else None

    def predict(
        self, images: AnyImage | Sequence[AnyImage], top: int = 5, progress: Progress | None = None
    ) -> list[Prediction]:
        """What the network sees in each image; every file is read to its end before anything is computed.

        Args:
            images: one or several; paths of files of any kind that :mod:`scarlet_zoo.data.image_io` opens, images of
                Pillow's, or uint8 arrays (H, W, 3), or (H, W) in grey.
            top: how many classes to name.
            progress: called with (done, expected).

        Raises:
            ImageError: a file that is no sound image, or an array of another kind.
        """
        single = isinstance(images, (str, Path, Image.Image, np.ndarray))
        given = cast(list[AnyImage], [images] if single else list(images))  # type: ignore[arg-type]
        labels = self.labels
        with strict_decoders():
            check_images(given)
            predictions: list[Prediction] = []
            for image, logits in answers(self, given, batch=_BATCH):
                file = Path(image) if isinstance(image, (str, Path)) else None
                predictions.append(Prediction(file, guesses(logits, labels, top)))
                if progress is not None:
                    progress(len(predictions), len(given))
        return predictions
