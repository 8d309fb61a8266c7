"""Inputs to compare two ONNX files on: photographs, noise and extreme images, or noise where no input is an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import extremes, photos
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.onnx_file import OnnxFile

_PHOTOS, _PIXELS, _NOISE = 12, 4, 8
_BATCHES = (1, 3, 8)
# Of inputs with more elements than this, fewer are compared: photographs and sets of noise.
_LARGE, _FEW_OF_LARGE = 300_000, (4, 3)
_MOST = 2**24  # elements of all inputs: a few sets of them are kept, and the extremes are made in float64
# Relative noise that nobody would notice in an input of each precision: eight float32 or half a float16 rounding.
_UNNOTICED = {"tensor(float)": 1e-6, "tensor(double)": 1e-6, "tensor(float16)": 2.0**-11}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Array = NDArray[Any]


@dataclass(frozen=True)
class InputGroup:
    """Sets of inputs of one kind.

    Attributes:
        name: what they are.
        runs: for each batch size, the sets of inputs by name; the first batch size has all images, others fewer.
        usual: whether networks are used on such inputs, so that they are judged most strictly.
    """

    name: str
    runs: Mapping[int, Sequence[Mapping[str, Array]]]
    usual: bool


@dataclass(frozen=True)
class ImageInput:
    """The input of a network that is an image.

    Attributes:
        name: its name.
        last: whether channels are its last axis.
        channels, size: channels and (H, W).
    """

    name: str
    last: bool
    channels: int
    size: tuple[int, int]

    def arranged(self, images: Array) -> Array:
        """Images (N, C, H, W) with their axes in the order of the input."""
        return images.transpose(0, 2, 3, 1) if self.last else images


def image_input(file: OnnxFile, shapes: Mapping[str, tuple[int, ...]]) -> ImageInput | None:
    """The only input of rank 4 with one or three channels, or else with its channels first; None if there is none."""
    four = [name for name, shape in shapes.items() if len(shape) == 4 and file.types[name] != "tensor(bool)"]
    if len(four) != 1:
        return None
    _, first, second, last = shapes[four[0]]
    channels_last = last in (1, 3) and first not in (1, 3)
    size = (first, second) if channels_last else (second, last)
    return ImageInput(four[0], channels_last, last if channels_last else first, size)


def usual_preprocessing(channels: int, size: tuple[int, int]) -> Preprocessing:
    """ImageNet's mean and deviation for three channels, with another number of channels 0.5 for both."""
    mean, std = (_MEAN, _STD) if channels == 3 else ((0.5,) * channels, (0.5,) * channels)
    return Preprocessing(size, mean, std, "bilinear", 0.875)


def input_groups(
    file: OnnxFile, shapes: Mapping[str, tuple[int, ...]], described: Preprocessing | None
) -> Iterator[InputGroup]:
    """Yield groups of inputs for a network, the one that is judged most strictly first.

    Args:
        file: the network.
        shapes: shape of each input by name, with the batch. Other batches are tried where the batch is dynamic and 1.
        described: how the file says that images are prepared; None if it does not.

    Raises:
        ArtifactError: the inputs are so large that a few sets of them would exhaust memory.
    """
    elements = sum(math.prod(shape) for shape in shapes.values())
    if elements > _MOST:
        raise ArtifactError(f"{file.path}: its inputs have {elements:,} elements, wanted at most {_MOST:,} to compare "
                            "files on")  # fmt: skip
    make, image = _Maker(file, shapes), image_input(file, shapes)
    if image is None:
        yield make.group("noise", make.counts[1], usual=True)
        return
    feed = described if described is not None and described.channels == image.channels else None
    prepared = replace(feed, size=image.size) if feed else usual_preprocessing(image.channels, image.size)
    whole = "int" in file.types[image.name]
    if image.channels in (1, 3):
        pictures = photos(make.counts[0])
        yield make.group("photographs", len(pictures), image, _photographs(prepared, pictures, whole), usual=True)
        if feed is None and not whole:
            # Some networks take pixels as they are, and nothing in such a file says so.
            pixels = _photographs(prepared, pictures[:_PIXELS], True)
            yield make.group("pixels of 0 to 255", _PIXELS, image, pixels, usual=True)
    yield make.group("noise", make.counts[1], usual=image.channels not in (1, 3))
    edge = extremes(image.channels, *image.size)
    yield make.group("extremes", len(edge), image, (edge > 0).astype(np.float32) * 255 if whole else edge)


def _photographs(prepared: Preprocessing, pictures: Sequence[Image.Image], whole: bool) -> Array:
    """Photographs (N, C, H, W), as pixels from 0 to 255 or normalised."""
    if whole:
        return np.stack([prepared.pixels(picture) for picture in pictures]).transpose(0, 3, 1, 2).astype(np.float32)
    return prepared.batch(pictures)


class _Maker:
    """Makes groups of inputs for a network; inputs that are no image are random."""

    def __init__(self, file: OnnxFile, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.file, self.shapes, self.axes = file, shapes, file.batch_axes()
        large = sum(math.prod(shape) for shape in shapes.values()) > _LARGE
        self.counts = _FEW_OF_LARGE if large else (_PHOTOS, _NOISE)
        self.batches = _BATCHES[:2] if large else _BATCHES
        self.given = next((shapes[name][axis] for name, axis in self.axes.items()), None)

    def group(
        self,
        name: str,
        count: int,
        image: ImageInput | None = None,
        images: NDArray[np.float32] | None = None,
        *,
        usual: bool = False,
    ) -> InputGroup:
        """A group of these images (N, C, H, W), or of as many sets of random inputs."""
        free = self.given == 1 and (image is None or image.name in self.axes)
        own = self.shapes[image.name][0] if image is not None else self.given or 1
        sizes = self.batches if free else (own,)
        every = {size: range(0, count, size) if size == sizes[0] else range(1) for size in sizes}
        runs = {size: [self._inputs(start, size, image, images) for start in starts] for size, starts in every.items()}
        return InputGroup(name, runs, usual)

    def _inputs(
        self, start: int, batch: int, image: ImageInput | None, images: NDArray[np.float32] | None
    ) -> dict[str, Array]:
        feeds = {}
        for name, shape in self.shapes.items():
            sides = [batch if self.axes.get(name) == axis else side for axis, side in enumerate(shape)]
            feeds[name] = self.file.random(name, sides, seed=start)
            if image is not None and images is not None and name == image.name:
                taken = images[np.arange(start, start + batch) % len(images)]
                feeds[name] = np.ascontiguousarray(image.arranged(taken)).astype(feeds[name].dtype)
        return feeds


def moved(file: OnnxFile) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """A function that moves every input of floating point by a relative noise that nobody would notice."""
    random = np.random.default_rng(0)

    def move(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {name: (value * (1 + _UNNOTICED[file.types[name]] * random.standard_normal(value.shape))).astype(
                    value.dtype) if file.types[name] in _UNNOTICED else value
                for name, value in feeds.items()}  # fmt: skip

    return move
