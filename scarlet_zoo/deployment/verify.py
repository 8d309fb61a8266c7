"""Does the file compute what the network computes: on photographs, on noise, at the edges."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import extremes, photos
from scarlet_zoo.deployment.parity import CaseParity, Parity, Tolerance, tolerance_of
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.session import OnnxNetwork

if TYPE_CHECKING:
    from torch import nn
from scarlet_zoo.deployment.parity import ParityError

Array = NDArray[np.float32]
Logits = NDArray[np.float64]
_PHOTOS, _PHOTOGRAPHS = 12, "photographs"
_BATCHES = (1, 3, 8)


def verify(
    reference: nn.Module | Callable[[Array], Logits | list[Logits]] | str | None,
    artifact: Artifact | str | Path,
    images: Sequence[Image.Image] | None = None,
    tolerance: Tolerance | None = None,
    *,
    preprocessing: Preprocessing | None = None,
    weights: str | None = None,
) -> Parity:
    """Compare an ONNX file with the network it was made from.

    Photographs are prepared for each side by its own description, the network's and the file's,
    so a wrong mean in the file shows. A torch reference runs in float64, and in its own dtype to
    know its rounding error; of a function that error is not known, so only photographs decide.

    Args:
        reference: a torch model in eval mode, or a function from float32 images (N, C, H, W) to
            logits (N, classes), or to a list of outputs; of a feature extractor every output is compared. Or the
            network's name; None for the one that the file names.
        artifact: the file.
        images: pictures; a dozen photographs when left out.
        tolerance: what is still equal, with its reason; that of the file's precision when left out.
        preprocessing: of the reference; timm's configuration of a torch model when left out.
        weights: of a name, as for :func:`scarlet_zoo.models.loading.load_network`; as the file says when left out.

    Raises:
        ParityError: the tolerance does not hold; its ``parity`` has the numbers.
        ArtifactError: the file's input or outputs are not its source's.
    """
    artifact = artifact if isinstance(artifact, Artifact) else read_artifact(Path(artifact))
    if reference is None or isinstance(reference, str):
        from scarlet_zoo.deployment.source import source_network

        network = source_network(artifact, reference, weights)
        reference, preprocessing = network.model, preprocessing or network.preprocessing
    return compare_networks(
        reference,
        OnnxNetwork(artifact.path),
        images,
        tolerance or tolerance_of(artifact.precision),
        described=artifact.preprocessing,
        preprocessing=preprocessing,
    )


class Candidate(Protocol):
    """A network on any runtime, as :class:`scarlet_zoo.graph.session.OnnxNetwork` is one."""

    path: Path
    outputs: list[str]
    channels: int
    size: tuple[int, int] | None
    takes_pixels: bool
    dynamic_batch: bool
    batch: int

    def feed(self, preprocessing: Preprocessing, pictures: Sequence[Image.Image]) -> NDArray[Any]:
        """Pictures as its input."""

    def run(self, images: NDArray[Any], batch: int) -> list[Logits]:
        """All outputs for N images."""


def compare_networks(
    reference: nn.Module | Callable[[Array], Logits | list[Logits]],
    candidate: Candidate,
    images: Sequence[Image.Image] | None,
    tolerance: Tolerance,
    *,
    described: Preprocessing | None,
    preprocessing: Preprocessing | None,
) -> Parity:
    """What :func:`verify` does, for a network on any runtime.

    Args:
        reference, images, tolerance, preprocessing: as there.
        candidate: the network.
        described: what its file says of its preprocessing.

    Raises:
        ParityError: the tolerance does not hold.
        ArtifactError: the candidate's input or outputs are not its source's.
    """
    wanted, theirs = _both_preprocessings(reference, described, preprocessing, candidate)
    pictures = list(images) if images is not None else photos(_PHOTOS)
    groups = list(_groups(reference, wanted, theirs, pictures, candidate))
    limits = _limits(groups, tolerance)
    cases = [case for group in groups for case in _run_group(group, candidate, limits[group.name])]
    parity = _summarise(cases, tolerance)
    if not parity.passed:
        raise ParityError(candidate.path, parity)
    return parity


def _both_preprocessings(
    reference: object, described: Preprocessing | None, given: Preprocessing | None, candidate: Candidate
) -> tuple[Preprocessing, Preprocessing]:
    """The reference's and the file's; the size is the one that the file takes."""
    if given is None and not _is_function(reference):
        given = _torch_preprocessing(reference)
    wanted = given or described
    if wanted is None:
        raise ArtifactError(f"{candidate.path}: says nothing of its preprocessing, wanted it as an argument")
    if candidate.channels != wanted.channels:
        raise ArtifactError(f"{candidate.path}: takes {candidate.channels} channels, its source {wanted.channels}")
    size = candidate.size or wanted.size
    return replace(wanted, size=size), replace(described or wanted, size=size)


def _is_function(reference: object) -> bool:
    """Whether the reference is a plain function; asked without importing torch."""
    return not hasattr(reference, "state_dict")


def _torch_preprocessing(model: Any) -> Preprocessing:
    from scarlet_zoo.models.loading import preprocessing_of

    return preprocessing_of(model)


@dataclass(frozen=True)
class _Group:
    """Images for the file, the reference's outputs for them, and what rounding alone does to those.

    One entry an output: ``truths`` are (N, values), ``spreads`` between images, ``roundings``
    relative to the spread, None where they are not known.
    """

    name: str
    images: NDArray[Any]
    truths: list[Logits]
    spreads: list[float]
    roundings: list[float | None]


def _groups(
    reference: Any,
    ours: Preprocessing,
    theirs: Preprocessing,
    pictures: Sequence[Image.Image],
    candidate: Candidate,
) -> Iterator[_Group]:
    """Photographs, prepared for each side by its own description, then noise and extreme images."""
    if ours.channels in (1, 3) and pictures:
        yield _group(_PHOTOGRAPHS, reference, ours.batch(pictures), candidate.feed(theirs, pictures))
    random, shape = np.random.default_rng(0), (ours.channels, *ours.size)
    if candidate.takes_pixels:
        noise = random.integers(0, 256, (8, *ours.size, ours.channels), dtype=np.uint8)
        edge = (extremes(*shape).transpose(0, 2, 3, 1) > 0).astype(np.uint8) * np.uint8(255)
        yield _group("noise", reference, ours.normalize(noise), noise)
        yield _group("extremes", reference, ours.normalize(edge), edge)
    else:
        for name, images in (("noise", random.standard_normal((8, *shape)).astype(np.float32)),
                             ("extremes", extremes(*shape))):  # fmt: skip
            yield _group(name, reference, images, images)


def _group(name: str, reference: Any, ours: Array, theirs: NDArray[Any]) -> _Group:
    truths, own = _answers(reference, ours)
    # Variance between images, averaged over values; a single image has none, so its own size serves.
    spreads = [float(np.mean(np.var(t, axis=0))) ** 0.5 or float(np.abs(t).max()) or 1.0 for t in truths]
    if own is None:
        return _Group(name, theirs, truths, spreads, [None] * len(truths))
    roundings = [float(np.abs(o - t).max()) / s for o, t, s in zip(own, truths, spreads, strict=True)]
    return _Group(name, theirs, truths, spreads, list(roundings))


def _answers(reference: Any, images: Array) -> tuple[list[Logits], list[Logits] | None]:
    """The truth in float64, and a torch model's answer in float32, the precision of the file; flat for each image."""
    if _is_function(reference):
        given = reference(images)
        return _flat([np.asarray(o, dtype=np.float64) for o in (given if isinstance(given, list) else [given])]), None
    import torch

    # On a copy: what is compared is the network in eval mode, and the caller's stays as it is.
    network = copy.deepcopy(reference).eval()
    with torch.inference_mode():
        own = network.float()(torch.from_numpy(images))
        # The values that the reference has: float64 ones lose nothing, others gain nothing.
        truth = copy.deepcopy(reference).eval().double()(torch.from_numpy(images).double())
    several = isinstance(truth, (list, tuple))
    return _flat([t.numpy() for t in (truth if several else [truth])]), _flat(
        [o.double().numpy() for o in (own if several else [own])]
    )


