"""Workloads, the files to measure: files as they are, and networks given by name, exported for each target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scarlet_zoo.deployment.runtimes.registry import RUNTIMES, runtime_of
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.measurement.network_names import network_name

_SUFFIXES = (".onnx", ".ort", *(entry.suffix for entry in RUNTIMES.values()))


@dataclass(frozen=True, slots=True)
class Workload:
    """A file to measure.

    Attributes:
        label: the file's name in its record.
        path: path of the file.
        network: name of the network.
        name, target, weights: what was exported, for a network given by name; empty for a file that was given.
    """

    label: str
    path: Path
    network: str
    name: str = ""
    target: str = ""
    weights: str = ""


def is_file_name(text: str) -> bool:
    """Whether a text names a file rather than a network."""
    return Path(text).is_file() or text.endswith(_SUFFIXES)


def gather(
    models: Sequence[str],
    folder: Path,
    targets: Sequence[str] = ("native",),
    weights: str = "auto",
    calibration: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Workload]:
    """Turn files and network names into workloads, in their order; a name gives one for each target.

    Args:
        models: files of any runtime, registered names, identity strings or timm names.
        folder: where exported files are written.
        targets: the targets that networks given by name are exported for.
        weights: the weights of networks given by name, as for ``load_network``.
        calibration: calibration images for integer targets: a folder, or ``random``.
        say: called with a description of each step as it begins.

    Raises:
        ScarletError: a file is not a network, or a network cannot be exported.
    """
    found: list[Workload] = []
    for model in models:
        if is_file_name(model):
            found.append(_file(Path(model), folder / f"file-{len(found)}"))
        else:
            found += _exported(model, folder, targets, weights, calibration, say)
    return found


def _file(path: Path, folder: Path) -> Workload:
    from scarlet_zoo.deployment.runtimes.runner import read_description

    metadata: Mapping[str, str] = {}
    if runtime_of(path):
        metadata = read_description(path).metadata
    elif path.suffix != ".ort":
        metadata = read_artifact(path).metadata
    return Workload(str(path), measurable(path, folder), network_name(str(path), metadata))


def measurable(path: Path, folder: Path) -> Path:
    """A file that its runtime loads: the file itself, or a copy in a folder where links hide an ONNX file's data."""
    from scarlet_zoo.graph.load import behind_links, copy_with_data

    return copy_with_data(path, folder) if path.suffix == ".onnx" and behind_links(path) else path


def whole_files(workloads: Sequence[Workload], folder: Path) -> list[Workload]:
    """The workloads, each as one file: a model with data files beside it is copied with its data in it.

    Files are sent to phones and browsers one by one, and data files of two models may have one name.

    Args:
        workloads: from :func:`gather`.
        folder: where the copies are written.

    Raises:
        ArtifactError: a model's data cannot be read, or a copy would have 2 GiB or more.
    """
    from scarlet_zoo.graph.load import data_files, write_whole

    found = []
    for number, workload in enumerate(workloads):
        if workload.path.suffix == ".onnx" and data_files(workload.path):
            path = folder / f"whole-{number}" / workload.path.name
            write_whole(workload.path, path)
            workload = replace(workload, path=path)
        found.append(workload)
    return found


def _exported(
    name: str,
    folder: Path,
    targets: Sequence[str],
    weights: str,
    calibration: str | None,
    say: Callable[[str], None],
) -> list[Workload]:
    from scarlet_zoo.data.calibration import calibration_images
    from scarlet_zoo.deployment.targets import get_target
    from scarlet_zoo.deployment.to_target import export_network
    from scarlet_zoo.deployment.trace import Recipe
    from scarlet_zoo.models.loading import load_network

    for target in targets:
        get_target(target)
    network = load_network(name, weights)
    images = None if calibration is None else lambda: calibration_images(calibration, network.preprocessing, 32)
    found = []
    for target in targets:
        say(f"export {name} for {target}")
        done = export_network(network, folder / target, target, Recipe(), images)
        found.append(Workload(f"{name} ({target})", done.path, name, name, target, weights))
    return found
