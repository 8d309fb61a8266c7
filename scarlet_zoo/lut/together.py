"""Bundles that are measured in the same sittings: a machine's speed moves within minutes, which is no table's error."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scarlet_zoo.files import make_folder, write_text
from scarlet_zoo.latency import Settings
from scarlet_zoo.lut.building import measure_bundle
from scarlet_zoo.lut.bundle import Bundle, Group


def measure_together(bundles: Sequence[Bundle], folder: Path, settings: Settings, sittings: int) -> list[list[Path]]:
    """Measure bundles of one space and precision in turns; sittings that are in the folder are not made again.

    Returns:
        For each bundle its files, one a sitting, as :func:`scarlet_zoo.lut.building.measure_bundle` writes them.
    """
    make_folder(folder)
    groups = [group for bundle in bundles for group in _from(folder, bundle)]
    both = Bundle(folder, bundles[0].space, bundles[0].precision, tuple(groups))
    files: list[list[Path]] = [[] for _ in bundles]
    for number, sitting in enumerate(measure_bundle(both, folder, settings, sittings)):
        told, first = json.loads(sitting.read_text(encoding="utf-8")), 0
        for place, bundle in enumerate(bundles):
            last = first + len(bundle.groups)
            part = {key: told[key][first:last] for key in ("samples_ms", "sha256")}
            files[place].append(folder / f"bundle-{place}-sitting-{number}.json")
            write_text(files[place][-1], json.dumps({**told, **part}))
            first = last
    return files


def _from(folder: Path, bundle: Bundle) -> list[Group]:
    """A bundle's groups with files that are named from another folder."""
    return [
        replace(group, files={key: os.path.relpath(bundle.folder / name, folder) for key, name in group.files.items()})
        for group in bundle.groups
    ]
