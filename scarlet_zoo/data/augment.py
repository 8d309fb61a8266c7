"""Augmentation: random changes to training images before normalisation, for arrays and for image files."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scarlet_zoo.data.auto_augment import altered


@dataclass(frozen=True)
class Augment:
    """The random changes to training images at the network's size, before normalisation.

    Attributes:
        shift_px: largest shift in each direction, in pixels; uncovered pixels become zero.
        flip: whether each image is mirrored with probability one half.
        erase: share of the images in which a rectangle is blanked (random erasing, arXiv 1708.04896).
        crop: smallest share of the area that a random crop keeps and stretches to the whole image, with sides from
            3:4 to 4:3 (the random resized crop of Inception, arXiv 1409.4842); 1 turns cropping off.
        jitter: brightness, then contrast, is multiplied by a factor from 1 - jitter to 1 + jitter.
        vflip: whether each image is turned upside down with probability one half, for images without an up.
        color_jitter: brightness, contrast and saturation are multiplied, in a random order, by factors from 1 -
            color_jitter to 1 + color_jitter (torchvision's ``ColorJitter``; timm's ``--color-jitter``).
        auto: a policy of :mod:`scarlet_zoo.data.auto_augment`: ``trivial``, or the text of timm's ``--aa``, such as
            ``rand-m9-mstd0.5-inc1``; empty for none.
    """

    shift_px: int = 1
    flip: bool = True
    erase: float = 0.0
    crop: float = 1.0
    jitter: float = 0.0
    vflip: bool = False
    color_jitter: float = 0.0
    auto: str = ""

    def arrays(self, pixels: Tensor, seed: int) -> Tensor:
        """Augment a batch of pixels from 0 to 255 (N, C, H, W), each image with its own random values."""
        random = torch.Generator().manual_seed(seed)
        return self.after_crop(self._cropped(pixels, random) if self.crop < 1 else pixels, random)

    def after_crop(self, pixels: Tensor, random: torch.Generator) -> Tensor:
        """Augment a batch of pixels (N, C, H, W) without the crop: colours, shift, flip and erase, in this order."""
        # An option that is off draws no random values, so it does not change the other options' values.
        if self.auto or self.color_jitter:
            seed = int(torch.randint(2**31, (), generator=random))
            pixels = altered(pixels, self.auto, self.color_jitter, seed)
        pixels = self._jittered(pixels, random) if self.jitter else pixels
        count = len(pixels)
        starts = [torch.randint(2 * self.shift_px + 1, (count,), generator=random) - self.shift_px for _ in range(2)]
        flips = [torch.rand(count, generator=random) < 0.5 if on else None for on in (self.flip, self.vflip)]
        if self.shift_px or self.flip or self.vflip:
            pixels = _moved(pixels, *starts, *flips)
        return self._erased(pixels, random) if self.erase else pixels

    def _erased(self, pixels: Tensor, random: torch.Generator) -> Tensor:
        """Blank rectangles with sides from an eighth to nearly a half of the image's."""
        count, _, height, width = pixels.shape
        chosen = torch.rand(count, generator=random) < self.erase
        spans = []
        for side in (height, width):
            length = torch.randint(side // 8, side // 2, (count, 1), generator=random)
            start = torch.randint(side, (count, 1), generator=random) - length // 2
            at = torch.arange(side)
            spans.append((at >= start) & (at < start + length))
        blank = (spans[0][:, :, None] & spans[1][:, None, :] & chosen[:, None, None])[:, None]
        return pixels.masked_fill(blank, 0)

    def windows(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw random windows: their spans and centres (N, 2), x then y; the image ranges from -1 to 1."""
        area = self.crop + (1 - self.crop) * torch.rand(count, generator=random)
        ratio = torch.exp((2 * torch.rand(count, generator=random) - 1) * math.log(4 / 3))
        # Neither side is longer than the image's, and the area stays the drawn one.
        height = torch.sqrt(area / ratio).clamp(max=1).maximum(area)
        spans = torch.stack((area / height, height), 1)
        return spans, (1 - spans) * (2 * torch.rand(count, 2, generator=random) - 1)

    def boxes(self, count: int, random: torch.Generator) -> list[list[float]]:
        """Draw the same windows as left, top, right and bottom edges, in shares of the image's sides."""
        spans, centres = self.windows(count, random)
        boxes: list[list[float]] = torch.cat(((1 + centres - spans) / 2, (1 + centres + spans) / 2), 1).tolist()
        return boxes

    def _cropped(self, pixels: Tensor, random: torch.Generator) -> Tensor:
        """Stretch random windows to the image's size (bilinear)."""
        spans, centres = self.windows(len(pixels), random)
        window = torch.cat((torch.diag_embed(spans), centres[:, :, None]), 2)  # (N, 2, 3)
        grid = torch.nn.functional.affine_grid(window, list(pixels.shape), align_corners=False)
        taken = torch.nn.functional.grid_sample(pixels.float(), grid, padding_mode="border", align_corners=False)
        return taken.round().to(pixels.dtype)

    def _jittered(self, pixels: Tensor, random: torch.Generator) -> Tensor:
        """Multiply the brightness by a random factor, then the distance from the image's mean by another."""
        factors = 1 + self.jitter * (2 * torch.rand(2, len(pixels), 1, 1, 1, generator=random) - 1)
        bright = (pixels.float() * factors[0]).clamp(0, 255)
        mean = bright.mean((1, 2, 3), keepdim=True)
        return ((bright - mean) * factors[1] + mean).clamp(0, 255).round().to(pixels.dtype)


def _moved(pixels: Tensor, down: Tensor, right: Tensor, mirrored: Tensor | None, turned: Tensor | None) -> Tensor:
    """Return each image (N, C, H, W) from ``down`` rows and ``right`` columns on, zeros outside, then flipped.

    Image by image, since a copy of rows is several times as fast as a gather of pixels.
    """
    source = pixels.numpy()
    moved = np.zeros_like(source)  # in the same order in memory
    height, width = source.shape[2:]
    across, over = (np.zeros(len(source), bool) if flip is None else flip.numpy() for flip in (mirrored, turned))
    places = zip(source, moved, down.tolist(), right.tolist(), across, over, strict=True)
    for image, into, y, x, swapped, upside in places:
        target = into[:, :: -1 if upside else 1, :: -1 if swapped else 1]
        taken = image[:, max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
        top, left = max(-y, 0), max(-x, 0)
        target[:, top : top + taken.shape[1], left : left + taken.shape[2]] = taken
    return torch.from_numpy(moved)
