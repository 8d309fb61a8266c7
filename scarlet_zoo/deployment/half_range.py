"""Find out before a file is written in float16 whether the network's values fit into it, on inputs of its kind."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.deployment.file_inputs import input_groups
from scarlet_zoo.errors import CheckFailedError, ScarletWarning
from scarlet_zoo.graph.half import LARGEST, SMALLEST_NORMAL, Peak, peaks, weights_below, weights_beyond
from scarlet_zoo.graph.load import read_onnx
from scarlet_zoo.graph.onnx_file import OnnxFile

_NAMED = 5
# How much larger a sum may be on other inputs than on those that are tried here.
_ROOM = 4.0
Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class HalfRange:
    """The largest values that a network computes, of the 65,504 that float16 holds.

    Attributes:
        largest: the largest magnitude of all layers, on the inputs that the network is used on.
        layer: the layer that gives it.
        inputs: what those inputs are, in words.
        beyond: layers that give more than 65,504 on noise or extreme images.
        sums: means that add up to more than a quarter of 65,504 before they divide, on any of the inputs.
        small_weights: constants all of whose values float16 keeps with fewer than 11 bits.
    """

    largest: float
    layer: str
    inputs: str
    beyond: tuple[str, ...]
    sums: tuple[str, ...]
    small_weights: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def check_range(
    source: Path,
    shown: Path,
    described: Preprocessing | None,
    more: NDArray[np.float32] | None = None,
    *,
    shapes: Sequence[str] = (),
    sums_kept: bool = False,
) -> HalfRange:
    """Run a float32 file, and refuse float16 where a layer gives more than it holds on inputs of the network's kind.

    What only noise and extreme images do is told in a warning.

    Args:
        source: the ONNX file.
        shown: the path of the file to be written, for messages.
        described: how its images are prepared; None if that is not known.
        more: further images that it is used on, float32 (N, C, H, W), such as calibration images.
        shapes: shapes of inputs with dynamic sides, such as ``1,3,48,320``.
        sums_kept: whether large means will be computed in float32, so that nothing is to be told of their sums.

    Raises:
        CheckFailedError: a weight, or a layer's output on these inputs, is beyond 65,504; the message names the layers.
        ArtifactError: the file cannot be run, or a dynamic side is not given.
    """
    model = read_onnx(source)
    if large := weights_beyond(model):
        raise _too_large(shown, "of its weights", [f"{name} {_number(size)}" for name, size in large.items()])
    file = OnnxFile(source)
    names = list(file.types)
    found, unlike, large_sums = list[Peak](), dict[str, str](), dict[str, str]()
    used = ""
    for number, group in enumerate(input_groups(file, file.shapes(shapes), described)):
        runs = next(iter(group.runs.values()))
        images = [] if more is None or number else list(_one_by_one(names[0], more))
        seen = peaks(source, [*runs, *images])
        large_sums |= {peak.node: peak.label for peak in seen if peak.added > LARGEST / _ROOM}
        if number:
            unlike |= {peak.node: peak.label for peak in seen if peak.largest > LARGEST}
        else:
            found = seen
            used = f"{len(runs)} {group.name}" + (f" and {len(images)} calibration images" if images else "")
    if beyond := [peak for peak in found if peak.largest > LARGEST]:
        layers = [f"{peak.label} ({peak.operator}) {_number(peak.largest)}" for peak in beyond]
        raise _too_large(shown, f"of its {len(found)} layers on {used}", layers)
    top = max(found, key=lambda peak: peak.largest, default=Peak("", "", ""))
    told = HalfRange(top.largest, top.label, used, tuple(unlike.values()), tuple(large_sums),
                     tuple(weights_below(model)))  # fmt: skip
    _warn(shown, told, [] if sums_kept else [peak.label for peak in found if peak.added > LARGEST])
    return told


def _one_by_one(name: str, images: NDArray[np.float32]) -> Iterator[Feeds]:
    return ({name: images[place : place + 1]} for place in range(len(images)))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value < 1e9 else f"{value:.1e}"


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{rest}"


def _too_large(shown: Path, where: str, names: Sequence[str]) -> CheckFailedError:
    return CheckFailedError(
        f"{shown}: float16 holds values up to 65,504; larger are {len(names)} {where}: {_listed(names)}; wanted a "
        "network of smaller values, or --precision fp32 (bf16 for OpenVINO)"
    )


def _warn(shown: Path, told: HalfRange, sums: Sequence[str]) -> None:
    lines: list[tuple[Sequence[str], Callable[[str], str]]] = [
        (told.beyond, lambda names: f"on noise or extreme images float16 overflows in {names}"),
        (sums, lambda names: f"a runtime that adds in float16 overflows in the sum of {names}"),
        (told.small_weights,
         lambda names: f"float16 keeps few bits of these constants, all below {SMALLEST_NORMAL:.0e}: {names}"),
    ]  # fmt: skip
    for names, line in lines:
        if names:
            warnings.warn(f"{shown}: {line(_listed(names))}", ScarletWarning, stacklevel=3)
