"""Quantise an ONNX file of any exporter, and verify the integers on images that it was not calibrated on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scarlet_zoo.data.calibration_sets import any_calibration_images
from scarlet_zoo.deployment.image_feed import ASSUMED, ImageFeed
from scarlet_zoo.errors import CheckFailedError
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.quantization.quantize import Int8, Quantized, quantize_int8
from scarlet_zoo.utils.files import replacing

# Below this ratio of outputs to errors a file is broken: networks of the zoo and of timm gave 23 to 40 dB.
_LEAST_SQNR_DB = 10.0


@dataclass(frozen=True)
class QuantizedFile:
    """An integer file that was made of another file.

    Attributes:
        quantized: the integer file, and how close its outputs are to those of its source.
        source: the float file.
        feed: how images were prepared for both.
    """

    quantized: Quantized
    source: Path
    feed: ImageFeed

    def to_dict(self) -> dict[str, Any]:
        """JSON values: those of ``quantized`` and of ``feed``, and ``source``."""
        return {**self.quantized.to_dict(), "source": str(self.source), **self.feed.to_dict()}


def quantize_file(
    source: Path,
    path: Path,
    feed: ImageFeed,
    calibration: str,
    how: Int8 | None = None,
    *,
    limit: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> QuantizedFile:
    """Quantise a float file of any exporter.

    The metadata of the new file say its preprocessing, unless that is assumed.

    Args:
        source: a float file with one image input.
        path: where to write the integer file.
        feed: how images are prepared, from :func:`scarlet_zoo.deployment.image_feed.feed_of_file`.
        calibration: a folder of images, or ``random``. A quarter of them is set aside to verify the integers.
        how: settings of the quantisation.
        limit: largest number of images, spread evenly over the folder.
        progress: called with (done, expected) during the calibration.

    Raises:
        CheckFailedError: the integer outputs are far from the float ones; nothing is written.
        ArtifactError, ExportError, DatasetError: as for
            :func:`scarlet_zoo.graph.quantization.quantize.quantize_int8`.
    """
    images = any_calibration_images(calibration, feed.preprocessing, limit)
    known = None if feed.origin == ASSUMED else feed.preprocessing
    with replacing(path) as temporary:
        made = quantize_int8(source, temporary, images, how, progress, preprocessing=known)
        if not made.sqnr_db >= _LEAST_SQNR_DB:
            raise CheckFailedError(
                f"{path}: in integers its outputs are {made.sqnr_db:.1f} dB from those of {source}, at least "
                f"{_LEAST_SQNR_DB:.0f}; calibrate on images like those it is used on, or leave the layers that "
                "scarlet-zoo sensitivity puts first in float with --keep-float"
            )
    return QuantizedFile(replace(made, artifact=read_artifact(path)), source, feed)
