"""Create, fold, export, verify and measure a network by name, and write a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.cost import Cost
from scarlet_zoo.arch.zoo import ZOO, safe_name
from scarlet_zoo.deployment.deploy_report import deployment_markdown
from scarlet_zoo.deployment.image_feed import AnyPreprocessing
from scarlet_zoo.deployment.parity import Parity, ParityError
from scarlet_zoo.deployment.prepared import load_prepared
from scarlet_zoo.deployment.to_onnx import export_onnx
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.deployment.verify import verify
from scarlet_zoo.errors import ExportError
from scarlet_zoo.folding.fold import FoldResult, fold
from scarlet_zoo.graph.artifact import Artifact
from scarlet_zoo.latency import Settings, Timing, measure
from scarlet_zoo.models.cost import network_cost
from scarlet_zoo.models.loading import Network
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.names import check_file_name
from scarlet_zoo.utils.ownership import own_folder, with_locks
from scarlet_zoo.utils.reading import parse_json


@dataclass(frozen=True)
class Deployment:
    """The results of one deployment.

    Attributes:
        name: the network's name as it was given.
        folder: folder with the ONNX file, ``report.json`` and ``report.md``.
        network: the network before folding.
        cost: its parameters and multiply-adds.
        fold: the folded network with its certificate.
        artifact: the ONNX file.
        parity: how well the file agrees with the network.
        timing: the measured latency; None if the file failed verification and was not measured.
    """

    name: str
    folder: Path
    network: Network
    cost: Cost
    fold: FoldResult
    artifact: Artifact
    parity: Parity
    timing: Timing | None

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        entry = ZOO.get(self.name)
        published = entry.published if entry is not None else None
        return {
            "name": self.name,
            "arch": str(self.network.arch) if self.network.arch is not None else None,
            "weights": self.network.weights,
            "weights_sha256": self.network.weights_sha256,
            "params": self.cost.params,
            "macs": self.cost.macs,
            "published": asdict(published) if published is not None else None,
            "fold": {"summary": self.fold.summary(), **parse_json(self.fold.certificate())},
            "artifact": self.artifact.to_dict(),
            "parity": self.parity.to_dict(),
            "timing": self.timing.to_dict() if self.timing is not None else None,
        }


@with_locks
def deploy(
    name: str,
    out: str | Path,
    *,
    weights: str = "auto",
    recipe: Recipe | None = None,
    settings: Settings | None = None,
    features: tuple[int, ...] | None = None,
    file_name: str | None = None,
    labels: Sequence[str] | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    preprocessing: AnyPreprocessing | None = None,
    stage: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Deployment:
    """Create, fold, export, verify and measure a network, and write a report.

    Args:
        name: a registered name, an identity string, or any timm name.
        out: folder for the ONNX file, ``report.json`` and ``report.md``.
        weights: ``auto``, ``random``, ``pretrained`` or a file, as for ``load_network``.
        recipe: settings of the export.
        settings: how to measure.
        features: feature levels, to export a feature extractor and no classifier.
        file_name: name of the ONNX file without its ending; the network's when left out.
        labels, num_classes, in_chans: as for ``load_network``.
        preprocessing: how images are prepared, as for :func:`scarlet_zoo.deployment.prepared.load_prepared`.
        stage: called with the name of each stage when it begins.
        progress: called with (done, expected) during the measurement.

    Raises:
        ScarletError: an argument is not valid; nothing is written.
        ParityError: the file differs from its source; the report is written and says so.
    """
    recipe, folder = recipe or Recipe(), Path(out)
    begin = stage or (lambda _: None)
    begin(f"create {name}")
    stem = check_file_name(file_name.removesuffix(".onnx"), "file name") if file_name is not None else safe_name(name)
    path = folder / f"{stem}.onnx"
    reports = (folder / "report.json", folder / "report.md")
    for file in (path, *reports):
        if file.is_dir():
            raise ExportError(f"{file}: is a folder, wanted a file's path")
    network = load_prepared(name, weights, preprocessing, input_size=recipe.input_size, features=features,
                            labels=labels, num_classes=num_classes, in_chans=in_chans)  # fmt: skip
    own_folder(folder)
    begin("fold")
    folded = fold(network.model)
    begin("export")
    artifact = export_onnx(
        folded, path, recipe, weights=network.weights, labels=network.labels, preprocessing=network.preprocessing,
        source=network.source,
        split=network.training.get("split"),
        preprocessing_given=network.preprocessing_given,
    )  # fmt: skip
    begin("verify")
    timing, failure = None, None
    try:
        parity = verify(network.model, artifact)
    except ParityError as error:
        parity, failure = error.parity, error
    if failure is None:
        begin("measure")
        (measured,) = measure([path], settings, progress)
        timing = replace(measured, network=name)
    result = Deployment(name, folder, network, network_cost(network), folded, artifact, parity, timing)
    write_text(reports[0], json_text(result.to_dict(), indent=1) + "\n")
    write_text(reports[1], deployment_markdown(result.to_dict()))
    if failure is not None:
        raise failure
    return result
