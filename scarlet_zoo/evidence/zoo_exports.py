"""Export a network of the zoo for a target, verify it, and describe it for the manifest of ``export/``."""

from __future__ import annotations

import copy
import datetime
import json
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.arch.zoo import safe_name
from scarlet_zoo.data.batches import Batch
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.folders import evenly
from scarlet_zoo.data.layout import is_named_data
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.data.splits import Split
from scarlet_zoo.deployment.parity import Parity, Tolerance
from scarlet_zoo.deployment.runtimes.doctor import check_up
from scarlet_zoo.deployment.runtimes.registry import missing_modules, versions
from scarlet_zoo.deployment.targets import TARGETS, get_target
from scarlet_zoo.deployment.to_target import Exported, export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.deployment.verify import verify
from scarlet_zoo.errors import CheckFailedError, ScarletError
from scarlet_zoo.evidence.manifest import Bound, Calibration, Conditions, ExportRow, RowParity
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.load import read_onnx
from scarlet_zoo.graph.quantization.golden import KEY, check_golden
from scarlet_zoo.latency import cpu_features, cpu_model
from scarlet_zoo.models.loading import Network, load_network
from scarlet_zoo.models.weights.cards import cards_of
from scarlet_zoo.models.weights.store import find_shipped, find_weights
from scarlet_zoo.utils.files import file_sha256

_TRAINING_IMAGES, _UNSEEN_IMAGES = 512, 128
# Calibration uses whole photographs and half of their quarters; verification uses the other quarters.
_PHOTOS, _CALIBRATION_PHOTOS = 40, 24
_PACKAGES = ("scarlet-zoo", "torch", "timm", "numpy", "onnx", "onnx-ir", "onnxruntime")
INT8 = Tolerance(
    max_rel_err=1.0,
    rounding_factor=10.0,
    min_sqnr_db=25.0,
    min_top1_agreement=0.98,
    reason="eight bits: the shipped networks gave 28 to 34 dB on 128 validation images that calibration did not use, "
    "and the same class on each",
)
INT8_PHOTOS = Tolerance(
    max_rel_err=1.0,
    rounding_factor=10.0,
    min_sqnr_db=20.0,
    min_top1_agreement=0.85,
    reason="eight bits, calibrated on photographs unlike those of the training: scarlet_cifar_s gave 24 dB on 16 "
    "others, and the same class on each",
)
INT8_RANDOM = Tolerance(
    max_rel_err=6.0,
    rounding_factor=10.0,
    min_sqnr_db=6.0,
    min_top1_agreement=0.6,
    reason="eight bits with random weights: the logits of different images, whose differences are the signal, differ "
    "by little; SCARLET-A, B and C gave 8 to 10 dB on 16 images, and the same class on 69 to 100 %",
)


@dataclass(frozen=True)
class IntegerImages:
    """Images to calibrate an int8 file with, and images to verify it with.

    Attributes:
        calibration: preprocessed images, (N, C, H, W) float32.
        unseen: images that calibration does not use, to verify the file with.
        calibrated_on, judged_on: descriptions of the two.
        bound: how near the file must come to the network on the second.
    """

    calibration: NDArray[np.float32]
    unseen: list[Image.Image]
    calibrated_on: str
    judged_on: str
    bound: Tolerance


def left_out_here(targets: Sequence[str]) -> dict[str, str]:
    """Return the targets that this machine cannot export to, each with the reason."""
    reasons = {}
    for row in check_up():
        if row.target in targets and not row.exports:
            missing = missing_modules(get_target(row.target).runtime, row.precision)
            absent = f"not installed where this was made: {' and '.join(missing)}"
            reasons[row.target] = absent if missing else str(row.remedy)
    return reasons


def zoo_network(name: str) -> Network:
    """Load a network of the zoo with the weights that this package ships for it, else with random weights.

    Raises:
        ScarletError: other weights were imported for a network that is shipped.
    """
    shipped = find_shipped(name) is not None
    if shipped and find_weights(name) is not None:
        raise ScarletError(
            f"{name}: got imported weights, wanted the shipped ones; set XDG_CACHE_HOME to an empty folder"
        )
    return load_network(name, "auto" if shipped else "random")


def is_finished(row: ExportRow | None, network: Network, folder: Path) -> bool:
    """Whether a row is up to date: weights, versions and graph variant agree, and its files exist unchanged."""
    if row is None or row.weights_sha256 != network.weights_sha256:
        return False
    if row.conditions.versions != _versions(row.target) or row.graph_variant != get_target(row.target).form:
        return False
    return all((folder / name).is_file() and file_sha256(folder / name) == row.files[name] for name in row.files)


def export_row(network: Network, target: str, folder: Path, data_dir: Path | None = None) -> ExportRow:
    """Export a network for a target, verify the file, and describe it.

    Args:
        network: network of :func:`zoo_network`.
        target: one of :data:`scarlet_zoo.deployment.targets.TARGETS`.
        folder: folder of the files.
        data_dir: folder of the data set that the network was trained on, for calibrating int8 files.

    Raises:
        ParityError: the answers of the file differ from those of the network by more than the tolerance.
        CheckFailedError: the file does not reproduce its golden outputs.
    """
    start, wanted = time.monotonic(), get_target(target)
    integers = integer_images(network, data_dir) if wanted.precision == "int8" else None
    done = export_network(network, folder, target, Recipe(), (lambda: integers.calibration) if integers else None)
    parity = _parity(network, done, integers)
    files = _files(network, folder)
    onnx_file = read_artifact(done.path) if wanted.runtime == "ort" else None
    return ExportRow(
        network=network.name,
        target=target,
        arch=str(network.arch),
        graph_variant=wanted.form,
        runtime=wanted.runtime,
        precision=wanted.precision,
        weights=network.weights,
        weights_sha256=network.weights_sha256,
        file=done.path.name,
        files={str(file.relative_to(folder)): file_sha256(file) for file in files},
        bytes=sum(file.stat().st_size for file in files),
        opset=onnx_file.opset if onnx_file else None,
        operators=operator_counts(done.path),
        parity=parity,
        calibration=_calibration(integers, onnx_file.metadata) if integers and onnx_file else None,
        seconds=round(time.monotonic() - start, 1),
        conditions=_conditions(target),
    )


