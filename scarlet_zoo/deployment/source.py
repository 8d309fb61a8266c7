"""Find the network that a file was made from, by the caller's name for it or by the file's metadata."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from scarlet_zoo.data.stated import stated_counts
from scarlet_zoo.errors import ArtifactError, ScarletError
from scarlet_zoo.graph.artifact import Artifact
from scarlet_zoo.models.loading import Network, load_network
from scarlet_zoo.models.weights.cards import RANDOM_WEIGHTS
from scarlet_zoo.models.weights.stated import is_weights_file
from scarlet_zoo.models.weights.store import local_weights
from scarlet_zoo.utils.names import check_file_name
from scarlet_zoo.utils.reading import parse_json

_A_FILE = "file "  # the beginning of the words for weights of a file, whose name follows
# The beginnings of the words that say that a name alone gives the weights again.
_FOUND_BY_NAME = (RANDOM_WEIGHTS, "pretrained", "imported", "shipped")


def source_network(artifact: Artifact, name: str | None = None, weights: str | None = None,
                   **counts: int | None) -> Network:  # fmt: skip
    """Create the network that a file was made from.

    Args:
        artifact: the file.
        name: the network's name; the one in the file's metadata when left out.
        weights: as for :func:`scarlet_zoo.models.loading.load_network`; as the file's metadata say when left out.
        counts: ``num_classes`` and ``in_chans``; as the file's metadata or the weights say when left out.

    Raises:
        ArtifactError: the file's metadata name no network, or the weights found for it are not the file's.
    """
    metadata, path = artifact.metadata, artifact.path
    source = name or metadata.get("source") or metadata.get("arch") or metadata.get("model")
    if source is None:
        raise ArtifactError(
            f"{path}: got no network's name in its metadata, wanted NAME or another file as an argument"
        )
    where = weights or ("random" if metadata.get("weights") == RANDOM_WEIGHTS else "auto")
    stored = where == "auto" and name is None and local_weights(source) is not None
    found = stored or is_weights_file(source) or artifact.weights.startswith(_FOUND_BY_NAME)
    if weights is None and name is None and not found:
        where = str(_stated_file(artifact))
    described = artifact.preprocessing
    levels = _levels(artifact)
    given: dict[str, Any] = {key: count for key, count in counts.items() if count is not None}
    if where in ("auto", "pretrained", "random"):
        given = stated_counts(metadata, path) | given
    # The file holds the definition of its space, which this package need not know.
    own = artifact.arch if name is None and source == metadata.get("arch") and "space" in metadata else None
    network = load_network(
        own or source,
        where,
        # The batch norm statistics of random weights depend on the input size.
        input_size=described.size if described is not None else None,
        features=levels,
        **given,
    )
    if name is None and weights is None and network.weights_sha256 != metadata.get("weights_sha256"):
        raise _not_found(artifact)
    given_at_export = artifact.given_preprocessing
    return network if given_at_export is None else replace(network, preprocessing=given_at_export)


def _stated_file(artifact: Artifact) -> Path:
    """The file of weights that a file names, if one of that name is beside it or in this folder; no other place."""
    # What follows in brackets says which of the file's weights were taken.
    stated = artifact.weights.removeprefix(_A_FILE).partition(" (")[0]
    with suppress(ScarletError, ValueError):
        name = check_file_name(stated, "weights")
        files = [artifact.path.with_name(name), Path(name)] if stated != artifact.weights else []
        if file := next((file for file in files if file.is_file()), None):
            return file
    raise _not_found(artifact)


def _not_found(artifact: Artifact) -> ArtifactError:
    return ArtifactError(f"{artifact.path}: its weights are {artifact.weights!r} and were not found here, wanted "
                         "--weights FILE to compare with")  # fmt: skip


def _levels(artifact: Artifact) -> tuple[int, ...] | None:
    """The feature levels that a file outputs; None for a classifier."""
    text = artifact.metadata.get("features")
    if text is None:
        return None
    try:
        return tuple(int(level["level"]) for level in parse_json(text)) or None
    except (ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{artifact.path}: features in its metadata: got {text[:40]!r}, wanted a list of levels"
                            ) from error  # fmt: skip
