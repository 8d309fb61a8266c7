"""Preprocessing as people give it: in words, as flags in one text, or as the configuration files of timm and others."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scarlet_zoo.data.huggingface_config import from_hugging_face, is_hugging_face
from scarlet_zoo.data.preprocessing import FILTERS, Preprocessing
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.reading import bounded_text, parse_json

# Mean and standard deviation of each channel, as in timm.data.constants; written here, because timm loads torch.
CONSTANTS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
EXAMPLE = "size=224,mean=0.485/0.456/0.406,std=0.229/0.224/0.225,interpolation=bicubic,crop=0.875"
_WANTED = f"wanted imagenet, inception, settings such as {EXAMPLE}, or JSON with timm's data configuration"
# Timm's names of the settings, and ours.
_NAMES = {"input_size": "size", "crop_pct": "crop"}
_WORDS = ("interpolation", "crop_mode", "upright")  # settings whose value is one word
_KEYS = ("size", "mean", "std", "interpolation", "crop", "upright", "crop_mode")
# Keys of a timm pretrained_cfg that say nothing about preprocessing.
_OTHER_KEYS = {
    "url", "file", "hf_hub_id", "hf_hub_filename", "source", "state_dict", "architecture", "tag", "custom_load",
    "test_input_size", "test_crop_pct", "min_input_size", "fixed_input_size", "pool_size", "num_classes",
    "num_features", "global_pool", "label_offset", "label_names", "label_descriptions", "first_conv", "classifier",
    "license", "description", "origin_url", "paper_name", "paper_ids", "notes", "model_args", "crop_border_pixels",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GivenPreprocessing:
    """The settings of a preprocessing that someone gave; None for what was not given.

    Attributes:
        size: (height, width) in pixels.
        mean, std: values of each channel, or one value for all, for pixels in [0, 1].
        interpolation, crop, upright: as in :class:`scarlet_zoo.data.preprocessing.Preprocessing`.
        channels: number of channels that the configuration is for.
        firm: whether the size was asked for, and is not only the usual one of a configuration.
        notes: what the configuration asks for and is not done, in sentences.
    """

    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None
    crop: float | None = None
    upright: bool | None = None
    channels: int | None = None
    firm: bool = False
    notes: tuple[str, ...] = ()

    def complete(self, other: Preprocessing, fixed_size: tuple[int, int] | None = None) -> Preprocessing:
        """Take what was not given from another preprocessing.

        Args:
            other: the preprocessing of the same number of channels that is the rule where nothing is given.
            fixed_size: the only (height, width) that the network takes; None if it takes any.

        Raises:
            ScarletError: the settings are for another number of channels or another size than the network's.
        """
        count = other.channels
        if self.channels not in (None, count):
            raise ScarletError(f"preprocessing: is for {self.channels} channels, but the network takes {count}")
        if fixed_size is not None and self.firm and self.size != fixed_size:
            raise ScarletError(f"preprocessing: size: got {_by(self.size)}, but the network takes {_by(fixed_size)}")
        values = {}
        for name, given, usual in (("mean", self.mean, other.mean), ("std", self.std, other.std)):
            if given is not None and len(given) not in (1, count):
                raise ScarletError(f"preprocessing: {name}: got {len(given)} values, wanted {count}, one a channel")
            values[name] = usual if given is None else given * (count // len(given))
        return replace(
            other,
            size=fixed_size or self.size or other.size,
            interpolation=self.interpolation or other.interpolation,
            crop=other.crop if self.crop is None else self.crop,
            upright=other.upright if self.upright is None else self.upright,
            **values,
        )


def _by(size: tuple[int, int] | None) -> str:
    return "any" if size is None else f"{size[0]} x {size[1]} pixels"


def read_preprocessing(given: str | Path | Mapping[str, Any]) -> GivenPreprocessing:
    """Read the settings of a preprocessing.

    Args:
        given: ``imagenet`` or ``inception`` for the usual mean and deviation; settings in one text, separated by
            commas, with values of several channels separated by slashes, such as ``size=224,mean=0.5,crop=0.9`` (a
            word may stand in front); JSON, or a JSON file, with the keys of timm's data configuration
            (``input_size``, ``mean``, ``std``, ``interpolation``, ``crop_pct``), with such a ``pretrained_cfg`` in
            it, or of Hugging Face's ``preprocessor_config.json``; or those values in a mapping.

    Raises:
        ScarletError: no such file, a key that is not known, or a value that cannot be used.
    """
    if isinstance(given, Mapping):
        return _from_mapping(given)
    text = str(given).strip()
    if text.startswith("{"):
        return _from_mapping(_parsed(text, "preprocessing"))
    first = text.split(",")[0].strip()
    if first not in CONSTANTS and _is_file(given):
        return _from_mapping(_read(Path(given)))
    if first in CONSTANTS or "=" in first:
        return _from_settings(text)
    raise ScarletError(f"preprocessing: got {text!r}, which is no file, {_WANTED}")


def _is_file(given: str | Path) -> bool:
    try:
        return Path(given).is_file()
    except (OSError, ValueError):  # a text too long for a file's name, or with a zero in it
        return False


def _read(path: Path) -> Any:
    try:
        text = bounded_text(path, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ScarletError(f"preprocessing {path}: cannot be read as text: {error}") from error
    return _parsed(text, f"preprocessing {path}")


def _parsed(text: str, where: str) -> Any:
    try:
        value = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise ScarletError(f"{where}: is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ScarletError(f"{where}: got {type(value).__name__} in JSON, wanted an object with timm's keys")
    return value


def _from_settings(text: str) -> GivenPreprocessing:
    """Read settings such as ``imagenet,size=224``."""
    found: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if part.strip() in CONSTANTS:
            found["mean"], found["std"] = CONSTANTS[part.strip()]
        elif not equals or not value:
            raise ScarletError(f"preprocessing: got {part!r}, {_WANTED}")
        else:
            several = [number.strip() for number in value.replace("x", "/").split("/")]
            named = _NAMES.get(key, key)
            found[key.strip()] = value.strip() if named in _WORDS else several
    return replace(_from_mapping(found), firm="size" in found or "input_size" in found)


def _from_mapping(given: Mapping[str, Any]) -> GivenPreprocessing:
    # What stands around it in timm's config.json is about the network.
    inner = given.get("pretrained_cfg")
    config = inner if isinstance(inner, Mapping) else given
    if is_hugging_face(config):
        config, notes = from_hugging_face(config)
    else:
        notes = ()
    fields: dict[str, Any] = {}
    for key, value in config.items():
        name = _NAMES.get(key, key)
        if name not in _KEYS:
            if key not in _OTHER_KEYS:
                near = difflib.get_close_matches(key, (*_KEYS, *_NAMES), n=1)
                hint = f", did you mean {near[0]}?" if near else ""
                raise ScarletError(f"preprocessing: unknown setting {key!r}, wanted {' '.join(_KEYS[:6])}{hint}")
        elif value is not None:
            fields[name] = value
    return _checked(fields, notes)


def _checked(fields: Mapping[str, Any], notes: tuple[str, ...]) -> GivenPreprocessing:
    channels, size = _size(fields["size"]) if "size" in fields else (None, None)
    mean, std = (_values(fields, name) for name in ("mean", "std"))
    if channels is not None:
        # A configuration of timm for other channels than its values: the first channel's hold for all.
        mean, std = (v if v is None or len(v) in (1, channels) else v[:1] for v in (mean, std))
    interpolation = fields.get("interpolation")
    # Timm draws one of several for "random", which is for training; it evaluates with bilinear.
    interpolation = "bilinear" if interpolation == "random" else interpolation
    if interpolation is not None and (not isinstance(interpolation, str) or interpolation not in FILTERS):
        raise ScarletError(f"preprocessing: interpolation: got {interpolation!r}, wanted one of {' '.join(FILTERS)}")
    crop = _values(fields, "crop")
    if crop is not None and len(crop) != 1:
        raise ScarletError(f"preprocessing: crop: got {len(crop)} values, wanted one")
    mode = fields.get("crop_mode", "center")
    if mode != "center":
        notes += (f"crop_mode {mode!r} is not done: the centre of the image is cropped",)
    return GivenPreprocessing(size=size, mean=mean, std=std, interpolation=interpolation,
                              crop=None if crop is None else crop[0], upright=_truth(fields.get("upright")),
                              channels=channels, notes=notes)  # fmt: skip


def _truth(value: Any) -> bool | None:
    """The value of ``upright``, which is true or false in JSON and a word in settings."""
    if value is None or isinstance(value, bool):
        return value
    words = {"true": True, "false": False}
    if str(value).lower() not in words:
        raise ScarletError(f"preprocessing: upright: got {value!r}, wanted true or false")
    return words[str(value).lower()]


def _size(value: Any) -> tuple[int | None, tuple[int, int]]:
    """Channels, if they are given, and (height, width), of a side, (height, width) or (channels, height, width)."""
    parts = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        if any(isinstance(part, (bool, float)) and part != int(part) for part in parts):
            raise ValueError
        sides = [int(part) for part in parts]
    except (TypeError, ValueError, OverflowError):
        sides = []
    if len(sides) not in (1, 2, 3) or min(sides) < 1:
        got = "/".join(map(str, parts))
        raise ScarletError(f"preprocessing: size: got {got!r}, wanted a side in pixels, or height and width")
    return (sides[0] if len(sides) == 3 else None), (sides[-2] if len(sides) > 1 else sides[-1], sides[-1])


_LIMITS = {
    "mean": (0.0, 1.0, "values from 0 to 1, of pixels in [0, 1]"),
    "std": (1e-6, 1e6, "positive values, of pixels in [0, 1]"),
    "crop": (1e-6, 1.0, "a share above 0 and at most 1"),
}


def _values(fields: Mapping[str, Any], name: str) -> tuple[float, ...] | None:
    if name not in fields:
        return None
    value, (low, high, wanted) = fields[name], _LIMITS[name]
    parts = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        numbers = tuple(float(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if not numbers or not all(math.isfinite(number) and low <= number <= high for number in numbers):
        hint = "; divide those of pixels in 0..255 by 255" if numbers and name == "mean" else ""
        got = "/".join(map(str, parts))
        raise ScarletError(f"preprocessing: {name}: got {got!r}, wanted {wanted}{hint}")
    return numbers
