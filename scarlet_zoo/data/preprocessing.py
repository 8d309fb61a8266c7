"""Images to network input: what a network was trained to be fed, and the arithmetic that does it.

Pillow and numpy only, so that it runs beside a runtime without torch; tested equal to timm's own
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

from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import ArtifactError

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize the shorter side, crop the centre, scale to [0, 1], subtract the mean, divide by the deviation.

    Attributes:
        size: (height, width) of the network's input in pixels.
        mean, std: per channel, of values in [0, 1].
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``, as Pillow does them.
        crop: side of the crop over the side that was resized to.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop: float

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessing:
        """From timm's resolved data configuration."""
        channels, height, width = config["input_size"]
        # A network for grey or for many channels is normalised like its first channels say.
        mean, std = (tuple(float(v) for v in config[key]) for key in ("mean", "std"))
        if len(mean) != channels:
            mean, std = (mean[0],) * channels, (std[0],) * channels
        known = config["interpolation"] if config["interpolation"] in _FILTERS else "bilinear"
        return cls((height, width), mean, std, known, float(config["crop_pct"]))

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return len(self.mean)

    def to_json(self) -> str:
        """One line of JSON with the keys ``size mean std interpolation crop``."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Read :meth:`to_json` back.

        Raises:
            ArtifactError: the text is no such description.
        """
        try:
            fields = json.loads(text)
            height, width = fields["size"]
            mean, std = tuple(map(float, fields["mean"])), tuple(map(float, fields["std"]))
            made = cls((int(height), int(width)), mean, std, str(fields["interpolation"]), float(fields["crop"]))
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise ArtifactError(f"preprocessing: {type(error).__name__}: {error}") from error
        if made.interpolation not in _FILTERS or len(made.mean) != len(made.std) or not 0 < made.crop <= 1:
            raise ArtifactError(
                f"preprocessing: got {text}, wanted a known interpolation, equal channels, crop in (0, 1]"
            )
        return made

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """One image as float32 of shape (C, H, W); for one channel it is turned grey."""
        normal: NDArray[np.float32] = self.normalize(self.pixels(image)[None])[0]
        return normal

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """One image resized and cropped, as uint8 of shape (H, W, C)."""
        converted = image.convert("L" if self.channels == 1 else "RGB")
        cropped = self._crop(converted.resize(self._resized(converted.size), _FILTERS[self.interpolation]))
        return np.asarray(cropped, dtype=np.uint8).reshape(*self.size, self.channels)

    def part(self, image: Image.Image, box: Sequence[float]) -> NDArray[np.uint8]:
        """A part of what :meth:`pixels` shows, stretched to its size from the image itself: uint8 (H, W, C).

        Args:
            image: any.
            box: left, top, right and bottom of the part, in shares of what :meth:`pixels` shows.
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
        stretched = converted.resize((width, height), _FILTERS[self.interpolation], (left, top, right, bottom))
        return np.asarray(stretched, dtype=np.uint8).reshape(*self.size, self.channels)

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pixels (N, H, W, C) as the network wants them: float32 of shape (N, C, H, W)."""
        scaled = pixels.astype(np.float32).transpose(0, 3, 1, 2) / np.float32(255)
        mean, std = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (self.mean, self.std))
        normal: NDArray[np.float32] = np.ascontiguousarray((scaled - mean) / std)
        return normal

    def restore(self, images: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The pixels (N, H, W, C) that :meth:`normalize` made these of, exactly: its rounding is far below one step."""
        mean, std = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (self.mean, self.std))
        levels = np.clip(np.rint((images * std + mean) * 255), 0, 255)
        return np.ascontiguousarray(levels.transpose(0, 2, 3, 1)).astype(np.uint8)

    def batch(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Images as float32 of shape (N, C, H, W)."""
        return np.stack([self(image) for image in images])

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) after the shorter side became size / crop; the longer one follows, rounded down."""
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


def space_preprocessing(space: SearchSpace) -> Preprocessing:
    """How the networks of a space are fed."""
    return Preprocessing((space.input_size,) * 2, space.mean, space.std, "bilinear", space.crop)
