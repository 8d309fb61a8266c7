"""Measure accuracy on test images, once for each network, after all choices are made."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.errors import CheckFailedError
from scarlet_zoo.inference.accuracy import validate_part
from scarlet_zoo.inference.load import load
from scarlet_zoo.utils.files import file_sha256, write_text


def read_test_once(
    name: str, source: str, weights: Path, data: str, log: Path, folder: Path | None = None
) -> dict[str, Any]:
    """Measure a trained network on the test images and append the result to a log, one line of JSON.

    Args:
        name: name of the network in the log.
        source: identity string or timm name of the network.
        weights: file of its weights.
        data: name of the data set.
        log: file of the log, whose lines are ``name date sha256 images top1``.
        folder: folder of the data.

    Returns:
        The line of the network; the earlier line, if the same weights were measured before.

    Raises:
        CheckFailedError: the log has this network with other weights, and the test images are read only once.
    """
    lines = log.read_text(encoding="utf-8") if log.is_file() else ""
    before = next((row for line in lines.splitlines() if (row := json.loads(line))["name"] == name), None)
    if before is not None and before["sha256"] == file_sha256(weights):
        return dict(before)
    if before is not None:
        raise CheckFailedError(
            f"{log}: {name} was measured with other weights, and the test images are read only once for each name"
        )
    classifier = load(source, str(weights), trained_only=True)
    result = validate_part(classifier, open_data(data, classifier.preprocessing, folder), "test", batch=500)
    row = {
        "name": name,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "sha256": file_sha256(weights),
        "images": result.images,
        "top1": result.top1,
    }
    write_text(log, lines + json.dumps(row) + "\n")
    return row
