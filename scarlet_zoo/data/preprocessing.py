"""Preprocessing: how an image becomes the input of a network.

It needs only Pillow and numpy, so it also runs without torch; tests compare it with timm's own
evaluation transform.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.arch.limits import MOST_SIDE
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.utils.reading import parse_json

# Names of the interpolations, and Pillow's filters.
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# Version of the rule by which images become inputs, stated by what a training writes. Since version 2 the camera's
# rotation is applied, and images of data sets by name get the kind of pixels that files get (transparency on white).
# It changes when the same image and the same preprocessing may give other bits.
RULE = 2


_LONGEST = 200  # letters of a text in an error
MOST_IMAGE_CHANNELS = 1024  # hyperspectral images have hundreds
_MOST_RESIZED = 4 * MOST_SIDE  # pixels of a side before the crop


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize the shorter side, crop the centre, scale to [0, 1], subtract the mean, divide by the deviation.

    Attributes:
        size: (height, width) of the network's input in pixels.
        mean, std: mean and deviation of each channel, for values in [0, 1].
        interpolation: Pillow's ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``.
        crop: side of the crop over the side that the image is resized to.
        upright: whether the camera's rotation, which the EXIF data state, is applied before. Published accuracies on
            ImageNet were measured without it.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop: float
    upright: bool = True

    def __post_init__(self) -> None:
        """Check what would ask for more memory than there is; a file's metadata and a flag give the sizes.

        Raises:
            ArtifactError: a side, the number of channels or the side that images are resized to is out of bounds.
        """
        if not all(1 <= side <= MOST_SIDE for side in self.size):
            raise ArtifactError(f"preprocessing: got a size of {_shown(self.size)} pixels, wanted sides of 1 to "
                                f"{MOST_SIDE}")  # fmt: skip
        if not 1 <= len(self.mean) <= MOST_IMAGE_CHANNELS:
            raise ArtifactError(f"preprocessing: got {len(self.mean)} channels, wanted 1 to {MOST_IMAGE_CHANNELS}")
        if self.crop > 0 and max(self.size) / self.crop > _MOST_RESIZED:
            raise ArtifactError(f"preprocessing: got a crop of {self.crop:g} of {max(self.size)} pixels, wanted images "
                                f"resized to sides of at most {_MOST_RESIZED}")  # fmt: skip

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Build the preprocessing from timm's resolved data configuration."""
        channels, height, width = config["input_size"]
        # If the numbers of values and channels differ, the first channel's values hold for every channel.
        mean, std = (tuple(float(v) for v in config[key]) for key in ("mean", "std"))
        if len(mean) != channels:
            mean, std = (mean[0],) * channels, (std[0],) * channels
        known = config["interpolation"] if config["interpolation"] in FILTERS else "bilinear"
        return cls((height, width), mean, std, known, float(config["crop_pct"]))

    @property
    def channels(self) -> int:
        """The number of channels of the network's input."""
        return len(self.mean)

    def to_json(self) -> str:
        """Return one line of JSON with the keys ``size mean std interpolation crop``, and ``upright`` if false.

        A text without ``upright`` means true, as those that were written before there was this key.
        """
        fields = asdict(self)
        return json.dumps({key: fields[key] for key in fields if key != "upright" or not self.upright},
                          separators=(",", ":"))  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Rebuild the preprocessing from the text of :meth:`to_json`.

        Raises:
            ArtifactError: the text is not a valid preprocessing.
        """
        try:
            fields = parse_json(text)
            height, width = fields["size"]
            mean, std = tuple(map(float, fields["mean"])), tuple(map(float, fields["std"]))
            read = cls((int(height), int(width)), mean, std, str(fields["interpolation"]), float(fields["crop"]),
                       _truth(fields.get("upright", True)))  # fmt: skip
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            if isinstance(error, ArtifactError):
                raise
            raise ArtifactError(f"preprocessing: {type(error).__name__}: {str(error)[:_LONGEST]}") from error
        if read.interpolation not in FILTERS or len(read.mean) != len(read.std) or not 0 < read.crop <= 1:
            raise ArtifactError(
                f"preprocessing: got {text[:_LONGEST]}, wanted a known interpolation, equal channels, crop in (0, 1]"
            )
        return read

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Convert one image to float32 of shape (C, H, W); for one channel it is converted to grey."""
        normal: NDArray[np.float32] = self.normalize(self.pixels(image)[None])[0]
        return normal

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop one image to uint8 of shape (H, W, C)."""
        converted = image.convert("L" if self.channels == 1 else "RGB")
        cropped = self._crop(converted.resize(self._resized(converted.size), FILTERS[self.interpolation]))
        return np.asarray(cropped, dtype=np.uint8).reshape(*self.size, self.channels)

    def part(self, image: Image.Image, box: Sequence[float], size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Stretch a part of the crop of :meth:`pixels`, taken from the original image, to uint8 (H, W, C).

        Args:
            image: an image of any size.
            box: left, top, right and bottom of the part, in shares of the sides of that crop.
            size: (H, W) of the result; the network's input size when left out.
        """
        converted = image.convert("L" if self.channels == 1 else "RGB")
        height, width = self.size
        edges = []
        for side, resized, shown, low, high in zip(
            converted.size, self._resized(converted.size), (width, height), box[:2], box[2:], strict=True
        ):
            start = round((resized - shown) / 2)
            inside = ((start + share * shown) * side / resized for share in (low, high))
            edges.append([min(max(edge, 0.0), side) for edge in inside])
        (left, right), (top, bottom) = edges
        height, width = size or self.size
        stretched = converted.resize((width, height), FILTERS[self.interpolation], (left, top, right, bottom))
        return np.asarray(stretched, dtype=np.uint8).reshape(height, width, self.channels)

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Convert pixels (N, H, W, C) to the network's input, float32 of shape (N, C, H, W)."""
        scaled = pixels.astype(np.float32).transpose(0, 3, 1, 2) / np.float32(255)
        mean, std = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (self.mean, self.std))
        normal: NDArray[np.float32] = np.ascontiguousarray((scaled - mean) / std)
        return normal

    def restore(self, images: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Convert the output of :meth:`normalize` back to exactly its pixels, uint8 of shape (N, H, W, C)."""
        mean, std = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (self.mean, self.std))
        levels = np.clip(np.rint((images * std + mean) * 255), 0, 255)
        return np.ascontiguousarray(levels.transpose(0, 2, 3, 1)).astype(np.uint8)

    def batch(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Convert images to one float32 batch of shape (N, C, H, W)."""
        return np.stack([self(image) for image in images])

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (width, height) after resizing the shorter side to size / crop; the longer one is rounded down."""
        width, height = size
        targets = [math.floor(side / self.crop) for side in self.size]
        if self.size[0] != self.size[1]:
            return targets[1], targets[0]
        short = targets[0]
        if width <= height:
            return short, int(short * height / width)
        return int(short * width / height), short

    def _crop(self, image: Image.Image) -> Image.Image:
        height, width = self.size
        left = round((image.width - width) / 2)
        top = round((image.height - height) / 2)
        return image.crop((left, top, left + width, top + height))


def _shown(size: tuple[int, int]) -> str:
    return " x ".join(f"{side:,}" if abs(side) < 10**15 else f"1e{math.log10(abs(side)):.0f}" for side in size)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"upright: got {value!r}, wanted true or false")
    return value


def space_preprocessing(space: SearchSpace) -> Preprocessing:
    """Return the preprocessing of a search space's networks."""
    return Preprocessing((space.input_size,) * 2, space.mean, space.std, "bilinear", space.crop)
