"""Workloads, the files to measure: files as they are, and networks given by name, exported for each target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scarlet_zoo.deployment.runtimes.registry import RUNTIMES, runtime_of
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.measurement.network_names import network_name
from scarlet_zoo.utils.files import file_sha256

if TYPE_CHECKING:
    from scarlet_zoo.models.loading import Network

_WEIGHTS = ".safetensors"
_SUFFIXES = (".onnx", ".ort", *(entry.suffix for entry in RUNTIMES.values()))


@dataclass(frozen=True, slots=True)
class Workload:
    """A file to measure.

    Attributes:
        label: the file's name in its record.
        path: path of the file.
        network: name of the network.
        name, target, weights: what was exported, for a network given by name; empty for a file that was given. The
            weights are ``random`` where the pretrained ones could not be got.
        num_classes, in_chans: what was asked for, for a network given by name.
    """

    label: str
    path: Path
    network: str
    name: str = ""
    target: str = ""
    weights: str = ""
    num_classes: int | None = None
    in_chans: int | None = None


def is_file_name(text: str) -> bool:
    """Whether a text names a file of a runtime rather than a network; a weights file names its network."""
    return (Path(text).is_file() and not text.lower().endswith(_WEIGHTS)) or text.endswith(_SUFFIXES)


def gather(
    models: Sequence[str],
    folder: Path,
    targets: Sequence[str] = ("native",),
    weights: str = "auto",
    calibration: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    described: bool = True,
) -> list[Workload]:
    """Turn files and network names into workloads, in their order; a name gives one for each target.

    Args:
        models: files of any runtime, registered names, identity strings or timm names.
        folder: where exported files are written.
        targets: the targets that networks given by name are exported for.
        weights: the weights of networks given by name, as for ``load_to_time``.
        calibration: calibration images for integer targets: a folder, or ``random``.
        say: called with a description of each step as it begins, and where random weights are taken.
        num_classes, in_chans: numbers of classes and channels of networks given by name, as for ``load_network``.
        described: whether files of other runtimes need their description beside them, without which they do not run
            here.

    Raises:
        ScarletError: a file is not a network, or a network cannot be exported.
    """
    counts = {"num_classes": num_classes, "in_chans": in_chans}
    if any(counts.values()) and all(is_file_name(model) for model in models):
        told = " ".join(f"--{key.replace('_', '-')}" for key, count in counts.items() if count is not None)
        raise ScarletError(f"{' '.join(models)}: got {told}, which only applies to networks given by name")
    found: list[Workload] = []
    for model in models:
        if is_file_name(model):
            found.append(_file(Path(model), folder / f"file-{len(found)}", described=described))
        else:
            network = _load(model, weights, targets, say, **counts)
            kept = _kept(network, weights)
            for target in targets:
                path = _export(network, folder / target, target, calibration, say)
                label = f"{model} ({target})"
                found.append(Workload(label, path, network.name, model, target, kept, num_classes, in_chans))
    return found


def _file(path: Path, folder: Path, *, described: bool) -> Workload:
    from scarlet_zoo.deployment.runtimes.runner import read_description

    metadata: Mapping[str, str] = {}
    if runtime_of(path):
        metadata = read_description(path).metadata if described else described_file(path)["metadata"]
    elif path.suffix != ".ort":
        metadata = read_artifact(path).metadata
    return Workload(str(path), measurable(path, folder), network_name(str(path), metadata))


def described_file(path: Path) -> dict[str, Any]:
    """What is known of a file of another runtime: ``sha256``, and where a description is beside it what that says.

    ``metadata`` and ``input_shape`` are empty for a file that somebody else made.

    Raises:
        ScarletError: there is no such file, or its description cannot be read.
    """
    from scarlet_zoo.deployment.runtimes.runner import description_path, read_description

    if not path.is_file():
        raise ScarletError(f"{path}: no such file")
    if not description_path(path).is_file():
        return {"sha256": file_sha256(path), "metadata": {}, "input_shape": {}}
    found = read_description(path)
    return {"sha256": file_sha256(path), "metadata": found.metadata, "input_shape": {"input": list(found.shape)}}


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


def _load(name: str, weights: str, targets: Sequence[str], say: Callable[[str], None], **counts: int | None) -> Network:
    from scarlet_zoo.deployment.targets import get_target
    from scarlet_zoo.models.loading import load_to_time

    for target in targets:
        get_target(target)
    return load_to_time(name, weights, say=say, **counts)


def _kept(network: Network, weights: str) -> str:
    """The weights that give the same network again: a record does not depend on what can be got another day."""
    if weights != "auto":
        return weights
    return "pretrained" if network.trained else "random"


def _export(network: Network, folder: Path, target: str, calibration: str | None, say: Callable[[str], None]) -> Path:
    from scarlet_zoo.data.calibration_sets import any_calibration_images
    from scarlet_zoo.deployment.to_target import export_network
    from scarlet_zoo.deployment.trace import Recipe

    images = None if calibration is None else lambda: any_calibration_images(calibration, network.preprocessing, 32)
    say(f"export {network.name} for {target}")
    return export_network(network, folder, target, Recipe(), images).path
