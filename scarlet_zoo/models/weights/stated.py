"""What a weights file states about its network: name, architecture, search space, classes, channels, stabilizers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.architecture import Arch, is_identity_string
from scarlet_zoo.arch.limits import MOST_CLASSES
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.data.preprocessing import MOST_IMAGE_CHANNELS, Preprocessing
from scarlet_zoo.data.stated import stated_labels
from scarlet_zoo.errors import CheckpointError, ScarletError, UnknownNameError
from scarlet_zoo.models.weights.checkpoint import read_metadata
from scarlet_zoo.models.weights.store import find_weights

_ENDING = ".safetensors"


def is_weights_file(name: str) -> bool:
    """Whether a network's name is the path of a safetensors file that exists."""
    return name.lower().endswith(_ENDING) and Path(name).is_file()


def stated_network(path: Path) -> Arch | str:
    """Return the architecture or the name of the network that a weights file is for, as its metadata state it.

    Raises:
        CheckpointError: the file is broken, or states no network.
    """
    metadata = read_metadata(path)
    if {"arch", "space"} <= metadata.keys():
        return Arch.parse(metadata["arch"], SearchSpace.from_json(metadata["space"], path))
    if {"space", "skip"} <= metadata.keys():
        raise CheckpointError(
            f"{path}: is a supernet, wanted the weights of a network, such as those that derive writes"
        )
    if "name" not in metadata:
        raise CheckpointError(f"{path}: does not state its network, wanted the network's name and --weights {path}")
    return metadata["name"]


def arguments_stated(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of ``create_model`` that the metadata of a weights file state.

    Raises:
        ArtifactError: the preprocessing is invalid.
    """
    arguments: dict[str, Any] = {}
    labels = stated_labels(metadata, "weights file")
    if labels is not None:
        arguments["num_classes"] = len(labels)
    if "preprocessing" in metadata:
        arguments["in_chans"] = Preprocessing.from_json(metadata["preprocessing"]).channels
    if metadata.get("stabilized") == "True":
        arguments["stabilized"] = True
    return arguments


def arch_named(text: str) -> Arch:
    """Parse an identity string; a space that this package does not know is that of the weights imported for the name.

    Raises:
        ArchError: the string is invalid.
        UnknownNameError: neither this package nor the store of weights knows the space.
    """
    try:
        return Arch.parse(text)
    except UnknownNameError as error:
        stored = find_weights(text) if is_identity_string(text) else None
        if stored is None or "space" not in stored.metadata:
            raise UnknownNameError(f"{error}; or a weights file that states it, as NAME") from error
        return Arch.parse(text, SearchSpace.from_json(stored.metadata["space"], stored.path))


def check_counts(name: str, kwargs: Mapping[str, Any]) -> None:
    """Refuse numbers of classes and channels that no memory holds; flags and files give them.

    Args:
        name: the network's name, for the error.
        kwargs: arguments of ``timm.create_model``.

    Raises:
        ScarletError: one of the numbers is out of bounds.
    """
    for key, least, most in (("num_classes", 0, MOST_CLASSES), ("in_chans", 1, MOST_IMAGE_CHANNELS)):
        count = kwargs.get(key)
        if isinstance(count, int) and not least <= count <= most:
            raise ScarletError(f"model {name!r}: got {key} = {count}, wanted {least} to {most}")
