"""Look at every image of a data set by name once, before a training depends on it, and remember what was found.

What is known is kept in this package's cache folder by the digest of the data set. Broken images are looked at again
each time, since a newly installed package may make them readable. The check of image files is
:mod:`scarlet_zoo.data.check`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.data.folders import Skipped, evenly
from scarlet_zoo.data.image_errors import ImageError
from scarlet_zoo.data.image_io import check_narrowness, is_turned, strict_decoders
from scarlet_zoo.data.pixel_kinds import is_plain, plain, shows_colour
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sources import Source
from scarlet_zoo.utils.files import cache_folder, make_folder, write_text
from scarlet_zoo.utils.reading import bounded_text, parse_json
from scarlet_zoo.utils.watching import tell_watcher

_FORMAT = 1
_SAVE_SECONDS = 30.0  # a check that is killed loses no more than this
_AT_A_TIME = 256
_LOOKED_AT = 64  # images whose colours are looked at
_NARROW = 8  # ratio of the sides from which an image may be too narrow for some preprocessing


@dataclass
class _Found:
    """What is known of the images of a source, as JSON values; positions are text.

    Attributes:
        done: number of images that were looked at, from the first on.
        turned: number of images with a rotation in their EXIF data.
        unlike: number of images that are neither 8-bit RGB nor grey, or have transparency.
        colour: whether one of those whose colours were looked at shows any.
        narrow: width and height of very narrow images.
        broken: the images that cannot be read: why, and what was found.
    """

    done: int = 0
    turned: int = 0
    unlike: int = 0
    colour: bool = False
    narrow: dict[str, list[int]] = field(default_factory=dict)
    broken: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckedSource:
    """What a check of a source has found.

    Attributes:
        places: positions of the images that can be read, int64.
        broken: those that cannot, each with the reason; the file is the source's name and the image's position.
        images: number of all images.
        turned: number of images with a rotation in their EXIF data.
        unlike: number of images that are neither 8-bit RGB nor grey, or have transparency.
        colour: whether one of those that were looked at shows colour.
    """

    places: NDArray[np.int64]
    broken: tuple[Skipped, ...]
    images: int
    turned: int
    unlike: int
    colour: bool


def check_source(source: Source, name: Path, part: str, preprocessing: Preprocessing) -> CheckedSource:
    """Look at all images of a source that are not remembered as good, with several threads.

    Args:
        source: the images; those of one without ``raw`` need no check, and only colours are looked at.
        name: name of the data set.
        part: name of the part that the images are of.
        preprocessing: a network's preprocessing; images that are too narrow for it count as broken.
    """
    count = len(source)
    if source.raw is None:
        colour = any(shows_colour(source.open(place)) for place in evenly(count, _LOOKED_AT))
        return CheckedSource(np.arange(count), (), count, 0, 0, colour)
    found = _known(source) or _Found()
    again = [int(place) for place in found.broken]
    if again or found.done < count:
        found.broken = {}
        _look_at(source.raw, found, again, count, lambda: _save(source, found))
        _save(source, found)
    wrong = {int(place): Skipped(_file(name, part, place), *why) for place, why in found.broken.items()}
    for place, (width, height) in found.narrow.items():
        file = _file(name, part, place)
        try:
            check_narrowness(width, height, preprocessing, str(file))
        except ImageError as error:
            wrong[int(place)] = Skipped.because(file, error)
    places = np.setdiff1d(np.arange(count), np.fromiter(wrong, np.int64))
    broken = tuple(wrong[place] for place in sorted(wrong))
    return CheckedSource(places, broken, count, found.turned, found.unlike, found.colour)


def _file(name: Path, part: str, place: str) -> Path:
    return name / f"{part} image {place}"


def _look_at(raw: Callable[[int], Image.Image], found: _Found, again: Sequence[int], count: int,
             save: Callable[[], None]) -> None:  # fmt: skip
    """Look at some images again and at all after those that are done, and add what is found."""
    saved, looked = time.monotonic(), set(evenly(count, _LOOKED_AT))
    with strict_decoders(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for part in _parts(again, found.done, count):
            for place, seen in zip(part, pool.map(lambda place: _seen(raw, place, place in looked), part), strict=True):
                _add(found, place, seen)
            found.done = max(found.done, part[-1] + 1)
            tell_watcher("check images", found.done, count)
            if time.monotonic() - saved > _SAVE_SECONDS:
                save()
                saved = time.monotonic()


def _parts(again: Sequence[int], first: int, count: int) -> Iterator[Sequence[int]]:
    if again:
        yield again
    for start in range(first, count, _AT_A_TIME):
        yield range(start, min(start + _AT_A_TIME, count))


# Width, height, whether it is turned, whether its pixels are of another kind, and whether it shows colour.
_Seen = tuple[int, int, bool, bool, bool]


def _seen(raw: Callable[[int], Image.Image], place: int, colours: bool) -> _Seen | ImageError:
    try:
        image = raw(place)
        plain(image, f"image {place}")
        return (*image.size, is_turned(image), not is_plain(image), colours and shows_colour(image))
    except ImageError as error:
        return error


def _add(found: _Found, place: int, seen: _Seen | ImageError) -> None:
    if isinstance(seen, ImageError):
        found.broken[str(place)] = [seen.kind, str(seen).rpartition(f"image {place}: ")[2]]
        return
    width, height, turned, unlike, colour = seen
    found.turned += turned
    found.unlike += unlike
    found.colour |= colour
    if max(width, height) > _NARROW * min(width, height):
        found.narrow[str(place)] = [width, height]


def _cached(source: Source) -> Path | None:
    return None if source.digest is None else cache_folder() / "checked" / f"{source.digest[:24]}.json"


def _known(source: Source) -> _Found | None:
    file = _cached(source)
    try:
        content: dict[str, Any] = {} if file is None else parse_json(bounded_text(file))
        return _Found(**content["found"]) if content.get("format") == _FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no such file yet, or a damaged one: the images are looked at again


def _save(source: Source, found: _Found) -> None:
    file = _cached(source)
    if file is not None:
        make_folder(file.parent)
        write_text(file, json.dumps({"format": _FORMAT, "found": vars(found)}, separators=(",", ":")))