def _flat(outputs: Sequence[NDArray[Any]]) -> list[Logits]:
    return [output.reshape(len(output), -1) for output in outputs]


def _limits(groups: Sequence[_Group], tolerance: Tolerance) -> dict[str, list[float]]:
    """Relative error allowed per group and output; noise and extremes share the larger of their rounding errors.

    On images unlike any it was trained on a network may amplify rounding, and one sample of that
    says little.
    """
    limits: dict[str, list[float]] = {}
    for group in groups:
        limits[group.name] = []
        for output, rounding in enumerate(group.roundings):
            if rounding is None:
                # Any finite answer will do where nothing is known of the reference's rounding.
                limit = tolerance.max_rel_err if group is groups[0] else float(np.finfo(np.float64).max)
            else:
                alike = [group] if group.name == _PHOTOGRAPHS else [g for g in groups if g.name != _PHOTOGRAPHS]
                worst = max(g.roundings[output] or 0.0 for g in alike)
                least = tolerance.max_rel_err * (1.0 if group.name == _PHOTOGRAPHS else tolerance.unlike_factor)
                limit = max(least, tolerance.rounding_factor * worst)
            limits[group.name].append(limit)
    return limits


def _run_group(group: _Group, candidate: Candidate, limits: Sequence[float]) -> Iterator[CaseParity]:
    for batch in _BATCHES if candidate.dynamic_batch else (candidate.batch,):
        outputs = _flat(candidate.run(group.images, batch))
        if [output.shape for output in outputs] != [truth.shape for truth in group.truths]:
            got, wanted = ([array.shape for array in arrays] for arrays in (outputs, group.truths))
            raise ArtifactError(f"{candidate.path}: gives outputs of {got}, its source of {wanted} (images, values)")
        for position, (output, truth) in enumerate(zip(outputs, group.truths, strict=True)):
            name = f"{group.name}, batch {batch}"
            if len(outputs) > 1:
                name += f", {candidate.outputs[position]}"
            yield _case(name, output, truth, group.spreads[position], limits[position], logits=len(outputs) == 1)


def _case(name: str, got: Logits, truth: Logits, spread: float, limit: float, *, logits: bool) -> CaseParity:
    error = np.abs(got - truth)
    noise = float(np.mean(error**2))
    sqnr = 10 * np.log10(spread**2 / noise) if noise > 0 else float("inf")
    worst = float(error.max()) if np.isfinite(error).all() else float("inf")
    # A feature map names no class.
    agree = float(np.mean(truth.argmax(1) == got.argmax(1))) if logits else 1.0
    return CaseParity(name, len(got), worst, worst / spread, float(sqnr), agree, limit)


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
