"""The difference between a file's outputs and its source's, and the tolerance for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scarlet_zoo.errors import CheckFailedError
from scarlet_zoo.latency import CPU


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far an exported network's outputs may differ from its source's, and why.

    Attributes:
        max_rel_err: largest allowed difference, relative to the spread of the logits between images.
        rounding_factor: a case may also differ by this many times the source's own rounding error
            on the same images, which is large where a network amplifies inputs unlike its training images.
        unlike_factor: noise and extreme images, which are unlike photographs, may differ by this many times
            ``max_rel_err``.
        min_sqnr_db: lowest allowed signal to noise ratio of the logits on photographs, in dB. Where the source
            differs from itself by rounding, a file may have 20 dB less than the source has.
        min_top1_agreement: lowest allowed share of the photographs for which both give the same top class.
        reason: where these numbers come from.
    """

    max_rel_err: float
    rounding_factor: float
    min_sqnr_db: float
    min_top1_agreement: float
    reason: str
    unlike_factor: float = 4.0


FLOAT32 = Tolerance(
    max_rel_err=5e-4,
    rounding_factor=10.0,
    min_sqnr_db=80.0,
    min_top1_agreement=1.0,
    reason="float32 rounding: nine networks of the zoo and of timm with random weights gave at most 5e-5 and at "
    "least 100 dB on photographs, 9e-4 on extreme images; one convolution's weights off by 0.1 % gave at least 1e-2 "
    "and at most 54 dB",
)

FLOAT16_WEIGHTS = Tolerance(
    max_rel_err=1.0,
    rounding_factor=1e5,
    min_sqnr_db=30.0,
    min_top1_agreement=0.9,
    reason="weights of 11 significant bits: scarlet_mini_s gave 58 dB on photographs, SCARLET-A, B and C with random "
    "weights, which amplify rounding, 40 to 42 dB, all with the same top classes",
)

FLOAT16 = Tolerance(
    max_rel_err=1.0,
    rounding_factor=1e5,
    min_sqnr_db=25.0,
    min_top1_agreement=0.9,
    reason="weights and activations of 11 significant bits: scarlet_mini_s gave 53 dB on photographs, networks of timm "
    "with random weights, which amplify rounding, 34 to 44 dB, all with the same top classes; a small network with its "
    "largest weight doubled in one of three layers gave less than 25 dB",
)

BFLOAT16 = Tolerance(
    max_rel_err=4.0,
    rounding_factor=1e5,
    min_sqnr_db=10.0,
    min_top1_agreement=0.5,
    reason="weights and activations of 8 significant bits: scarlet_mini_s gave 33 dB on photographs, "
    "mobilenetv3_small_100 with random weights, which amplify rounding, 20 dB, both with the same top classes",
)

INT8 = Tolerance(
    max_rel_err=10.0,
    rounding_factor=1e5,
    min_sqnr_db=3.0,
    min_top1_agreement=0.5,
    reason="8-bit grids: two trained networks gave 21 and 22 dB on photographs and the same top classes; six with "
    "random weights, whose logits hardly differ between images, 5 to 17 dB, at most 4.7 of relative error and 67 % of "
    "the same top classes; with one layer's weights halved or its bias dropped, or the colours swapped, they gave at "
    "most 2.1 dB",
)


_TOLERANCES = {"int8": INT8, "bfloat16": BFLOAT16, "float16": FLOAT16, "float16 weights": FLOAT16_WEIGHTS}


def tolerance_of(precision: str) -> Tolerance:
    """The tolerance for a file, by the ``precision`` in its metadata."""
    return _TOLERANCES.get(precision, FLOAT32)


def looser_of(precisions: Iterable[str]) -> Tolerance:
    """The tolerance for files that are compared with each other: that of the one with the lowest precision."""
    return max(map(tolerance_of, precisions), key=lambda tolerance: -tolerance.min_sqnr_db)


@dataclass(frozen=True, slots=True)
class CaseParity:
    """The difference between the two networks on one group of images in one batch size.

    Attributes:
        case: the images, the batch size and, where there are several, the output.
        images: number of images.
        max_abs_err, max_rel_err, sqnr_db, top1_agreement: as in :class:`Parity`.
        limit_rel_err: the largest ``max_rel_err`` allowed.
        limit_sqnr_db: the lowest ``sqnr_db`` allowed; None where it is not judged.
    """

    case: str
    images: int
    max_abs_err: float
    max_rel_err: float
    sqnr_db: float
    top1_agreement: float
    limit_rel_err: float
    limit_sqnr_db: float | None = None


@dataclass(frozen=True)
class Parity:
    """The difference between a file's outputs and its source's.

    The first four numbers are the worst over the batch sizes on photographs (on noise for a network whose
    input is not an image of 1 or 3 channels); those of noise and extreme images are in ``cases``.

    Attributes:
        max_abs_err: largest absolute difference of a logit.
        max_rel_err: the same, divided by the spread of the logits between the case's images (root mean
            square over the classes of their standard deviation).
        sqnr_db: 10 log10 of the logits' variance between images over the mean squared difference.
        top1_agreement: share of images with the same top class.
        passed: whether every case is within its limit, and the first four numbers within the tolerance.
        tolerance: the tolerance that was applied.
        cases: the numbers of every group of images and batch size.
        provider: execution provider of ONNX Runtime that an ONNX file ran on, with its options.
        provider_nodes: number of its nodes that ran on each provider; empty on the CPU, which runs all.
    """

    max_abs_err: float
    max_rel_err: float
    sqnr_db: float
    top1_agreement: float
    passed: bool
    tolerance: Tolerance
    cases: tuple[CaseParity, ...]
    provider: str = CPU
    provider_nodes: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

    def failures(self) -> list[str]:
        """The limits that do not hold, each in words with the number that was got and the one that was wanted."""
        failed = [
            f"{case.case}: relative error {case.max_rel_err:.1e}, at most {case.limit_rel_err:.1e}"
            for case in self.cases
            if not case.max_rel_err <= case.limit_rel_err
        ]
        low = [(case.sqnr_db - case.limit_sqnr_db, case) for case in self.cases
               if case.limit_sqnr_db is not None and not case.sqnr_db >= case.limit_sqnr_db]  # fmt: skip
        if low:
            worst = min(low, key=lambda pair: pair[0])[1]
            failed.append(f"SQNR {worst.sqnr_db:.0f} dB, at least {worst.limit_sqnr_db:.0f}")
        if not self.top1_agreement >= self.tolerance.min_top1_agreement:
            failed.append(
                f"top-1 agreement {self.top1_agreement:.1%}, at least {self.tolerance.min_top1_agreement:.1%}"
            )
        return failed


class ParityError(CheckFailedError):
    """An exported file does not compute what its source computes.

    Attributes:
        parity: the differences that were found.
    """

    def __init__(self, path: Path, parity: Parity) -> None:
        super().__init__(f"{path}: differs from its source: {'; '.join(parity.failures())}")
        self.parity = parity
