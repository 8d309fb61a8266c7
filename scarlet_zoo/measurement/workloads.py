"""What is measured: files as they are, and networks by name, exported for each target that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scarlet_zoo.deployment.runtimes.registry import RUNTIMES, runtime_of
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.measurement.network_names import network_name

_SUFFIXES = (".onnx", ".ort", *(entry.suffix for entry in RUNTIMES.values()))


@dataclass(frozen=True, slots=True)
class Workload:
    """A file to measure.

    Attributes:
        label: how its record calls it.
        network: the network's name.
        path: where it is.
        name, target, weights: of a network that was exported for the measurement; empty for a file.
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
    """Files and names to workloads, in their order; a name gives one for each target.

    Args:
        models: files of any runtime, registered names, identity strings, any timm names.
        folder: for what is exported.
        targets: of the networks that are given by name.
        weights: of those networks, as for ``load_network``.
        calibration: pictures for integer targets, a folder or ``random``.
        say: told what begins.

    Raises:
        ScarletError: a file that is none, or a network that cannot be exported.
    """
    found: list[Workload] = []
    for model in models:
        if is_file_name(model):
            found.append(_file(Path(model)))
        else:
            found += _exported(model, folder, targets, weights, calibration, say)
    return found


def _file(path: Path) -> Workload:
    from scarlet_zoo.deployment.runtimes.runner import read_description

    metadata: Mapping[str, str] = {}
    if runtime_of(path):
        metadata = read_description(path).metadata
    elif path.suffix != ".ort":
        metadata = read_artifact(path).metadata
    return Workload(str(path), path, network_name(str(path), metadata))


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
    pictures = None if calibration is None else lambda: calibration_images(calibration, network.preprocessing, 32)
    found = []
    for target in targets:
        say(f"export {name} for {target}")
        done = export_network(network, folder / target, target, Recipe(), pictures)
        found.append(Workload(f"{name} ({target})", done.path, name, name, target, weights))
    return found
