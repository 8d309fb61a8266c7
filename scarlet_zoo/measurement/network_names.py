"""The name of the network of a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.latency import network_said
from scarlet_zoo.measurement.published import published_peers


def network_name(file: str, metadata: Mapping[str, Any], asked_for: str = "") -> str:
    """Find the name of the network in a file that is measured.

    Args:
        file: path of the file.
        metadata: the file's metadata, with ``arch`` and ``model`` where it has them.
        asked_for: the name that the user gave for the network.

    Returns:
        The zoo's name of the file's architecture, if the zoo has it. Otherwise the first known name among: the name
        asked for, the name in the metadata, the file's name, its folder's name. Otherwise the first of these four
        that is not empty.
    """
    by_arch = {entry.arch: name for name, entry in ZOO.items()}
    if metadata.get("arch") in by_arch:
        return by_arch[metadata["arch"]]
    known = {peer.name for peer in published_peers()} | ZOO.keys()
    path = Path(file)
    candidates = [name for name in (asked_for, network_said(metadata), path.stem, path.parent.name) if name]
    return next((name for name in candidates if name in known), candidates[0] if candidates else file)


def network_of_old_record(file: str, conditions: Mapping[str, Any]) -> str:
    """Find the network's name for an old record, written before records had a field for it.

    Args:
        file: the file's name in the record; ``NAME (TARGET)`` for a network that was exported for the measurement.
        conditions: the record's conditions.
    """
    source = conditions.get("source")
    asked_for = conditions.get("name") or (source.get("name") if isinstance(source, Mapping) else None)
    said = {key: value for key, value in conditions.items() if isinstance(value, str)}
    return network_name(file.split(" (")[0], said, str(asked_for or ""))
