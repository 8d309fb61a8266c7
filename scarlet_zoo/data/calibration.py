"""Images for the calibration of quantised networks."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.data.folders import EXTENSIONS, Skipped, evenly, list_images, skipped_line
from scarlet_zoo.data.image_errors import ImageError
from scarlet_zoo.data.image_io import prepare_image_file, printable, strict_decoders
from scarlet_zoo.data.layout import is_on_disk, read_parts
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import DatasetError, ScarletWarning

RANDOM = "random"
_RANDOM_IMAGES = 16
# With fewer different images the ranges of tensors say more about these images than about the network.
_FEWEST = 8
# An image whose values deviate by less than this share of the range from black to white shows nothing.
_LEAST_DEVIATION = 0.01


@dataclass(frozen=True)
class CalibrationImages:
    """Images for a calibration, and what was wrong with their folder.

    Attributes:
        source: the folder, or ``random``.
        images: network input, float32 (N, C, H, W).
        skipped: the folder's files that were not used because they are no images.
        remarks: what a user should know about the images, one line each.
    """

    source: str
    images: NDArray[np.float32]
    skipped: tuple[Skipped, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values: the number of images, the number of skipped files, and each with its reason."""
        return {
            "source": printable(Path(self.source)),
            "images": len(self.images),
            "skipped": len(self.skipped),
            "skipped_files": [entry.to_dict() for entry in self.skipped],
            "remarks": list(self.remarks),
        }


def calibration_images(source: str, feed: Preprocessing, limit: int) -> NDArray[np.float32]:
    """Read the images of a folder and its subfolders as network input, float32 (N, C, H, W).

    Like :func:`read_calibration`, which also says what was skipped.
    """
    return read_calibration(source, feed, limit).images


def read_calibration(source: str, feed: Preprocessing, limit: int) -> CalibrationImages:
    """Read images without regard to their labels as network input.

    Files that are no images, or broken ones, are skipped, and others are read in their place. Every remark of the
    result is also given as a :class:`ScarletWarning`.

    Args:
        source: a folder, of which all images count, those of its subfolders too; a manifest, of which the training
            images count; or ``random`` for standard normal noise, which does not represent real value ranges.
        feed: the network's preprocessing.
        limit: largest number of images; they are spread evenly over the folder.

    Raises:
        DatasetError: there is no such folder, no readable image in it, or each image shows one colour only.
    """
    if source == RANDOM:
        random = np.random.default_rng(0)
        shape = (min(limit, _RANDOM_IMAGES), feed.channels, *feed.size)
        return CalibrationImages(source, random.standard_normal(shape).astype(np.float32))
    folder = Path(source)
    found, skipped = _listed(folder)
    files, images, broken = _read(found, feed, limit)
    skipped = sorted([*skipped, *broken], key=lambda entry: entry.file)
    said = [skipped_line(folder, skipped, len(found) + len(skipped) - len(broken))] if skipped else []
    if not files:
        details = [line.removeprefix(f"{printable(folder)}: ") for line in said] or [f"wanted {' '.join(EXTENSIONS)}"]
        raise DatasetError(f"{folder}: got no images in the folder, {details[0]}")
    stacked = np.stack(images)
    remarks = tuple(said + _few(folder, files, stacked, feed))
    for remark in remarks:
        warnings.warn(remark, ScarletWarning, stacklevel=2)
    return CalibrationImages(source, stacked, tuple(skipped), remarks)


def _listed(source: Path) -> tuple[list[Path], list[Skipped]]:
    """The image files of a folder, or the training images of a manifest."""
    if source.is_file() and is_on_disk(source):
        return list(read_parts(source).train.files), []
    if not source.is_dir():
        found = "is a file" if source.exists() else "no such folder"
        raise DatasetError(f"{source}: {found}, wanted a folder or a list of images")
    return list_images(source)


def _read(
    found: Sequence[Path], feed: Preprocessing, limit: int
) -> tuple[list[Path], list[NDArray[np.float32]], list[Skipped]]:
    """Read up to ``limit`` images, spread evenly; instead of broken ones others are read, as long as there are any."""
    read: dict[Path, NDArray[np.float32]] = {}
    broken: list[Skipped] = []
    left = list(found)
    with strict_decoders():
        while left and len(read) < limit:
            chosen = [left[position] for position in evenly(len(left), limit - len(read))]
            for file in chosen:
                try:
                    read[file] = prepare_image_file(file, feed)
                except ImageError as error:
                    broken.append(Skipped.because(file, error))
            tried = set(chosen)
            left = [file for file in left if file not in tried]
    files = sorted(read)
    return files, [read[file] for file in files], broken


def _few(folder: Path, files: Sequence[Path], images: NDArray[np.float32], feed: Preprocessing) -> list[str]:
    """What to say where few images differ from each other.

    Raises:
        DatasetError: each image shows one colour only.
    """
    scale = np.asarray(feed.std, dtype=np.float32)  # of a channel's values from 0 to 1
    plain = [bool((image.std((1, 2)) * scale).max() < _LEAST_DEVIATION) for image in images]
    if all(plain):
        names = ", ".join(file.name for file in files[:3]) + (" ..." if len(files) > 3 else "")
        raise DatasetError(
            f"{folder}: each of the {len(files)} calibration images shows one colour only ({names}), "
            "wanted photographs like those that the network will see"
        )
    shown = [hashlib.sha256(image.tobytes()).digest() for image, empty in zip(images, plain, strict=True) if not empty]
    different = len(set(shown))
    if different >= _FEWEST:
        return []
    copies, empty = len(shown) - different, sum(plain)
    beside = [f"{copies} more are copies"] * bool(copies) + [f"{empty} more show one colour only"] * bool(empty)
    got = "1 image" if different == 1 else f"{different} different images"
    return [
        f"{printable(folder)}: got {got} to calibrate on{''.join(f', {text}' for text in beside)}; "
        f"wanted {_FEWEST} or more, for ranges that hold for other images"
    ]
