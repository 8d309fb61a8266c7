"""The Classifier, a network that labels images, on any runtime."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from scarlet_zoo.data.image_io import strict_decoders
from scarlet_zoo.data.labels import labels_of
from scarlet_zoo.data.pixel_kinds import turned_grey_line
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ScarletWarning
from scarlet_zoo.inference.answers import (
    AnyImage,
    Array,
    Logits,
    Prediction,
    Progress,
    answers,
    check_images,
    guesses,
    image_shows_colour,
)

_BATCH = 8


@dataclass(frozen=True)
class Classifier:
    """A network that labels images, from :func:`scarlet_zoo.load`.

    Attributes:
        source: the name or file that it was loaded from.
        weights: where the weights come from.
        trained: whether the weights are trained; if not, its answers mean nothing.
        preprocessing: how images are prepared for it.
        given_labels: class names of the network or the caller, not checked.
        classes: number of logits.
        batch: the only batch size that it takes; None if it takes any.
        run: a function of images (N, C, H, W) and a batch size, which gives logits (N, classes).
        gives_probabilities: whether its outputs are probabilities already, because it ends in a softmax.
        provider: execution provider of ONNX Runtime that it runs on, with its options; None on another runtime.
        provider_nodes: number of its nodes that ran on each provider; empty on the CPU, which runs all.
        training: what its file states about the images that it was trained on, see
            :class:`scarlet_zoo.data.held_out.TrainingImages`.
    """

    source: str
    weights: str
    trained: bool
    preprocessing: Preprocessing
    given_labels: Sequence[str] | None
    classes: int
    batch: int | None
    run: Callable[[Array, int], Logits]
    gives_probabilities: bool = False
    provider: str | None = None
    provider_nodes: Mapping[str, int] = field(default_factory=dict)
    training: Mapping[str, str] = field(default_factory=dict)

    def logits(self, images: Array) -> Logits:
        """Logits (N, classes) of prepared images, float32 (N, C, H, W)."""
        return self.run(images, self.batch or len(images))

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The class names; None if they are not known or the weights are not trained."""
        return labels_of(self.given_labels, self.classes, self.source) if self.trained else None

    def predict(
        self, images: AnyImage | Sequence[AnyImage], top: int = 5, progress: Progress | None = None
    ) -> list[Prediction]:
        """Predict the likeliest classes of images; all files are checked before anything is computed.

        Args:
            images: one image or several: paths of files that :mod:`scarlet_zoo.data.image_io` opens, Pillow images,
                or uint8 arrays (H, W, 3), or (H, W) for grey.
            top: number of classes for each image.
            progress: called with (done, expected), in images.

        Raises:
            ImageError: a file is not a readable image, or an array has another dtype or shape.
        """
        single = isinstance(images, (str, Path, Image.Image, np.ndarray))
        given = cast(list[AnyImage], [images] if single else list(images))  # type: ignore[arg-type]
        labels = self.labels
        with strict_decoders():
            check_images(given)
            predictions: list[Prediction] = []
            grey = self.preprocessing.channels == 1
            for image, logits in answers(self, given, batch=_BATCH):
                file = Path(image) if isinstance(image, (str, Path)) else None
                best = guesses(logits, labels, top, are_probabilities=self.gives_probabilities)
                predictions.append(Prediction(file, best, grey and image_shows_colour(image)))
                if progress is not None:
                    progress(len(predictions), len(given))
        turned = sum(prediction.turned_grey for prediction in predictions)
        if turned:
            line = turned_grey_line(f"{turned:,} of {len(given):,} images", self.source)
            warnings.warn(line, ScarletWarning, stacklevel=2)
        return predictions
