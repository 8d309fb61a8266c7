"""Find the network that a file was made from, by the caller's name for it or by the file's metadata."""

from __future__ import annotations

from typing import Any

from scarlet_zoo.data.stated import stated_counts
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.artifact import Artifact
from scarlet_zoo.models.loading import Network, load_network
from scarlet_zoo.models.weights.cards import RANDOM_WEIGHTS
from scarlet_zoo.models.weights.stated import is_weights_file
from scarlet_zoo.models.weights.store import local_weights
from scarlet_zoo.utils.reading import parse_json

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
        raise ArtifactError(f"{path}: got no network's name in its metadata, wanted NAME as an argument")
    where = weights or ("random" if metadata.get("weights") == RANDOM_WEIGHTS else "auto")
    stored = where == "auto" and name is None and local_weights(source) is not None
    found = stored or is_weights_file(source) or artifact.weights.startswith(_FOUND_BY_NAME)
    if weights is None and name is None and not found:
        raise _not_found(artifact)
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
    return network


def _not_found(artifact: Artifact) -> ArtifactError:
    return ArtifactError(f"{artifact.path}: its weights are {artifact.weights!r} and were not found here, wanted "
                         "--weights to compare with")  # fmt: skip


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
