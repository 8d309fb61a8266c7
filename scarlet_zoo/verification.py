"""Does the file compute what the network computes: on photographs, on noise, at the edges."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.artifact import Artifact, read_artifact
from scarlet_zoo.errors import ArtifactError, ParityError
from scarlet_zoo.photos import photos
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
    max_rel_err=1e-4,
    rounding_factor=10.0,
    min_sqnr_db=90.0,
    min_top1_agreement=1.0,
    reason="float32 rounding: nine networks of the zoo and of timm, random weights, gave at most 7e-5 and at "
    "least 99 dB on photographs, and one block's weights off by 0.1 % gave at least 5e-2",
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
    cases = [
        case
        for name, ours, theirs in _cases(wanted, described, pictures)
        for case in _run_case(name, _answers(reference, ours), theirs, candidate, tolerance)
    ]
    parity = _summarise(cases, tolerance)
    if not parity.passed:
        failure = ParityError(f"{artifact.path}: differs from its source: {'; '.join(parity.failures())}")
        failure.parity = parity
        raise failure
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
    size = candidate.size or wanted.size
    return replace(wanted, size=size), replace(described or wanted, size=size)


class OnnxClassifier:
    """An ONNX classifier on ONNX Runtime's CPU provider.

    Raises:
        ArtifactError: the runtime does not load it, or it has other than one image input.
    """

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # The runtime's exceptions have no common base but Exception.
            reason = str(error).strip().split("\n")[0]
            raise ArtifactError(f"{path}: ONNX Runtime {ort.__version__} does not load it: {reason}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or len(outputs) != 1 or len(outputs[0].shape) != 2:
            raise ArtifactError(f"{path}: wanted a classifier, one input (N, C, H, W) and one output (N, classes)")
        self._name = inputs[0].name
        batch, _, height, width = inputs[0].shape
        self.dynamic_batch = not isinstance(batch, int)
        self.batch = 1 if self.dynamic_batch else int(batch)
        self.size = (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def logits(self, images: Array, batch: int) -> Logits:
        """Logits (N, classes) of images (N, C, H, W), run in batches; a last short batch is filled up."""
        parts = []
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            filled = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
            parts.append(self._session.run(None, {self._name: filled})[0][: len(part)])
        return np.concatenate(parts).astype(np.float64)


def _is_function(reference: object) -> bool:
    """Whether the reference is a plain function; asked without importing torch."""
    return not hasattr(reference, "state_dict")


def _torch_preprocessing(model: Any) -> Preprocessing:
    from scarlet_zoo.networks import preprocessing_of

    return preprocessing_of(model)


def _answers(reference: Any, images: Array) -> tuple[Logits, Logits | None]:
    """The truth, and the reference's own answer in its own dtype where it is a torch model."""
    if _is_function(reference):
        return np.asarray(reference(images), dtype=np.float64), None
    import torch

    double = copy.deepcopy(reference).eval().double()
    dtype = next(parameter.dtype for parameter in reference.parameters())
    with torch.inference_mode():
        truth = double(torch.from_numpy(images).double()).numpy()
        own = reference(torch.from_numpy(images).to(dtype)).double().numpy()
    return truth, own


def _cases(
    ours: Preprocessing, theirs: Preprocessing, pictures: Sequence[Image.Image]
) -> Iterator[tuple[str, Array, Array]]:
    """Name, images for the reference and images for the file; they differ for photographs only."""
    if ours.channels in (1, 3) and pictures:
        yield _PHOTOGRAPHS, ours.batch(pictures), theirs.batch(pictures)
    shape = (ours.channels, *ours.size)
    noise = np.random.default_rng(0).standard_normal((8, *shape)).astype(np.float32)
    yield "noise", noise, noise
    extremes = _extremes(shape)
    yield "extremes", extremes, extremes


def _extremes(shape: tuple[int, int, int]) -> Array:
    """Black, white, a checkerboard and one lit channel, a little beyond what normalised pixels can be."""
    black, white = np.full(shape, -3.0), np.full(shape, 3.0)
    checkerboard = 3.0 * (-1.0) ** np.add.outer(np.arange(shape[1]), np.arange(shape[2]))
    one_channel = np.zeros(shape)
    one_channel[0] = 3.0
    return np.stack([black, white, np.broadcast_to(checkerboard, shape), one_channel]).astype(np.float32)


def _run_case(
    name: str, answers: tuple[Logits, Logits | None], images: Array, candidate: OnnxClassifier, tolerance: Tolerance
) -> Iterator[CaseParity]:
    truth, own = answers
    between = float(np.mean(np.var(truth, axis=0)))  # variance between images, averaged over classes
    spread = between**0.5 or 1.0
    limit = tolerance.max_rel_err
    if own is not None:
        limit = max(limit, tolerance.rounding_factor * float(np.abs(own - truth).max()) / spread)
    elif name != _PHOTOGRAPHS:
        limit = float("inf")
    for batch in _BATCHES if candidate.dynamic_batch else (candidate.batch,):
        got = candidate.logits(images, batch)
        error = np.abs(got - truth)
        noise = float(np.mean(error**2))
        sqnr = 10 * np.log10(between / noise) if noise > 0 and between > 0 else float("inf")
        worst = float(error.max()) if np.isfinite(error).all() else float("inf")
        agree = float(np.mean(truth.argmax(1) == got.argmax(1)))
        yield CaseParity(f"{name}, batch {batch}", len(got), worst, worst / spread, float(sqnr), agree, limit)


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
