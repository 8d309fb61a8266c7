"""Which weights a name has on this machine, and the user's own store, from which imported ones are found by name."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from scarlet_zoo.arch.zoo import ZOO, safe_name
from scarlet_zoo.errors import CheckpointError
from scarlet_zoo.models.weights.cards import WEIGHTS_FOLDER, all_cards, cards_of
from scarlet_zoo.models.weights.checkpoint import load_checkpoint, save_weights, state_sha256
from scarlet_zoo.utils.files import cache_folder, file_sha256


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """Weights in the store.

    Attributes:
        name: of the network.
        path: of the safetensors file.
        sha256: digest of its tensors, as its own metadata has it.
        metadata: all that it says of itself: arch, space, where it was imported from.
    """

    name: str
    path: Path
    sha256: str
    metadata: dict[str, str]


def stored_path(name: str) -> Path:
    """Where the weights of a network are kept, whether they are there or not."""
    return cache_folder() / "weights" / f"{safe_name(name)}.safetensors"


def import_weights(name: str, model: nn.Module, file: Path) -> StoredWeights:
    """Check a weights file against a network and keep it as safetensors, atomically.

    Args:
        name: of the network; the weights are found by it.
        model: that network; it is not changed.
        file: safetensors, a state dict, or a checkpoint of the released code.

    Raises:
        CheckpointError: the file is for another network, cannot be read, or holds values that are
            not finite.
    """
    model = copy.deepcopy(model)
    load_checkpoint(model, file)
    broken = [key for key, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()]
    if broken:
        raise CheckpointError(f"{file}: {broken[0]!r} holds values that are not finite ({len(broken)} tensors do)")
    path = stored_path(name)
    said = {"name": name, "imported_from": file.name, "imported_sha256": file_sha256(file)}
    save_weights(model, path, said)
    stored = find_weights(name)
    assert stored is not None
    return stored


def find_weights(name: str) -> StoredWeights | None:
    """The weights of a network in the store, if they are there.

    Raises:
        CheckpointError: a file is there and is broken.
    """
    path = stored_path(name)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: broken weights file, wanted it imported again") from error
    return StoredWeights(name, path, metadata.get("sha256", ""), metadata)


def list_weights() -> list[StoredWeights]:
    """Everything in the store, in order of file name."""
    folder = cache_folder() / "weights"
    names = sorted(path.stem for path in folder.glob("*.safetensors")) if folder.is_dir() else []
    return [stored for name in names if (stored := find_weights(name)) is not None]


def check_weights(stored: StoredWeights) -> None:
    """Compare the tensors in the store with the digest that was written with them.

    Raises:
        CheckpointError: they have changed since.
    """
    try:
        found = state_sha256(safetensors.torch.load_file(stored.path))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{stored.path}: broken weights file, wanted it imported again") from error
    if found != stored.sha256:
        raise CheckpointError(
            f"{stored.path}: got tensors with sha256 {found}, wanted {stored.sha256 or 'one written'}"
        )


@dataclass(frozen=True, slots=True)
class LocalWeights:
    """A weights file on this machine.

    Attributes:
        origin: where it comes from, in the words that every report repeats.
    """

    path: Path
    origin: str


def local_weights(name: str) -> LocalWeights | None:
    """The weights that a network's name has on this machine: those imported for it, else those shipped for it.

    This is the one rule for every way to ask. ``pretrained=True`` (of timm and of this package) and the source
    ``pretrained`` take them, else what timm has registered for the name, and never random ones. The source ``auto``
    takes them, else random ones, and never downloads. A name with a tag has what is imported or shipped under just
    that tag, and an identity string has what the network that it spells has.

    Raises:
        CheckpointError: the imported file is broken.
    """
    stored = find_weights(name)
    if stored is not None:
        imported = stored.metadata.get("imported_from", stored.path.name)
        return LocalWeights(stored.path, f"imported {imported}, sha256 {stored.sha256[:12]}")
    shipped = find_shipped(name)
    return LocalWeights(shipped, f"shipped {shipped.stem}") if shipped is not None else None


def find_shipped(name: str) -> Path | None:
    """The weights file that this package ships for a network, if it does.

    Args:
        name: of the network, with its tag or without, or its identity string.
    """
    name = next((entry.name for entry in ZOO.values() if entry.arch == name), name)
    cards = [card for card in all_cards().values() if name in (card.name, f"{card.name}.{card.tag}")]
    paths = [
        WEIGHTS_FOLDER / "networks" / f"{card.name}.{card.tag}.safetensors" for card in cards if card.redistributed
    ]
    return next((path for path in paths if path.is_file()), None)


def require_weights(name: str) -> StoredWeights:
    """The weights of a network, or one sentence on how to get them.

    Raises:
        CheckpointError: they are not in the store.
    """
    stored = find_weights(name)
    if stored is not None:
        return stored
    cards = cards_of(name)
    how = cards[0].how_to_get if cards else f"scarlet-zoo weights import {name} FILE"
    raise CheckpointError(f"pretrained weights of {name!r} are not on this machine; to get them: {how}")
