"""The weights on this machine: the user's store of imported weights, and the weights that this package ships."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from scarlet_zoo.arch.zoo import ZOO, safe_name
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.stated import stated_counts, stated_labels
from scarlet_zoo.errors import CheckpointError
from scarlet_zoo.models.weights.cards import WEIGHTS_FOLDER, all_cards, cards_of
from scarlet_zoo.models.weights.checkpoint import file_metadata, read_metadata, save_weights, state_sha256
from scarlet_zoo.models.weights.strict import load_checkpoint
from scarlet_zoo.utils.files import cache_folder, file_sha256

# What an imported file keeps of the file that it was made from.
KEPT = ("labels", "preprocessing", "stabilized", "data")


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """A network's weights in the store.

    Attributes:
        name: name of the network.
        path: path of the safetensors file.
        sha256: digest of its tensors, read from its metadata.
        metadata: all of its metadata: architecture, search space, and the file that it was imported from.
    """

    name: str
    path: Path
    sha256: str
    metadata: dict[str, str]


def stored_path(name: str) -> Path:
    """Return the path of a network's weights in the store, whether or not the file exists."""
    return cache_folder() / "weights" / f"{safe_name(name)}.safetensors"


def import_weights(name: str, model: nn.Module, file: Path) -> StoredWeights:
    """Check a weights file against a network and write it to the store as safetensors, atomically.

    What the file states about its classes, its preprocessing and its stabilizers is stored too.

    Args:
        name: name of the network, under which the weights are stored.
        model: the network; it is not changed.
        file: a safetensors file, a state dict, or a checkpoint of the released code.

    Returns:
        The weights in the store.

    Raises:
        CheckpointError: the file is for another network, cannot be read, or holds values that are
            not finite.
    """
    model = copy.deepcopy(model)
    found = load_checkpoint(model, file)
    path = stored_path(name)
    stated = {key: text for key, text in read_metadata(file).items() if key in KEPT}
    provenance = {"name": name, "imported_from": f"{file.name}{found.note}", "imported_sha256": file_sha256(file),
                  **stated, **_input_and_output(model)}  # fmt: skip
    save_weights(model, path, provenance)
    stored = find_weights(name)
    assert stored is not None
    return stored


def _input_and_output(model: nn.Module) -> dict[str, str]:
    """The numbers of channels and classes of a model whose configuration states others."""
    config: Any = getattr(model, "pretrained_cfg", None) or {}
    own = {"num_classes": config.get("num_classes"), "in_chans": (config.get("input_size") or (None,))[0]}
    found = {key: getattr(model, key, None) for key in own}
    return {key: str(count) for key, count in found.items() if count is not None and count != own[key]}


def find_weights(name: str) -> StoredWeights | None:
    """Return a network's weights in the store, or None if there are none.

    Raises:
        CheckpointError: the weights file is broken.
    """
    path = stored_path(name)
    if not path.is_file():
        return None
    try:
        metadata = file_metadata(path)
    except CheckpointError:
        raise
    except Exception as error:  # SafetensorError, OSError, and torch's own
        raise CheckpointError(f"{path}: broken weights file, wanted it imported again") from error
    return StoredWeights(name, path, metadata.get("sha256", ""), metadata)


def list_weights() -> list[StoredWeights]:
    """Return all weights in the store, in order of file name."""
    folder = cache_folder() / "weights"
    names = sorted(path.stem for path in folder.glob("*.safetensors")) if folder.is_dir() else []
    return [stored for name in names if (stored := find_weights(name)) is not None]


def check_weights(stored: StoredWeights) -> None:
    """Compare the tensors in the store with the digest in their file.

    Raises:
        CheckpointError: the tensors have changed since they were imported, or the file is broken.
    """
    try:
        found = state_sha256(safetensors.torch.load_file(stored.path))
    except Exception as error:  # as above
        raise CheckpointError(f"{stored.path}: broken weights file, wanted it imported again") from error
    if found != stored.sha256:
        raise CheckpointError(
            f"{stored.path}: got tensors with sha256 {found}, wanted {stored.sha256 or 'a file with a digest'}"
        )


@dataclass(frozen=True, slots=True)
class LocalWeights:
    """A weights file on this machine.

    Attributes:
        path: path of the file.
        origin: where the weights come from, in words that every report repeats.
        config: what timm's configuration of the name must say of these weights: ``num_classes`` and ``in_chans`` where
            they differ, and class names and preprocessing where the file states them.
    """

    path: Path
    origin: str
    config: dict[str, Any] = field(default_factory=dict)


def local_weights(name: str) -> LocalWeights | None:
    """Return a network's weights on this machine: those imported for its name, else those shipped for it, else None.

    All ways to ask for weights follow this rule. ``pretrained=True`` (of timm and of this package) and the source
    ``pretrained`` use these weights, else those that timm has registered for the name, and never random ones. The
    source ``auto`` does the same, except that a network that has no pretrained weights anywhere gets random ones. A
    name with a tag matches only weights with that tag. The identity string of a network in the zoo has the weights of
    that network.

    Raises:
        CheckpointError: the imported file is broken.
    """
    stored = find_weights(name)
    if stored is not None:
        imported = stored.metadata.get("imported_from", stored.path.name)
        return LocalWeights(stored.path, f"imported {imported}, sha256 {stored.sha256[:12]}", _config(stored.metadata))
    shipped = find_shipped(name)
    return LocalWeights(shipped, f"shipped {shipped.stem}") if shipped is not None else None


def _config(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The entries of timm's configuration that the metadata of imported weights state."""
    config: dict[str, Any] = stated_counts(metadata, "weights file")
    labels = stated_labels(metadata, "weights file")
    if labels is not None:
        config |= {"label_names": list(labels), "num_classes": len(labels)}
    if "preprocessing" in metadata:
        feed = Preprocessing.from_json(metadata["preprocessing"])
        config |= {"input_size": (feed.channels, *feed.size), "mean": feed.mean, "std": feed.std, "crop_pct": feed.crop,
                   "interpolation": feed.interpolation}  # fmt: skip
    return config


def find_shipped(name: str) -> Path | None:
    """Return the weights file that this package ships for a network, or None if it ships none.

    Args:
        name: name of the network, with or without tag, or its identity string.
    """
    name = next((entry.name for entry in ZOO.values() if entry.arch == name), name)
    cards = [card for card in all_cards().values() if name in (card.name, f"{card.name}.{card.tag}")]
    paths = [
        WEIGHTS_FOLDER / "networks" / f"{card.name}.{card.tag}.safetensors" for card in cards if card.redistributed
    ]
    return next((path for path in paths if path.is_file()), None)


def require_weights(name: str) -> StoredWeights:
    """Return a network's weights in the store, or raise an error that says how to get them.

    Raises:
        CheckpointError: the weights are not in the store, or their file is broken.
    """
    stored = find_weights(name)
    if stored is not None:
        return stored
    cards = cards_of(name)
    how = cards[0].how_to_get if cards else f"scarlet-zoo weights import {name} FILE"
    raise CheckpointError(f"pretrained weights of {name!r} are not on this machine; to get them: {how}")
