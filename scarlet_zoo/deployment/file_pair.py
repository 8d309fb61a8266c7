"""Two ONNX files that should compute the same, whichever exporters wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.deployment.image_feed import AnyPreprocessing, ImageFeed, feed_of
from scarlet_zoo.deployment.parity import Tolerance, looser_of
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.onnx_file import OnnxFile
from scarlet_zoo.graph.precision import precision_of
from scarlet_zoo.graph.provider import ON_CPU
from scarlet_zoo.graph.quantization.exact import network_as_written
from scarlet_zoo.graph.session import OnnxNetwork
from scarlet_zoo.latency import Provider

_IMAGES = ("tensor(float)", "tensor(float16)", "tensor(uint8)")


@dataclass(frozen=True)
class FilePair:
    """Two ONNX files that should compute the same.

    Attributes:
        file, source: the file that is verified, and the one that it is compared with.
        weights: where the source's weights come from, as its metadata say.
        feed, source_feed: how images are prepared for each of them.
        tolerance: the tolerance that fits the precision of both.
    """

    file: OnnxNetwork
    source: OnnxNetwork
    weights: str
    feed: ImageFeed
    source_feed: ImageFeed
    tolerance: Tolerance

    def answers(self, prepared: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        """All outputs of the source for images as ``source_feed`` prepares them (N, C, H, W), in the file's order."""
        taken = self.source_feed.preprocessing.restore(prepared) if self.source.takes_pixels else prepared
        outputs = self.source.run(taken, self.source.batch)
        ours, theirs = self.file.outputs, self.source.outputs
        # Outputs of the same names may stand in another order.
        same = sorted(ours) == sorted(theirs)
        return [outputs[theirs.index(name)] for name in ours] if same else outputs


def is_onnx_path(reference: str) -> bool:
    """Whether the name of a reference is the path of a file and not a network's name."""
    return reference.lower().endswith(".onnx") or Path(reference).is_file()


def takes_images(path: Path, shapes: Sequence[str] = ()) -> bool:
    """Whether a file's only input is images that we can prepare, so that :func:`pair_of` takes it.

    A file that is to be run on given shapes is compared as any other network.

    Raises:
        ArtifactError: the runtime cannot load the file.
    """
    file = OnnxFile(path)
    types, sides = list(file.types.values()), list(file.sides.values())
    return not shapes and len(sides) == 1 and len(sides[0]) == 4 and types[0] in _IMAGES


def tolerance_of_both(file: Path, source: Path) -> Tolerance:
    """The tolerance that fits the precision of both files."""
    return looser_of(map(precision_of, (file, source)))


def pair_of(
    file: Artifact | str | Path,
    source: str | Path,
    preprocessing: AnyPreprocessing | None = None,
    provider: Provider = ON_CPU,
) -> FilePair:
    """Open two files and choose their preprocessing, so that they can be compared.

    Each file is prepared for as its metadata say, so a wrong mean in one of them is found. Where one file says nothing,
    the other's preprocessing holds for both; where neither does, the one that is given, or else the usual one.

    Args:
        file: the file that is verified.
        source: the file that it is compared with.
        preprocessing: how images are prepared, for files whose metadata do not say it.
        provider: the execution provider that the file runs on; the source runs on the CPU.

    Raises:
        ArtifactError: a file is missing, cannot be run, or takes other images than the other one.
        ScarletError: the given preprocessing cannot be used.
    """
    artifacts = [file if isinstance(file, Artifact) else read_artifact(Path(file)), read_artifact(Path(source))]
    ours, theirs = network_as_written(artifacts[0].path, provider), network_as_written(artifacts[1].path)
    if ours.channels != theirs.channels or (None not in (ours.size, theirs.size) and ours.size != theirs.size):
        takes = [f"{network.channels} channels of {_by(network.size)}" for network in (ours, theirs)]
        raise ArtifactError(f"{ours.path}: takes {takes[0]}, but {theirs.path} takes {takes[1]}, wanted the same")
    first, second = (artifact.preprocessing for artifact in artifacts)
    # Settings are for files that say nothing, so they do not hide a wrong value in the metadata of the others.
    fixed = ours if ours.size is not None else theirs
    feeds = [feed_of(fixed, own or other, None if own or other else preprocessing)
             for own, other in ((first, second), (second, first))]  # fmt: skip
    tolerance = tolerance_of_both(artifacts[0].path, artifacts[1].path)
    return FilePair(ours, theirs, artifacts[1].weights, feeds[0], feeds[1], tolerance)


def _by(size: tuple[int, int] | None) -> str:
    return "any size" if size is None else f"{size[0]} x {size[1]} pixels"
