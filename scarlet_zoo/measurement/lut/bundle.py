"""Bundles: a folder with everything that a device must run for a latency table.

It holds the pieces of a few networks that together have every block of the space, whole networks to calibrate on,
other whole networks to measure the error on, ``manifest.json``, and the script that measures, which needs only numpy
and onnxruntime: ``python latency.py --groups manifest.json --out sitting-0.json``.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from scarlet_zoo import latency
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import TableError
from scarlet_zoo.measurement.lut.cut import cut, holders, network_graph
from scarlet_zoo.measurement.lut.keys import FORMS, pieces_of
from scarlet_zoo.utils.files import make_folder, replacing, write_text
from scarlet_zoo.utils.reading import bounded_text, parse_json

MANIFEST = "manifest.json"
PIECES, CALIBRATION, HELD_OUT = "pieces", "calibration", "held-out"
_FEWEST = 8
_TRIES = 100
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Group:
    """Files that are run one after the other.

    Attributes:
        use: ``pieces`` (the pieces of one network), ``calibration`` or ``held-out`` (a whole network).
        arch: the network's identity string.
        files: file names in the bundle by piece, in order; a whole network is the one piece ``network``.
    """

    use: str
    arch: str
    files: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """A folder to measure.

    Attributes:
        folder: the folder of the files.
        space: the search space of the table.
        precision: ``float32`` or ``int8``.
        groups: the groups in the order in which they are measured.
    """

    folder: Path
    space: SearchSpace
    precision: str
    groups: tuple[Group, ...]

    @property
    def paths(self) -> list[list[Path]]:
        """The files of each group."""
        return [[self.folder / name for name in group.files.values()] for group in self.groups]


def make_bundle(
    space: SearchSpace,
    folder: Path,
    precision: str = "float32",
    networks: tuple[int, int] = (32, 16),
    seed: int = 0,
    progress: Progress | None = None,
) -> Bundle:
    """Write a bundle; files that are already there are not written again.

    Args:
        space: the search space of the table.
        folder: where the bundle is written.
        precision: ``float32`` (the native graph variant) or ``int8``.
        networks: number of random networks to calibrate on, and of others to measure the error on.
        seed: seed of the random networks.
        progress: called with (networks done, networks in all).

    Raises:
        TableError: the folder holds a bundle of something else, or the space has too few architectures.
    """
    groups = list(_groups(space, networks, seed))
    plan = {"space": space.to_json(), "precision": precision, "form": FORMS.get(precision),
            "groups": [{"use": group.use, "arch": group.arch, "files": group.files} for group in groups]}  # fmt: skip
    make_folder(folder)
    begun = folder / f"{MANIFEST}.begun"
    for mark in (begun, folder / MANIFEST):
        if mark.is_file() and parse_json(bounded_text(mark)) != plan:
            raise TableError(
                f"{folder}: holds a bundle of another space or precision, wanted a folder of its own for this one"
            )
    write_text(begun, json.dumps(plan))
    for done, group in enumerate(groups):
        if not all((folder / name).is_file() for name in group.files.values()):
            _write(Arch.parse(group.arch, space), precision, group, folder)
        if progress is not None:
            progress(done + 1, len(groups))
    shutil.copyfile(latency.__file__, folder / "latency.py")
    begun.replace(folder / MANIFEST)
    return Bundle(folder, space, precision, tuple(groups))


def _groups(space: SearchSpace, networks: tuple[int, int], seed: int) -> Iterator[Group]:
    for number, arch in enumerate(holders(space)):
        yield Group(PIECES, str(arch), {piece: f"pieces-{number}-{piece}.onnx" for piece in pieces_of(arch)})
    rng = random.Random(seed)
    drawn: dict[Arch, None] = {}
    for _ in range(_TRIES * sum(networks)):
        if len(drawn) < sum(networks):
            drawn[Arch.sample(space, rng)] = None
    calibration = min(networks[0], 2 * len(drawn) // 3)
    if calibration < _FEWEST:
        raise TableError(f"search space {space.name!r}: found {len(drawn)} architectures, wanted {2 * _FEWEST} or more")
    for number, arch in enumerate(drawn):
        use = CALIBRATION if number < calibration else HELD_OUT
        yield Group(use, str(arch), {"network": f"network-{number}.onnx"})


def _write(arch: Arch, precision: str, group: Group, folder: Path) -> None:
    graph = network_graph(arch, precision)
    graphs = cut(graph, arch) if group.use == PIECES else {"network": graph}
    for piece, name in group.files.items():
        with replacing(folder / name) as path:
            onnx.save(graphs[piece], path)


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle that :func:`make_bundle` wrote.

    Raises:
        TableError: the manifest is missing, cannot be read or is not valid.
    """
    try:
        manifest: dict[str, Any] = parse_json(bounded_text(folder / MANIFEST))
        space = SearchSpace.from_json(manifest["space"])
        groups = tuple(Group(row["use"], row["arch"], dict(row["files"])) for row in manifest["groups"])
        return Bundle(folder, space, manifest["precision"], groups)
    except OSError as error:
        raise TableError(f"{folder / MANIFEST}: cannot be read: {error.strerror}, wanted a bundle") from error
    except (ValueError, KeyError, TypeError) as error:
        raise TableError(
            f"{folder / MANIFEST}: not the manifest of a bundle: {type(error).__name__} {error}"
        ) from error
