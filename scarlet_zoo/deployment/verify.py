"""Verify that a file computes what its network computes, on photographs, noise and extreme images."""

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
from scarlet_zoo.deployment.compare_files import compare_files
from scarlet_zoo.deployment.file_pair import FilePair, is_onnx_path, pair_of, takes_images, tolerance_of_both
from scarlet_zoo.deployment.image_feed import AnyPreprocessing, feed_of
from scarlet_zoo.deployment.judging import Rounding, case_of, rounding_of, spread_of, sqnr_limit, summarise
from scarlet_zoo.deployment.parity import CaseParity, Parity, Tolerance, tolerance_of
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.precision import stated_precision
from scarlet_zoo.graph.provider import as_provider
from scarlet_zoo.graph.quantization.exact import network_as_written
from scarlet_zoo.graph.session import OnnxNetwork
from scarlet_zoo.latency import Provider

if TYPE_CHECKING:
    from torch import nn
from scarlet_zoo.deployment.parity import ParityError

Array = NDArray[np.float32]
Logits = NDArray[np.float64]
# From images to a reference's outputs, (N, values) each: in float64 and, where it is known, in the file's precision.
_Answering = Callable[[Array], tuple[list[Logits], list[Logits] | None]]
_PHOTOS, _PHOTOGRAPHS = 12, "photographs"
_BATCHES = (1, 3, 8)


def verify(
    reference: nn.Module | Callable[[Array], Logits | list[Logits]] | FilePair | str | Path | None,
    artifact: Artifact | str | Path,
    images: Sequence[Image.Image] | None = None,
    tolerance: Tolerance | None = None,
    *,
    preprocessing: AnyPreprocessing | None = None,
    weights: str | None = None,
    shapes: Sequence[str] = (),
    provider: Provider | str | None = None,
) -> Parity:
    """Compare an ONNX file with the network it was made from, or with another file.

    Photographs are prepared for the network as it describes its preprocessing, and for the file as the file
    does, so a wrong mean in the file is found. A torch reference runs in float64, and also in float32 to measure
    its rounding error. The rounding error of a function is not known, so it is judged on photographs only. A file of
    integers that this processor's kernels do not compute exactly is run in exact integer arithmetic, with a warning:
    the file is judged, not the processor.

    Args:
        reference: a torch model in eval mode, or a function from float32 images (N, C, H, W) to
            logits (N, classes), or to a list of outputs, each of which is compared. Or the network's name; the path of
            another ONNX file of any exporter, or both files from :func:`scarlet_zoo.deployment.file_pair.pair_of`;
            None for the network that the file names.
        artifact: the file.
        images: images to compare on; a dozen photographs when left out.
        tolerance: the largest differences allowed; those of the file's precision when left out.
        preprocessing: the reference's preprocessing; timm's configuration of a torch model when left out. Of two
            files, that of those that do not describe it; the usual one when left out.
        weights: weights of a named network, as for :func:`scarlet_zoo.models.loading.load_network`; as the
            file says when left out.
        shapes: of two files, the shapes of inputs with dynamic sides, such as ``NAME=1,3,48,320``.
        provider: execution provider of ONNX Runtime that the file runs on, such as ``XNNPACK``; the CPU when left out.
            Its source runs on the CPU.

    Raises:
        ParityError: the differences are larger than the tolerance; its ``parity`` has the numbers.
        ArtifactError: the file's input or outputs have other shapes than its source's.
    """
    artifact = artifact if isinstance(artifact, Artifact) else read_artifact(Path(artifact))
    where = as_provider(provider)
    preprocessing = preprocessing or artifact.given_preprocessing
    if isinstance(reference, Path) or (isinstance(reference, str) and is_onnx_path(reference)):
        reference = Path(reference)
        if not (takes_images(artifact.path, shapes) and takes_images(reference, shapes)):
            limits = tolerance or tolerance_of_both(artifact.path, reference)
            return compare_files(reference, artifact.path, shapes=shapes, tolerance=limits, inner=False, provider=where)
        reference = pair_of(artifact, reference, preprocessing, where)
    if isinstance(reference, FilePair):
        ours, theirs = reference.source_feed.preprocessing, reference.feed.preprocessing
        limits, in_pixels = tolerance or reference.tolerance, reference.source.takes_pixels
        return compare_networks(reference.answers, reference.file, images, limits, described=theirs,
                                preprocessing=ours, in_pixels=in_pixels)  # fmt: skip
    if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
        preprocessing = feed_of(OnnxNetwork(artifact.path), artifact.preprocessing, preprocessing).preprocessing
    if reference is None or isinstance(reference, str):
        from scarlet_zoo.deployment.source import source_network

        network = source_network(artifact, reference, weights)
        reference, preprocessing = network.model, preprocessing or network.preprocessing
    return compare_networks(
        reference,
        network_as_written(artifact.path, where),
        images,
        tolerance or tolerance_of(stated_precision(artifact)),
        described=artifact.preprocessing,
        preprocessing=preprocessing,
    )


