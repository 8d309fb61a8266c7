"""What a network says of images, whatever runs it: files, Pillow's images or arrays to logits and named classes."""

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

from scarlet_zoo.data.image_io import (
    ImageError,
    check_image_path,
    open_image,
    prepare_image,
    prepare_image_file,
    printable,
)
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ScarletError

Array = NDArray[np.float32]
Logits = NDArray[np.float64]
Progress = Callable[[int, int], None]
# A file, an image of Pillow's, or pixels: uint8 (H, W, 3), or (H, W) in grey.
AnyImage = str | Path | Image.Image | NDArray[np.uint8]
Given = TypeVar("Given", bound=AnyImage)
_THREADS = 2


class Answering(Protocol):
    """What answers: the name for messages, what it wants to be fed, and its logits."""

    @property
    def source(self) -> str:
        """A name or a file."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared for it."""

    def logits(self, images: Array) -> Logits:
        """Logits (N, classes) of images (N, C, H, W)."""


@dataclass(frozen=True, slots=True)
class Guess:
    """One of the classes that a network names, with its softmax probability."""

    index: int
    label: str | None
    score: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a network sees in one image, the likeliest class first.

    Attributes:
        file: of the image; None for an image that was given as pixels.
        guesses: the likeliest classes, in falling order of their probability.
    """

    file: Path | None
    guesses: tuple[Guess, ...]

    @property
    def label(self) -> str | None:
        """The name of the likeliest class, where the network's classes have names."""
        return self.guesses[0].label


def check_images(images: Sequence[AnyImage]) -> None:
    """Read every file to its end and keep nothing: all of them prepared may be more than memory holds.

    Raises:
        ImageError: the first that is no sound image.
    """
    files = [Path(image) for image in images if isinstance(image, (str, Path))]
    for file in files:
        check_image_path(file)
    for file in files:
        open_image(file)
    for image in images:
        if not isinstance(image, (str, Path)):
            _as_picture(image)


def answers(
    network: Answering, images: Sequence[Given], *, batch: int, upright: bool = True
) -> Iterator[tuple[Given, Logits]]:
    """Each image with its logits (classes), in order; images are prepared while the network runs."""

    def prepare(image: Given) -> Array:
        if isinstance(image, (str, Path)):
            return prepare_image_file(Path(image), network.preprocessing, upright=upright)
        return prepare_image(_as_picture(image), network.preprocessing)

    waiting: deque[Future[Array]] = deque()
    rest = iter(images)
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for start in range(0, len(images), batch):
                # This batch and the next one.
                while len(waiting) < 2 * batch and (image := next(rest, None)) is not None:
                    waiting.append(pool.submit(prepare, image))
                part = images[start : start + batch]
                prepared = np.stack([waiting.popleft().result() for _ in part])
                yield from _finite(network, part, network.logits(prepared))
        finally:
            # After a broken file nobody waits for those behind it.
            pool.shutdown(wait=True, cancel_futures=True)


def _finite(network: Answering, images: Sequence[Given], logits: Logits) -> Iterator[tuple[Given, Logits]]:
    for image, row in zip(images, logits, strict=True):
        if not np.isfinite(row).all():
            raise ScarletError(f"{name_of_image(image)}: {network.source} gives logits that are not finite numbers")
        yield image, row


def name_of_image(image: AnyImage) -> str:
    """What an image is called in messages."""
    if isinstance(image, (str, Path)):
        return printable(Path(image))
    sides = image.size if isinstance(image, Image.Image) else image.shape
    return f"image of {' x '.join(map(str, sides))}"


def _as_picture(image: Any) -> Image.Image:
    """Pixels or an image of Pillow's as 8-bit RGB or grey.

    Raises:
        ImageError: an array of another kind or shape.
    """
    if isinstance(image, Image.Image):
        return image
    if not isinstance(image, np.ndarray):
        raise ImageError(f"image: got {type(image).__name__}, wanted a path, an image of Pillow's or a uint8 array")
    grey, colour = image.ndim == 2, image.ndim == 3 and image.shape[2] in (1, 3)
    if image.dtype != np.uint8 or not (grey or colour) or not image.size:
        got = f"{image.dtype} of shape {image.shape}"
        raise ImageError(f"image: got an array {got}, wanted uint8 of shape (H, W, 3), or (H, W) in grey")
    return Image.fromarray(image[..., 0] if colour and image.shape[2] == 1 else image)


def likeliest(logits: Logits, top: int) -> NDArray[np.intp]:
    """Indices of the largest logits, the largest first; equal ones in their order."""
    return np.argsort(-logits, kind="stable")[:top]


def guesses(logits: Logits, labels: Sequence[str] | None, top: int) -> tuple[Guess, ...]:
    """The likeliest classes of one image's logits (classes), with their softmax probabilities."""
    powers = np.exp(logits - logits.max())
    scores = powers / powers.sum()
    return tuple(
        Guess(int(index), None if labels is None else labels[index], float(scores[index]))
        for index in likeliest(logits, top)
    )
