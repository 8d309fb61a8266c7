"""Does the file compute what the network computes: on photographs, on noise, at the edges."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.artifact import Artifact, read_artifact
from scarlet_zoo.errors import ArtifactError, CheckFailedError
from scarlet_zoo.onnx_runtime import OnnxClassifier
from scarlet_zoo.pictures import extremes, photos
from scarlet_zoo.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[np.float32]
Logits = NDArray[np.float64]
_PHOTOS, _PHOTOGRAPHS = 12, "photographs"
_BATCHES = (1, 3, 8)


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far an exported network may be from its source, and why so far.

    Attributes:
        max_rel_err: largest difference over the spread of the logits between images.
        rounding_factor: a case may also differ by this many times the source's own rounding error
            on the same images, which is large where a network amplifies what it never saw.
        min_sqnr_db: signal to noise ratio of the logits on photographs, in decibel.
        min_top1_agreement: share of the photographs on which both name the same class.
        reason: where the numbers come from.
    """

    max_rel_err: float
    rounding_factor: float
    min_sqnr_db: float
    min_top1_agreement: float
    reason: str


FLOAT32 = Tolerance(
    max_rel_err=5e-4,
    rounding_factor=10.0,
    min_sqnr_db=80.0,
    min_top1_agreement=1.0,
    reason="float32 rounding: nine networks of the zoo and of timm with random weights gave at most 7e-5 and at "
    "least 98 dB on photographs; one block's weights off by 0.1 % gave at least 2e-2 and at most 52 dB",
)


@dataclass(frozen=True, slots=True)
class CaseParity:
    """One group of images: what it is, how many, how far the two networks are apart, how far they may be."""

    case: str
    images: int
    max_abs_err: float
    max_rel_err: float
    sqnr_db: float
    top1_agreement: float
    limit_rel_err: float


@dataclass(frozen=True)
class Parity:
    """How far a file is from its source, in every case and, as the headline, on photographs.

    The headline is the worst over the batch sizes on photographs (on noise for a network that
    takes no pictures); noise and extreme images stand in ``cases``.

    Attributes:
        max_abs_err: largest difference of a logit.
        max_rel_err: the same over the spread of the logits between the case's images (root mean
            square over the classes of their standard deviation).
        sqnr_db: 10 log10 of the logits' variance between images over the mean squared difference.
        top1_agreement: share of images with the same top class.
        passed: whether every case is within its limit, and the headline within the tolerance.
    """

    max_abs_err: float
    max_rel_err: float
    sqnr_db: float
    top1_agreement: float
    passed: bool
    tolerance: Tolerance
    cases: tuple[CaseParity, ...]

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

    def failures(self) -> list[str]:
        """What does not hold, each with its two numbers."""
        told = [
            f"{case.case}: relative error {case.max_rel_err:.1e}, at most {case.limit_rel_err:.1e}"
            for case in self.cases
            if not case.max_rel_err <= case.limit_rel_err
        ]
        if not self.sqnr_db >= self.tolerance.min_sqnr_db:
            told.append(f"SQNR {self.sqnr_db:.0f} dB, at least {self.tolerance.min_sqnr_db:.0f}")
        if not self.top1_agreement >= self.tolerance.min_top1_agreement:
            told.append(f"top-1 agreement {self.top1_agreement:.1%}, at least {self.tolerance.min_top1_agreement:.1%}")
        return told


class ParityError(CheckFailedError):
    """An exported network that does not compute what its source computes.

    Attributes:
        parity: the numbers.
    """

    def __init__(self, path: Path, parity: Parity) -> None:
        super().__init__(f"{path}: differs from its source: {'; '.join(parity.failures())}")
        self.parity = parity


def verify(
    reference: nn.Module | Callable[[Array], Logits],
    artifact: Artifact | str | Path,
    images: Sequence[Image.Image] | None = None,
    tolerance: Tolerance = FLOAT32,
    *,
    preprocessing: Preprocessing | None = None,
) -> Parity:
    """Compare an ONNX file with the network it was made from.

    Photographs are prepared for each side by its own description, the network's and the file's,
    so a wrong mean in the file shows. A torch reference runs in float64, and in its own dtype to
    know its rounding error; of a function that error is not known, so only photographs decide.

    Args:
        reference: a torch model in eval mode, or a function from float32 images (N, C, H, W) to
            logits (N, classes).
        artifact: the file.
        images: pictures; a dozen photographs when left out.
        tolerance: what is still equal, with its reason.
        preprocessing: of the reference; timm's configuration of a torch model when left out.

    Raises:
        ParityError: the tolerance does not hold; its ``parity`` has the numbers.
        ArtifactError: the file is no classifier with one image input.
    """
    artifact = artifact if isinstance(artifact, Artifact) else read_artifact(Path(artifact))
    candidate = OnnxClassifier(artifact.path)
    wanted, described = _both_preprocessings(reference, artifact, preprocessing, candidate)
    pictures = list(images) if images is not None else photos(_PHOTOS)
    groups = list(_groups(reference, wanted, described, pictures))
    limits = _limits(groups, tolerance)
    cases = [case for group in groups for case in _run_group(group, candidate, limits[group.name])]
    parity = _summarise(cases, tolerance)
    if not parity.passed:
        raise ParityError(artifact.path, parity)
    return parity