class Candidate(Protocol):
    """A file on any runtime, with the attributes of :class:`scarlet_zoo.graph.session.OnnxNetwork`."""

    path: Path
    outputs: list[str]
    channels: int
    size: tuple[int, int] | None
    takes_pixels: bool
    dynamic_batch: bool
    batch: int

    def feed(self, preprocessing: Preprocessing, images: Sequence[Image.Image], /) -> NDArray[Any]:
        """Prepare images as an input of this network."""

    def run(self, images: NDArray[Any], batch: int) -> list[Logits]:
        """All outputs for N images, each (N, ...)."""


def compare_networks(
    reference: nn.Module | Callable[[Array], Logits | list[Logits]],
    candidate: Candidate,
    images: Sequence[Image.Image] | None,
    tolerance: Tolerance,
    *,
    described: Preprocessing | None,
    preprocessing: Preprocessing | None,
    in_pixels: bool = False,
) -> Parity:
    """Compare a file of any runtime with the network it was made from, as :func:`verify` does.

    Args:
        reference, images, tolerance, preprocessing: as for :func:`verify`.
        candidate: the file's network.
        described: the preprocessing that the file describes.
        in_pixels: whether the reference rounds its input to pixels, so that all images must be of pixels.

    Raises:
        ParityError: the differences are larger than the tolerance.
        ArtifactError: the candidate's input or outputs have other shapes than its source's.
    """
    wanted, theirs = _both_preprocessings(reference, described, preprocessing, candidate)
    photographs = list(images) if images is not None else photos(_PHOTOS)
    groups = list(_groups(_answering(reference), wanted, theirs, photographs, candidate, in_pixels))
    limits = _limits(groups, tolerance)
    cases = [
        case
        for group in groups
        for case in _run_group(group, candidate, limits[group.name], tolerance, headline=group is groups[0])
    ]
    parity = summarise(cases, tolerance)
    if isinstance(candidate, OnnxNetwork):
        parity = replace(parity, provider=str(candidate.provider), provider_nodes=dict(candidate.provider_nodes))
    if not parity.passed:
        raise ParityError(candidate.path, parity)
    return parity


def _both_preprocessings(
    reference: object, described: Preprocessing | None, given: Preprocessing | None, candidate: Candidate
) -> tuple[Preprocessing, Preprocessing]:
    """The preprocessing of the reference and that of the file, both of the size that the file takes."""
    if given is None and not _is_function(reference):
        given = _torch_preprocessing(reference)
    wanted = given or described
    if wanted is None:
        raise ArtifactError(f"{candidate.path}: does not describe its preprocessing, wanted it as an argument")
    if candidate.channels != wanted.channels:
        raise ArtifactError(f"{candidate.path}: takes {candidate.channels} channels, its source {wanted.channels}")
    size = candidate.size or wanted.size
    return replace(wanted, size=size), replace(described or wanted, size=size)


def _is_function(reference: object) -> bool:
    """Whether the reference is a plain function; found out without importing torch."""
    return not hasattr(reference, "state_dict")


def _torch_preprocessing(model: Any) -> Preprocessing:
    from scarlet_zoo.models.loading import preprocessing_of

    return preprocessing_of(model)


@dataclass(frozen=True)
class _Group:
    """A group of images with the reference's outputs for them, and the rounding errors of those.

    Each list has one entry for each output. ``images`` are prepared for the file, ``truths`` are (N, values),
    ``spreads`` are standard deviations between images, and ``roundings`` are None where they are not known.
    """

    name: str
    images: NDArray[Any]
    truths: list[Logits]
    spreads: list[float]
    roundings: list[Rounding | None]


def _groups(
    answer: _Answering,
    ours: Preprocessing,
    theirs: Preprocessing,
    photographs: Sequence[Image.Image],
    candidate: Candidate,
    in_pixels: bool,
) -> Iterator[_Group]:
    """Groups of photographs, prepared with each side's own preprocessing, of noise, and of extreme images."""
    if ours.channels in (1, 3) and photographs:
        yield _group(_PHOTOGRAPHS, answer, ours.batch(photographs), candidate.feed(theirs, photographs))
    random, shape = np.random.default_rng(0), (ours.channels, *ours.size)
    if candidate.takes_pixels or in_pixels:
        noise = random.integers(0, 256, (8, *ours.size, ours.channels), dtype=np.uint8)
        edge = (extremes(*shape).transpose(0, 2, 3, 1) > 0).astype(np.uint8) * np.uint8(255)
        for name, pixels in (("noise", noise), ("extremes", edge)):
            taken = pixels if candidate.takes_pixels else theirs.normalize(pixels)
            yield _group(name, answer, ours.normalize(pixels), taken)
    else:
        for name, images in (("noise", random.standard_normal((8, *shape)).astype(np.float32)),
                             ("extremes", extremes(*shape))):  # fmt: skip
            yield _group(name, answer, images, images)


