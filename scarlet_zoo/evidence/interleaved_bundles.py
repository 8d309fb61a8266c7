"""Measure several bundles in the same rounds, so that changes of the machine's speed affect all of them alike."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from scarlet_zoo.latency import Settings
from scarlet_zoo.measurement.lut.build import measure_bundle
from scarlet_zoo.measurement.lut.bundle import Bundle, Group
from scarlet_zoo.utils.files import make_folder, write_text


def measure_together(bundles: Sequence[Bundle], folder: Path, settings: Settings, sittings: int) -> list[list[Path]]:
    """Measure bundles of one space and precision interleaved; rounds that the folder has are not measured again.

    Args:
        bundles: bundles to measure.
        folder: folder of the measurements.
        settings: how each file is measured.
        sittings: number of rounds.

    Returns:
        The files of each bundle, one for each round, as
        :func:`scarlet_zoo.measurement.lut.build.measure_bundle` writes them.
    """
    make_folder(folder)
    groups = [group for bundle in bundles for group in _from(folder, bundle)]
    # The files are shuffled, because what a process has loaded before a file changes that file's time a little.
    order = np.random.default_rng(0).permutation(len(groups))
    mixed = Bundle(folder, bundles[0].space, bundles[0].precision, tuple(groups[place] for place in order))
    files: list[list[Path]] = [[] for _ in bundles]
    for number, measured in enumerate(measure_bundle(mixed, folder, settings, sittings)):
        whole, first = json.loads(measured.read_text(encoding="utf-8")), 0
        for which, bundle in enumerate(bundles):
            places = np.argsort(order)[first : first + len(bundle.groups)]
            part = {key: [whole[key][place] for place in places] for key in ("samples_ms", "sha256")}
            files[which].append(folder / f"bundle-{which}-sitting-{number}.json")
            write_text(files[which][-1], json.dumps({**whole, **part}))
            first += len(bundle.groups)
    return files


def _from(folder: Path, bundle: Bundle) -> list[Group]:
    """The groups of a bundle, with the paths of their files relative to another folder."""
    return [
        replace(group, files={key: os.path.relpath(bundle.folder / name, folder) for key, name in group.files.items()})
        for group in bundle.groups
    ]
