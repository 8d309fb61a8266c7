"""The test pictures, read once for each network, after every choice is made."""

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
    """Measure a trained network on the test pictures and write it down, one line of JSON a network.

    Args:
        name: what the log calls the network.
        source: its identity string or timm name.
        weights: its file.
        data: the data set.
        log: the file of lines ``name date sha256 images top1``.
        folder: where the data is.

    Returns:
        The line; the one that is there, if these very weights were measured before.

    Raises:
        CheckFailedError: the log has this network with other weights; its test pictures are not read again.
    """
    lines = log.read_text(encoding="utf-8") if log.is_file() else ""
    before = next((row for line in lines.splitlines() if (row := json.loads(line))["name"] == name), None)
    if before is not None and before["sha256"] == file_sha256(weights):
        return dict(before)
    if before is not None:
        raise CheckFailedError(f"{log}: {name} has read its test pictures, which is done once")
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
