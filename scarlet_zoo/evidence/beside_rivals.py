"""Networks of ours beside rivals of the same cost: accuracy on test images, read once, and latency in one run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scarlet_zoo.deployment.to_onnx import export_onnx
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.evidence.read_once import read_test_once
from scarlet_zoo.latency import measure
from scarlet_zoo.models.cost import model_cost
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.utils.files import file_sha256, make_folder

_FILE = "file"
_CLASSES = 10  # of CIFAR-10


def row_of(name: str, source: str, weights: Path, data: str, out: Path, log: Path) -> dict[str, Any]:
    """The cost, the test accuracy and the exported file of one network.

    Args:
        name: its name in the row.
        source: what it is loaded by: a name or an identity string.
        weights: file of its weights.
        data: the data set whose test part is read, once for these weights.
        out: folder that gets the exported file.
        log: log of the readings of test images.
    """
    make_folder(out)
    network = load_network(source, str(weights))
    size = network.preprocessing.size
    artifact = export_onnx(network.model, out / f"{name}.onnx", Recipe(input_size=size), weights=network.weights,
                           preprocessing=network.preprocessing)  # fmt: skip
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    seen = next((row for row in lines if row["sha256"] == file_sha256(weights)), None)
    seen = seen or read_test_once(name, source, weights, data, log)
    macs = model_cost(network.model, (network.preprocessing.channels, *size)).macs
    return {"name": name, "side": size[0], "macs": macs, "test_top1": seen["top1"], "test_images": seen["images"],
            "params": sum(parameter.numel() for parameter in network.model.parameters()),
            _FILE: str(artifact.path)}  # fmt: skip


def timed_again(name: str, source: str, record: Path, out: Path) -> dict[str, Any]:
    """The row of a network that was measured before and whose weights are gone, with a file to time anew.

    Args:
        name, source: as for :func:`row_of`.
        record: the rows of then.
        out: folder that gets the exported file.
    """
    make_folder(out)
    before = next(row for row in json.loads(record.read_text()) if row["name"] == name)
    network = load_network(source, "random", input_size=before["side"], num_classes=_CLASSES)
    artifact = export_onnx(network.model, out / f"{name}.onnx", Recipe(input_size=network.preprocessing.size),
                           weights=network.weights, preprocessing=network.preprocessing)  # fmt: skip
    return {**{key: value for key, value in before.items() if key != "record"}, _FILE: str(artifact.path)}


def measured_together(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Measure the files of all rows in one interleaved run; each row gets its record in place of its file."""
    timings = measure([row[_FILE] for row in rows])
    return [
        {**{key: value for key, value in row.items() if key != _FILE},
         "record": {**timing.to_dict(), "file": Path(timing.file).name}}
        for row, timing in zip(rows, timings, strict=True)
    ]  # fmt: skip