def _group(name: str, answer: _Answering, ours: Array, theirs: NDArray[Any]) -> _Group:
    truths, own = answer(ours)
    spreads = [spread_of(truth) for truth in truths]
    if own is None:
        return _Group(name, theirs, truths, spreads, [None] * len(truths))
    roundings = [rounding_of(t, [o], s) for o, t, s in zip(own, truths, spreads, strict=True)]
    return _Group(name, theirs, truths, spreads, list(roundings))


def _answering(reference: Any) -> _Answering:
    """A function of images that gives the reference's outputs in float64 and, of a torch model, also in float32."""
    if _is_function(reference):
        return lambda images: (_flat([np.asarray(output, np.float64) for output in _listed(reference(images))]), None)
    import torch

    # Copies in eval mode, so that the caller's network is not changed; the exact one is of the reference itself and not
    # of its float32 copy, so that float64 weights lose nothing.
    own, exact = _in_eval_mode_and_float32(reference), copy.deepcopy(reference).eval().double()

    def answer(images: Array) -> tuple[list[Logits], list[Logits]]:
        given = torch.from_numpy(images)
        with torch.inference_mode():
            truths, answers = exact(given.double()), own(given)
        return _flat([truth.numpy() for truth in _listed(truths)]), _flat(
            [answer.double().numpy() for answer in _listed(answers)]
        )

    return answer


def _in_eval_mode_and_float32(model: nn.Module) -> nn.Module:
    """The model itself if it is so, else a copy."""
    import torch

    tensors = (*model.parameters(), *model.buffers())
    fits = all(tensor.dtype == torch.float32 for tensor in tensors if tensor.is_floating_point())
    if fits and not any(module.training for module in model.modules()):
        return model
    return copy.deepcopy(model).eval().float()


def _listed(outputs: Any) -> Sequence[Any]:
    return outputs if isinstance(outputs, (list, tuple)) else [outputs]


def _flat(outputs: Sequence[NDArray[Any]]) -> list[Logits]:
    return [output.reshape(len(output), -1) for output in outputs]


def _limits(groups: Sequence[_Group], tolerance: Tolerance) -> dict[str, list[float]]:
    """The relative error allowed for each group and output.

    Noise and extreme images share the larger of their rounding errors: on images unlike its training images a
    network may amplify rounding, and one group alone gives a poor estimate of it.
    """
    limits: dict[str, list[float]] = {}
    for group in groups:
        limits[group.name] = []
        for output, rounding in enumerate(group.roundings):
            if rounding is None:
                # Where the reference's rounding error is not known, only photographs have a limit.
                limit = tolerance.max_rel_err if group is groups[0] else float(np.finfo(np.float64).max)
            else:
                alike = [group] if group.name == _PHOTOGRAPHS else [g for g in groups if g.name != _PHOTOGRAPHS]
                worst = max(own.rel_err for g in alike if (own := g.roundings[output]) is not None)
                least = tolerance.max_rel_err * (1.0 if group.name == _PHOTOGRAPHS else tolerance.unlike_factor)
                # A source that overflows on photographs has no right answers that a file could be allowed to miss.
                known = worst if np.isfinite(worst) or group.name != _PHOTOGRAPHS else 0.0
                limit = max(least, tolerance.rounding_factor * known)
            limits[group.name].append(limit)
    return limits


def _run_group(
    group: _Group, candidate: Candidate, limits: Sequence[float], tolerance: Tolerance, *, headline: bool
) -> Iterator[CaseParity]:
    for batch in _BATCHES if candidate.dynamic_batch else (candidate.batch,):
        given = candidate.run(group.images, batch)
        outputs = _flat(given)
        if [output.shape for output in outputs] != [truth.shape for truth in group.truths]:
            got, wanted = ([array.shape for array in arrays] for arrays in (outputs, group.truths))
            raise ArtifactError(
                f"{candidate.path}: got outputs of shapes {got}, wanted its source's {wanted} (images, values)"
            )
        # A map has no top class, nor have several outputs one.
        logits = len(given) == 1 and given[0].ndim == 2
        for position, (output, truth) in enumerate(zip(outputs, group.truths, strict=True)):
            name = f"{group.name}, batch {batch}"
            if len(outputs) > 1:
                name += f", {candidate.outputs[position]}"
            rounding = group.roundings[position]
            least_db = sqnr_limit(tolerance, rounding) if headline else None
            yield case_of(name, output, truth, group.spreads[position], limits[position], logits=logits,
                          rounding=rounding, min_sqnr_db=least_db)  # fmt: skip
