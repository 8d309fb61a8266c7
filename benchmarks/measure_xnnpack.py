"""Measure networks on XNNPACK with their wide depthwise kernels split and as they are, beside ONNX Runtime.

It needs ``pip install '.[executorch]'`` or ``'.[litert]'``, each in an environment of its own; the rows of the other
runtime stay as they are. All files of a network are measured interleaved in one run.
"""

import argparse
import json
from pathlib import Path
from unittest.mock import patch

from scarlet_zoo.deployment.runtimes import wide_depthwise
from scarlet_zoo.deployment.runtimes.registry import missing_modules
from scarlet_zoo.deployment.to_target import export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.measurement.bench import bench
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.utils.files import write_text

FILE = Path(__file__).parent / "results" / "xnnpack.json"
NETWORKS = ("scarlet_a", "scarlet_b", "scarlet_c", "mixnet_s", "mobilenetv3_large_100")
RUNTIMES = ("executorch", "litert")


def row_of(name: str, runtime: str, folder: Path) -> dict[str, object]:
    """The records of a network's files: split, as it is, and ONNX Runtime's."""
    network = load_network(name, "random")
    paths = {"onnxruntime": export_network(network, folder / "ort", "ort", Recipe()).path,
             "split": export_network(network, folder / "split", runtime, Recipe()).path}  # fmt: skip
    with patch.object(wide_depthwise, "MOST_TAPS", 10**9):
        paths["as it is"] = export_network(network, folder / "whole", runtime, Recipe()).path
    timed = bench([str(path) for path in paths.values()], repeats=0)
    records = {kind: record.to_dict() for kind, record in zip(paths, timed, strict=True)}
    return {"name": name, "runtime": runtime, "records": records}


def main() -> None:
    """Measure with the runtimes that are installed here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the files")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), help="networks to measure")
    given = parser.parse_args()
    rows = {(row["name"], row["runtime"]): row for row in read_json(FILE)} if FILE.is_file() else {}
    for runtime in (runtime for runtime in RUNTIMES if not missing_modules(runtime)):
        for name in given.networks:
            row = row_of(name, runtime, given.work / runtime)
            rows[name, runtime] = row
            write_text(FILE, json.dumps(list(rows.values())) + "\n")
            ms = {kind: round(record["p50_ms"], 2) for kind, record in row["records"].items()}  # type: ignore[attr-defined]
            print(name, runtime, ms, flush=True)


if __name__ == "__main__":
    with one_line_errors():
        main()
