"""Which network a file was made from: as the caller says, else as the file says of itself."""

from __future__ import annotations

import json

from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.artifact import Artifact
from scarlet_zoo.models.loading import Network, load_network
from scarlet_zoo.models.random_weights import RANDOM_WEIGHTS


def source_network(artifact: Artifact, name: str | None = None, weights: str | None = None) -> Network:
    """Create the network that a file was made from.

    Args:
        artifact: the file.
        name: of the network; what the file says of itself when left out.
        weights: as for :func:`scarlet_zoo.models.loading.load_network`; what the file says when left out.

    Raises:
        ArtifactError: the file does not say which network it is, or its weights are not those that are found here.
    """
    metadata, path = artifact.metadata, artifact.path
    source = name or metadata.get("arch") or metadata.get("model")
    if source is None:
        raise ArtifactError(f"{path}: does not say which network it is, wanted its NAME")
    where = weights or ("random" if metadata.get("weights") == RANDOM_WEIGHTS else "auto")
    described = artifact.preprocessing
    levels = json.loads(metadata["features"]) if "features" in metadata else None
    network = load_network(
        source,
        where,
        # Random weights are calibrated at the size that they are made for.
        input_size=described.size[0] if described is not None else None,
        features=tuple(level["level"] for level in levels) if levels else None,
    )
    if name is None and weights is None and network.weights_sha256 != metadata.get("weights_sha256"):
        raise ArtifactError(f"{path}: its weights are {artifact.weights!r}, wanted --weights to compare with")
    return network
