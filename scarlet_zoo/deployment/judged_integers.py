"""Judge an int8 file of any runtime on the calibration images that were set aside, as ``ort-int8`` is judged."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.graph.quantization.trial import compare_outputs, spread_of

if TYPE_CHECKING:
    from torch import nn

    from scarlet_zoo.deployment.runtimes.runner import OtherNetwork

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Judged:
    """How close an int8 file's outputs are to those of its network in float64.

    Attributes:
        sqnr_db: 10 log10 of an output's mean square over its mean square error; of several outputs the lowest.
        top1_agreement: share of the images with the same top class; None for a network that is no classifier.
        judged_on: ``held-out`` for images that calibration did not use, ``calibration`` if there are too few to set
            any aside.
        images: number of images that it was judged on.
        calibrated_on: number of images that it was calibrated on.
        spread: standard deviation of an output between images over its root mean square, the smallest of all outputs.
    """

    sqnr_db: float
    top1_agreement: float | None
    judged_on: str
    images: int
    calibrated_on: int
    spread: float

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def judge_integers(model: nn.Module, file: OtherNetwork, calibration: Images, judged: Images) -> Judged:
    """Compare an int8 file's outputs with those of its network, computed in float64.

    Args:
        model: the network, in eval mode.
        file: the file.
        calibration: the images that it was calibrated on, float32 (N, C, H, W).
        judged: the images to judge it on.
    """
    import torch

    exact = copy.deepcopy(model).eval().double()
    with torch.inference_mode():
        given = [exact(torch.from_numpy(judged[place : place + 1]).double()) for place in range(len(judged))]
    rows = [row if isinstance(row, (list, tuple)) else [row] for row in given]
    truths = [np.concatenate([part.numpy() for part in column]) for column in zip(*rows, strict=True)]
    # What is no number is as far away as can be.
    outputs = [np.nan_to_num(output, nan=1e30) for output in file.run(judged, file.batch)]
    found = compare_outputs(truths, outputs)
    where = "calibration" if calibration is judged else "held-out"
    return Judged(float(found["sqnr_db"] or 0.0), found["top1_agreement"], where, len(judged), len(calibration),
                  min(map(spread_of, truths)))  # fmt: skip
