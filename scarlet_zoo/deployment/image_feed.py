"""How images are prepared for an ONNX file: as its metadata say, as someone says, or as is usual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_zoo.data.given_preprocessing import GivenPreprocessing, read_preprocessing
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.deployment.file_inputs import usual_preprocessing
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.session import OnnxNetwork

GIVEN, METADATA, ASSUMED = "given", "metadata", "assumed"
_ASSUMED_SIZE = (224, 224)  # of a file that takes any size
# What the argument ``preprocessing`` of the verbs takes.
AnyPreprocessing = Preprocessing | str | Path | Mapping[str, Any]


@dataclass(frozen=True)
class ImageFeed:
    """The preprocessing that is used for a file, and who says so.

    Attributes:
        preprocessing: how images are prepared, of the channels and size that the file takes.
        origin: ``given`` by the caller, ``metadata`` of the file, or ``assumed``.
        notes: sentences about what was given and is not done.
    """

    preprocessing: Preprocessing
    origin: str
    notes: tuple[str, ...] = ()

    def remarks(self, file: str | Path) -> list[str]:
        """What a user should know about this choice, one line each; none if the file or the user said it all."""
        said = [f"{file}: {note}" for note in self.notes]
        if self.origin == ASSUMED:
            said.append(
                f"{file}: its metadata do not say how images are prepared, so this is assumed: "
                f"{self.preprocessing.to_json()}; --preprocessing says it"
            )
        return said

    def to_dict(self) -> dict[str, Any]:
        """JSON values: ``preprocessing`` and ``preprocessing_from``, which is the origin."""
        return {"preprocessing": asdict(self.preprocessing), "preprocessing_from": self.origin}


def settings_of(given: AnyPreprocessing) -> GivenPreprocessing:
    """Read what the argument ``preprocessing`` of a verb was given as settings.

    Raises:
        ScarletError: the settings cannot be read.
    """
    if isinstance(given, Preprocessing):
        return GivenPreprocessing(size=given.size, mean=given.mean, std=given.std, interpolation=given.interpolation,
                                  crop=given.crop, upright=given.upright, channels=given.channels)  # fmt: skip
    return read_preprocessing(given)


def feed_of(network: OnnxNetwork, described: Preprocessing | None, given: AnyPreprocessing | None = None) -> ImageFeed:
    """Choose the preprocessing of a file: what is given, completed by the file's metadata, else by what is usual.

    Args:
        network: the file's network.
        described: the preprocessing in the file's metadata; None if there is none.
        given: what the caller says, as :func:`scarlet_zoo.data.given_preprocessing.read_preprocessing` takes it.

    Raises:
        ScarletError: the settings cannot be read, or are for other channels or another size than the file's.
        ArtifactError: nothing describes the preprocessing, and the number of the file's channels is not fixed.
    """
    settings = settings_of(given) if given is not None else GivenPreprocessing()
    if described is None:
        origin = ASSUMED if settings.mean is None or settings.std is None else GIVEN
        usual = assumed_preprocessing(network)
    else:
        origin, usual = (METADATA if given is None else GIVEN), described
    return ImageFeed(settings.complete(usual, network.size), origin, settings.notes)


def feed_of_file(path: Path, given: AnyPreprocessing | None = None) -> ImageFeed:
    """Choose the preprocessing of a file, as :func:`feed_of` does.

    Raises:
        ArtifactError: the file is missing, is not an ONNX file, or has other inputs than one of images.
    """
    return feed_of(OnnxNetwork(path), read_artifact(path).preprocessing, given)


def assumed_preprocessing(network: OnnxNetwork) -> Preprocessing:
    """The preprocessing assumed for a file that describes none: ImageNet's mean and deviation for three channels.

    With another number of channels both are 0.5. The size is the file's own, or 224 where it takes any.

    Raises:
        ArtifactError: the number of the file's input channels is not fixed.
    """
    if not isinstance(network.channels, int):
        raise ArtifactError(f"{network.path}: got an input whose number of channels is not fixed, wanted a fixed one")
    return usual_preprocessing(network.channels, network.size or _ASSUMED_SIZE)
