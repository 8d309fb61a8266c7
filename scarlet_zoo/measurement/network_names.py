"""What the network of a measurement is called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.latency import network_said
from scarlet_zoo.measurement.published import published_peers


def network_name(file: str, metadata: Mapping[str, Any], asked_for: str = "") -> str:
    """The name of the network in a file that is measured.

    Args:
        file: path of the file.
        metadata: what the file says of itself, ``arch`` and ``model`` among it.
        asked_for: the name by which a person asked for the network.

    Returns:
        The zoo's name of its architecture; else the first that is a known name of: what was asked for, what the file
        says, the file's name, its folder's name; else the first of these that is not empty.
    """
    by_arch = {entry.arch: name for name, entry in ZOO.items()}
    if metadata.get("arch") in by_arch:
        return by_arch[metadata["arch"]]
    known = {peer.name for peer in published_peers()} | ZOO.keys()
    path = Path(file)
    candidates = [name for name in (asked_for, network_said(metadata), path.stem, path.parent.name) if name]
    return next((name for name in candidates if name in known), candidates[0] if candidates else file)


def network_of_old_record(file: str, conditions: Mapping[str, Any]) -> str:
    """The name of the network of a record that was written before records had it.

    Args:
        file: what the record calls its file; a network that was exported for the measurement is called
            ``NAME (TARGET)``.
        conditions: of the record.
    """
    source = conditions.get("source")
    asked_for = conditions.get("name") or (source.get("name") if isinstance(source, Mapping) else None)
    return network_name(file.split(" (")[0], conditions, str(asked_for or ""))
