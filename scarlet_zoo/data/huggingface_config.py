"""The preprocessing in Hugging Face's ``preprocessor_config.json``, in the keys of timm's data configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scarlet_zoo.errors import ScarletError

_MARKS = ("image_processor_type", "feature_extractor_type", "image_mean", "do_normalize", "do_resize", "do_rescale")
# Pillow's numbers of its filters.
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
_WHOLE_CROP, _LARGE_SIDE = 0.875, 384


def is_hugging_face(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a Hugging Face image processor."""
    return any(mark in config for mark in _MARKS)


def from_hugging_face(config: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Convert an image processor's configuration to timm's keys.

    Returns:
        The configuration, and sentences that say what it asks for and cannot be expressed in these keys.

    Raises:
        ScarletError: a value has another form than Hugging Face's, or the channels are in another order than RGB.
    """
    if config.get("do_flip_channel_order"):
        raise ScarletError("preprocessing: got do_flip_channel_order, wanted a network that takes RGB images")
    size, crop, notes = _size_and_crop(config)
    resample = config.get("resample")
    if resample is not None and (not isinstance(resample, int) or resample not in _FILTERS):
        known = ", ".join(f"{number} {name}" for number, name in _FILTERS.items())
        raise ScarletError(f"preprocessing: resample: got {resample!r}, wanted one of {known}")
    # Hugging Face: (pixel * factor - mean) / std; ours: (pixel / 255 - mean) / std.
    factor = 255.0 * (_number(config, "rescale_factor") or 1 / 255) if config.get("do_rescale", True) else 255.0
    normalized = config.get("do_normalize", "image_mean" in config)
    mean, std = (_numbers(config, key) if normalized else [usual] for key, usual in (("mean", 0.0), ("std", 1.0)))
    found = {
        "input_size": size,
        "crop_pct": crop,
        "interpolation": None if resample is None else _FILTERS[resample],
        "mean": None if mean is None else [value / factor for value in mean],
        "std": None if std is None else [value / factor for value in std],
    }
    return {key: value for key, value in found.items() if value is not None}, notes


def _numbers(config: Mapping[str, Any], name: str) -> list[float] | None:
    value = config.get(f"image_{name}")
    if value is None:
        return None
    values = value if isinstance(value, list) else [value]
    return [_as_float(number, f"image_{name}") for number in values]


def _number(config: Mapping[str, Any], name: str) -> float | None:
    value = config.get(name)
    return None if value is None else _as_float(value, name)


def _as_float(value: Any, name: str) -> float:
    try:
        if isinstance(value, (int, float)):
            return float(value)
    except OverflowError:
        pass
    raise ScarletError(f"preprocessing: {name}: got {str(value)[:60]!r}, wanted a number")


def _size_and_crop(config: Mapping[str, Any]) -> tuple[list[int] | None, float | None, tuple[str, ...]]:
    """The size of the network's input, the share of the resized image that is cropped, and notes."""
    resized, cropped = (_sides(config, key) for key in ("size", "crop_size"))
    if config.get("do_center_crop") and cropped is not None:
        share = min(1.0, min(cropped) / min(resized)) if resized is not None and config.get("do_resize", True) else None
        return cropped, share, ()
    if resized is None:
        return None, None, ()
    shortest = isinstance(config.get("size"), int) or "shortest_edge" in (config.get("size") or {})
    if config.get("crop_pct") is not None or "ConvNext" in str(config.get("image_processor_type")):
        whole = min(resized) >= _LARGE_SIDE  # ConvNext's processor squashes large images instead of cropping them.
        return resized, 1.0 if whole else (_number(config, "crop_pct") or _WHOLE_CROP), ()
    if shortest and "ViT" not in str(config.get("image_processor_type", config.get("feature_extractor_type"))):
        return resized, 1.0, ()
    return resized, 1.0, ("images are stretched to the size by Hugging Face, and cropped to a square here",)


def _sides(config: Mapping[str, Any], key: str) -> list[int] | None:
    """Height and width of a size, which is a number, or an object with sides or with a shortest edge."""
    value = config.get(key)
    if value is None:
        return None
    if isinstance(value, Mapping):
        edge = value.get("shortest_edge")
        value = [edge, edge] if edge is not None else [value.get("height"), value.get("width")]
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) != 2 or not all(isinstance(side, int) and 0 < side < 2**31 for side in sides):
        raise ScarletError(
            f"preprocessing: {key}: got {str(config[key])[:60]}, wanted a side, height and width, or an edge"
        )
    return sides
