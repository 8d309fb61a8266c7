"""Which built-in space suits images, by their channels, their size and their number."""

from __future__ import annotations

# From the first side on an image has more to show than 32 pixels do, from the second on 224 pixels suit it.
SMALL_SIDE, LARGE_SIDE = 64, 160
# Fewer images than this do not fill the capacity of the space for ImageNet.
MANY_IMAGES = 100_000


def usual_space(channels: int, side: int, images: int) -> str:
    """Return the name of the built-in space for a data set; docs/spaces.md has the rule as a table.

    Args:
        channels: 1 if the images are stored in grey, 3 if they have colours.
        side: median of the shorter sides of the images, in pixels.
        images: number of training images.
    """
    if channels == 1:
        return "scarlet-mini" if side < SMALL_SIDE else "scarlet-grey96"
    if side < SMALL_SIDE:
        return "scarlet-rgb32"
    return "scarlet" if side >= LARGE_SIDE and images >= MANY_IMAGES else "scarlet-rgb96"