def _both_preprocessings(
    reference: object, artifact: Artifact, given: Preprocessing | None, candidate: OnnxClassifier
) -> tuple[Preprocessing, Preprocessing]:
    """The reference's and the file's; the size is the one that the file takes."""
    described = artifact.preprocessing
    if given is None and not _is_function(reference):
        given = _torch_preprocessing(reference)
    wanted = given or described
    if wanted is None:
        raise ArtifactError(f"{artifact.path}: says nothing of its preprocessing, wanted it as an argument")
    if candidate.channels != wanted.channels:
        raise ArtifactError(f"{artifact.path}: takes {candidate.channels} channels, its source {wanted.channels}")
    size = candidate.size or wanted.size
    return replace(wanted, size=size), replace(described or wanted, size=size)


def _is_function(reference: object) -> bool:
    """Whether the reference is a plain function; asked without importing torch."""
    return not hasattr(reference, "state_dict")


def _torch_preprocessing(model: Any) -> Preprocessing:
    from scarlet_zoo.networks import preprocessing_of

    return preprocessing_of(model)


@dataclass(frozen=True)
class _Group:
    """Images for the file, the reference's logits for them, and what rounding alone does to those.

    ``spread`` is between images; ``rounding`` is relative to it, None where it is not known.
    """

    name: str
    images: Array
    truth: Logits
    spread: float
    rounding: float | None


def _groups(
    reference: Any, ours: Preprocessing, theirs: Preprocessing, pictures: Sequence[Image.Image]
) -> Iterator[_Group]:
    """Photographs, prepared for each side by its own description, then noise and extreme images."""
    if ours.channels in (1, 3) and pictures:
        yield _group(_PHOTOGRAPHS, reference, ours.batch(pictures), theirs.batch(pictures))
    shape = (ours.channels, *ours.size)
    noise = np.random.default_rng(0).standard_normal((8, *shape)).astype(np.float32)
    yield _group("noise", reference, noise, noise)
    edge = extremes(*shape)
    yield _group("extremes", reference, edge, edge)


def _group(name: str, reference: Any, ours: Array, theirs: Array) -> _Group:
    truth, own = _answers(reference, ours)
    # Variance between images, averaged over classes; a single image has none, so its own size serves.
    spread = float(np.mean(np.var(truth, axis=0))) ** 0.5 or float(np.abs(truth).max()) or 1.0
    rounding = None if own is None else float(np.abs(own - truth).max()) / spread
    return _Group(name, theirs, truth, spread, rounding)


def _answers(reference: Any, images: Array) -> tuple[Logits, Logits | None]:
    """The truth in float64, and a torch model's answer in float32, the precision of the file."""
    if _is_function(reference):
        return np.asarray(reference(images), dtype=np.float64), None
    import torch

    # On a copy: what is compared is the network in eval mode, and the caller's stays as it is.
    network = copy.deepcopy(reference).eval()
    with torch.inference_mode():
        own = network.float()(torch.from_numpy(images)).double().numpy()
        # The values that the reference has: float64 ones lose nothing, others gain nothing.
        truth = copy.deepcopy(reference).eval().double()(torch.from_numpy(images).double()).numpy()
    return truth, own


def _limits(groups: Sequence[_Group], tolerance: Tolerance) -> dict[str, float]:
    """Relative error allowed per group; noise and extremes share the larger of their rounding errors.

    On images unlike any it was trained on a network may amplify rounding, and one sample of that
    says little.
    """
    unlike = [group.rounding for group in groups if group.name != _PHOTOGRAPHS and group.rounding is not None]
    limits = {}
    for group in groups:
        if group.rounding is not None:
            rounding = group.rounding if group.name == _PHOTOGRAPHS else max(unlike)
            limits[group.name] = max(tolerance.max_rel_err, tolerance.rounding_factor * rounding)
        else:
            # Any finite answer will do where nothing is known of the reference's rounding.
            limits[group.name] = tolerance.max_rel_err if group is groups[0] else np.finfo(np.float64).max
    return limits


def _run_group(group: _Group, candidate: OnnxClassifier, limit: float) -> Iterator[CaseParity]:
    for batch in _BATCHES if candidate.dynamic_batch else (candidate.batch,):
        got = candidate.logits(group.images, batch)
        if got.shape != group.truth.shape:
            raise ArtifactError(
                f"{candidate.path}: gives logits {got.shape} for {len(got)} images, its source {group.truth.shape}"
            )
        error = np.abs(got - group.truth)
        noise = float(np.mean(error**2))
        sqnr = 10 * np.log10(group.spread**2 / noise) if noise > 0 else float("inf")
        worst = float(error.max()) if np.isfinite(error).all() else float("inf")
        agree = float(np.mean(group.truth.argmax(1) == got.argmax(1)))
        yield CaseParity(
            f"{group.name}, batch {batch}", len(got), worst, worst / group.spread, float(sqnr), agree, limit
        )


def _summarise(cases: Sequence[CaseParity], tolerance: Tolerance) -> Parity:
    headline = [case for case in cases if case.case.startswith(cases[0].case.partition(",")[0])]
    parity = Parity(
        max_abs_err=max(case.max_abs_err for case in headline),
        max_rel_err=max(case.max_rel_err for case in headline),
        sqnr_db=min(case.sqnr_db for case in headline),
        top1_agreement=min(case.top1_agreement for case in headline),
        passed=True,
        tolerance=tolerance,
        cases=tuple(cases),
    )
    return replace(parity, passed=not parity.failures())