def integer_images(network: Network, data_dir: Path | None) -> IntegerImages:
    """Return images of the data that the network was trained on, or photographs where its weights are random."""
    feed = network.preprocessing
    cards = [card for card in cards_of(network.name) if is_named_data(card.dataset)]
    if not network.trained or not cards:
        # A folder of somebody's images is not where the manifest is checked.
        images = photos(_PHOTOS)
        seen, unseen = images[:_CALIBRATION_PHOTOS], images[_CALIBRATION_PHOTOS:]
        return IntegerImages(feed.batch(seen), unseen, "photographs and quarters of them", "quarters of photographs",
                             INT8_PHOTOS if network.trained else INT8_RANDOM)  # fmt: skip
    (card,) = cards
    data = open_data(card.dataset, feed, data_dir)
    train, validation = (_spread(data.part(part), count)
                   for part, count in (("train", _TRAINING_IMAGES), ("validation", _UNSEEN_IMAGES)))  # fmt: skip
    unseen = [
        Image.fromarray(pixels.squeeze(-1) if feed.channels == 1 else pixels) for pixels in feed.restore(validation)
    ]
    return IntegerImages(train, unseen, f"training images of {card.dataset}", f"validation images of {card.dataset}",
                         INT8)  # fmt: skip


def _spread(split: Split, count: int) -> NDArray[np.float32]:
    images: NDArray[np.float32] = split.__getitems__(Batch(evenly(len(split), count), 0))[0].contiguous().numpy()
    return images


def _parity(network: Network, done: Exported, integers: IntegerImages | None) -> RowParity | None:
    """The parity that the export found where it verifies its file, else that of comparing file and network."""
    feed, images = network.preprocessing, "12 photographs"
    if integers is not None and TARGETS[done.target].runtime == "ort":
        exact = copy.deepcopy(network.model).double()

        def reference(batch: NDArray[np.float32]) -> NDArray[np.float64]:
            with torch.inference_mode():
                logits: NDArray[np.float64] = exact(torch.from_numpy(batch).double()).numpy()
            return logits

        images = f"{len(integers.unseen)} {integers.judged_on}"
        found = verify(reference, done.path, integers.unseen, integers.bound, preprocessing=feed)
        # A file whose last layer stays in float has no golden outputs.
        artifact = read_artifact(done.path)
        if KEY in artifact.metadata and not check_golden(artifact).passed:
            raise CheckFailedError(f"{done.path}: got other outputs than its golden outputs on this machine")
    elif TARGETS[done.target].runtime == "ort":
        found = verify(network.model, done.path, preprocessing=feed)
    elif done.parity is not None:
        found = done.parity
    else:
        return None
    return _row_parity(found, images)


def _row_parity(found: Parity, images: str) -> RowParity:
    sqnr = found.sqnr_db if np.isfinite(found.sqnr_db) else None
    return RowParity(images=images, max_abs_err=found.max_abs_err, max_rel_err=found.max_rel_err, sqnr_db=sqnr,
                     top1_agreement=found.top1_agreement, tolerance=Bound(**asdict(found.tolerance)))  # fmt: skip


def _files(network: Network, folder: Path) -> list[Path]:
    """All files of a network in the folder of its target, including files in subfolders."""
    own = [path for path in folder.iterdir() if path.name.startswith(f"{safe_name(network.name)}.")]
    return sorted(file for path in own for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def operator_counts(path: Path) -> dict[str, int] | None:
    """Count the operators of each type in a file, most frequent first; None for other formats.

    ONNX nodes, OpenVINO layers (without constants) and ncnn layers are counted.
    """
    if path.suffix == ".onnx":
        kinds = [node.op_type for node in read_onnx(path).graph.node]
    elif path.suffix == ".xml":
        layers = ElementTree.parse(path).getroot().findall("./layers/layer")
        kinds = [layer.attrib["type"] for layer in layers if layer.attrib["type"] != "Const"]
    elif path.name.endswith(".ncnn.param"):
        # The first line is a magic number, the second has the numbers of layers and blobs, each further one is a layer.
        kinds = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines()[2:] if line.strip()]
    else:
        return None
    return dict(sorted(Counter(kinds).items(), key=lambda item: (-item[1], item[0])))


def _calibration(integers: IntegerImages, metadata: Mapping[str, str]) -> Calibration:
    method = json.loads(metadata["calibration"])["method"]
    count = len(integers.calibration)
    return Calibration(images=integers.calibrated_on, count=count, method=method, isa=metadata["isa"])


def _versions(target: str) -> dict[str, str]:
    runtime = get_target(target).runtime
    own = {} if runtime == "ort" else versions(runtime, get_target(target).precision)
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}, **own}


def _conditions(target: str) -> Conditions:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Conditions(versions=_versions(target), processor=cpu_model(), machine=platform.machine(),
                      instruction_sets=cpu_features(), date=now)  # fmt: skip
