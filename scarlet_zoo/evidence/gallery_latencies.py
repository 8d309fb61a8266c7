"""The latencies of the zoo's networks that come with the package, from the committed records."""

from __future__ import annotations

import json
from pathlib import Path

from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.measurement.gallery.latencies import latency_of
from scarlet_zoo.measurement.records import check_record
from scarlet_zoo.utils.files import json_text

# Records that measure networks of the zoo, and the variants of them that are files of ours.
_RECORDS = ("peers", "cifar10", "baselines")
_VARIANTS = (None, "native", "blocked", "int8")


def packaged_text(results: Path) -> str:
    """Return the text of the package's file of latencies.

    Args:
        results: folder of the committed records.
    """
    rows = []
    for name in _RECORDS:
        content = json.loads((results / f"{name}.json").read_text())
        for row in content["rows"] if isinstance(content, dict) else content:
            if row["name"] in ZOO and row.get("variant") in _VARIANTS and "record" in row:
                record = check_record(row["record"], f"{name}.json, {row['name']}")
                one = latency_of(record.model_copy(update={"network": row["name"]}), f"{name}.json")
                rows.append(one.model_dump())
    lines = ",\n ".join(json_text(row) for row in rows)
    return f"[{lines}]\n"
