"""Measure SCARLET and a MobileNetV3 on every installed runtime, interleaved; run again to continue."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.runtimes.doctor import check_up
from scarlet_zoo.deployment.runtimes.runner import cold_start, open_runner
from scarlet_zoo.deployment.to_target import export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.latency import Settings, measure
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.utils.files import write_text
from scarlet_zoo.utils.silence import silence

RESULTS = Path(__file__).parent / "results" / "runtimes.json"
PEER = "mobilenetv3_large_100"
TWICE = ("ort-x64", "ort-arm64")  # other names of the target ort


def rows_of(name: str, targets: list[str], folder: Path) -> list[dict[str, Any]]:
    """Measure the files of one network interleaved in one process, for each number of threads."""
    network, exported, rows = load_network(name, "random"), {}, []
    images = network.preprocessing.batch(photos(24))
    for target in targets:
        exported[target] = export_network(network, folder / target, target, Recipe(), lambda: images)
    for threads in (1, 2):
        settings = Settings(threads=threads, runs=200, seconds=6.0)
        with silence():
            timings = measure(
                [done.path for done in exported.values()], settings, open_runner=open_runner, cold_start=cold_start
            )
        for (target, done), timing in zip(exported.items(), timings, strict=True):
            record = {**timing.to_dict(), "file": f"{target}/{done.path.name}"}
            parity = done.parity.sqnr_db if done.parity else None
            rows.append({"name": name, "target": target, "threads": threads, "weights": network.weights,
                         "sqnr_db": parity, "record": record})  # fmt: skip
            print(f"{name} {target} {threads}: {timing.p50_ms:.2f} ms")
    return rows


if __name__ == "__main__":
    with one_line_errors():
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--again", action="store_true", help="Measure networks that the file has already, too.")
        rows = read_json(RESULTS) if RESULTS.exists() and not parser.parse_args().again else []
        runnable = [row.target for row in check_up() if row.runs and row.target not in TWICE]
        for name in [*(name for name, entry in ZOO.items() if entry.published), PEER]:
            if name not in {row["name"] for row in rows}:
                with tempfile.TemporaryDirectory() as temporary:
                    rows += rows_of(name, runnable, Path(temporary))
                write_text(RESULTS, json.dumps(rows) + "\n")
