"""Compute logits and named classes of image files, Pillow images or arrays, with a network on any runtime."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.data.image_errors import ImageError
from scarlet_zoo.data.image_io import (
    as_the_camera_was_held,
    check_image_path,
    open_image,
    prepare_image,
    prepare_image_file,
    printable,
)
from scarlet_zoo.data.pixel_kinds import plain, shows_colour
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ScarletError

Array = NDArray[np.float32]
Logits = NDArray[np.float64]
Progress = Callable[[int, int], None]
# A file, a Pillow image, or a uint8 array (H, W, 3), or (H, W) for grey.
AnyImage = str | Path | Image.Image | NDArray[np.uint8]
Given = TypeVar("Given", bound=AnyImage)
_THREADS = 2
_SUM_TOLERANCE = 1e-3  # of a sum of probabilities in float16 or on an 8-bit grid


class Answering(Protocol):
    """The interface of a network that gives logits."""

    @property
    def source(self) -> str:
        """The network's name or file, for messages."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared for the network."""

    def logits(self, images: Array) -> Logits:
        """Logits (N, classes) of prepared images (N, C, H, W)."""


@dataclass(frozen=True, slots=True)
class Guess:
    """One class of a prediction.

    Attributes:
        index: the class's position among the logits.
        label: the class's name; None if the classes have no names.
        score: its probability: of the softmax, or the network's own if its outputs are probabilities.
    """

    index: int
    label: str | None
    score: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The likeliest classes of one image.

    Attributes:
        file: the image's file; None for an image that was not given as a file.
        guesses: the likeliest classes, the most probable first.
        turned_grey: whether the image shows colour and was turned grey, because the network takes one channel.
    """

    file: Path | None
    guesses: tuple[Guess, ...]
    turned_grey: bool = False

    @property
    def label(self) -> str | None:
        """The name of the likeliest class; None if the classes have no names."""
        return self.guesses[0].label


def check_images(images: Sequence[AnyImage]) -> None:
    """Check that all images can be read, without keeping them in memory.

    Raises:
        ImageError: an image is broken or of the wrong kind; the message names the first.
    """
    files = [Path(image) for image in images if isinstance(image, (str, Path))]
    for file in files:
        check_image_path(file)
    for file in files:
        open_image(file)
    for image in images:
        if not isinstance(image, (str, Path)):
            _as_image(image)


def answers(
    network: Answering,
    images: Sequence[Given],
    *,
    batch: int,
    skip: Callable[[Given, ImageError], None] | None = None,
) -> Iterator[tuple[Given, Logits]]:
    """Give each image with its logits (classes), in order; threads prepare images while the network runs.

    Args:
        network: the network.
        images: the images.
        batch: images in a batch.
        skip: called with an image that is broken and the error, and the image is left out; without it the error is
            raised.

    Raises:
        ImageError: an image is broken or of the wrong kind.
        ScarletError: a logit is not a finite number.
    """

    def prepare(image: Given) -> Array:
        if isinstance(image, (str, Path)):
            return prepare_image_file(Path(image), network.preprocessing)
        return prepare_image(_as_image(image, upright=network.preprocessing.upright), network.preprocessing)

    waiting: deque[Future[Array]] = deque()
    rest = iter(images)
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for start in range(0, len(images), batch):
                # Up to two batches are prepared ahead.
                while len(waiting) < 2 * batch and (image := next(rest, None)) is not None:
                    waiting.append(pool.submit(prepare, image))
                part = images[start : start + batch]
                good = [
                    (image, array) for image in part if (array := _result(waiting.popleft(), image, skip)) is not None
                ]
                if good:
                    prepared = np.stack([array for _, array in good])
                    yield from _finite(network, [image for image, _ in good], network.logits(prepared))
        finally:
            # After a broken file the images that follow it are not prepared.
            pool.shutdown(wait=True, cancel_futures=True)


def _result(prepared: Future[Array], image: Given, skip: Callable[[Given, ImageError], None] | None) -> Array | None:
    """The prepared image; None if it is broken and was given to ``skip``."""
    try:
        return prepared.result()
    except ImageError as error:
        if skip is None:
            raise
        skip(image, error)
        return None


def _finite(network: Answering, images: Sequence[Given], logits: Logits) -> Iterator[tuple[Given, Logits]]:
    for image, row in zip(images, logits, strict=True):
        if not np.isfinite(row).all():
            raise ScarletError(f"{name_of_image(image)}: {network.source} gives logits that are not finite numbers")
        yield image, row


def name_of_image(image: AnyImage) -> str:
    """The name of an image in messages: its file, or its size."""
    if isinstance(image, (str, Path)):
        return printable(Path(image))
    sides = image.size if isinstance(image, Image.Image) else image.shape
    return f"image of {' x '.join(map(str, sides))}"


def _as_image(image: Any, *, upright: bool = False) -> Image.Image:
    """A Pillow image with the kind of pixels that files get, turned upright if that is asked for, or one of an array.

    Raises:
        ImageError: an array of another dtype or shape.
    """
    if isinstance(image, Image.Image):
        held = as_the_camera_was_held(image.copy()) if upright and image.getexif() else image
        return plain(held, name_of_image(image))
    if not isinstance(image, np.ndarray):
        raise ImageError(f"image: got {type(image).__name__}, wanted a path, a Pillow image or a uint8 array")
    grey, colour = image.ndim == 2, image.ndim == 3 and image.shape[2] in (1, 3)
    if image.dtype != np.uint8 or not (grey or colour) or not image.size:
        got = f"{image.dtype} of shape {image.shape}"
        raise ImageError(f"image: got an array {got}, wanted uint8 of shape (H, W, 3), or (H, W) for grey")
    return Image.fromarray(image[..., 0] if colour and image.shape[2] == 1 else image)


def image_shows_colour(image: AnyImage) -> bool:
    """Whether an image shows colour, whatever kind of pixels it is stored in.

    Raises:
        ImageError: it cannot be read.
    """
    return shows_colour(open_image(Path(image)) if isinstance(image, (str, Path)) else _as_image(image))


def likeliest(logits: Logits, top: int) -> NDArray[np.intp]:
    """The indices of the largest logits, the largest first; equal ones by index."""
    return np.argsort(-logits, kind="stable")[:top]


def guesses(
    logits: Logits, labels: Sequence[str] | None, top: int, *, are_probabilities: bool = False
) -> tuple[Guess, ...]:
    """The likeliest classes of one image's outputs (classes): softmax of logits, or probabilities as they are."""
    powers = np.exp(logits - logits.max())
    scores = logits if are_probabilities else powers / powers.sum()
    return tuple(
        Guess(int(index), None if labels is None else labels[index], float(scores[index]))
        for index in likeliest(logits, top)
    )


def are_probabilities(outputs: Logits) -> bool:
    """Whether all rows of outputs (N, classes) are probabilities: from 0 to 1, with a sum of 1."""
    inside = outputs.shape[1] > 1 and bool(((outputs >= 0) & (outputs <= 1)).all())
    return inside and bool((np.abs(outputs.sum(axis=1) - 1) < _SUM_TOLERANCE).all())
