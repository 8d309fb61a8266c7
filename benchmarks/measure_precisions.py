"""Compare a network's files in every precision on every runtime: accuracy on real images, SQNR, and paired latency.

Runtimes that are not installed are left out and said so. The files are timed interleaved in one run.
"""

import argparse
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np

from scarlet_zoo.data.calibration_sets import any_calibration_images
from scarlet_zoo.deployment.runtimes.runner import cold_start, open_runner
from scarlet_zoo.deployment.targets import TARGETS
from scarlet_zoo.deployment.to_target import export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.evidence.zoo_exports import left_out_here
from scarlet_zoo.inference.accuracy import validate
from scarlet_zoo.inference.load import load
from scarlet_zoo.latency import Settings, measure
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.silence import silence

RESULT = Path(__file__).parent / "results" / "precisions.json"
WANTED = ["ort", *(name for name, target in TARGETS.items() if target.runtime != "coreml"
                   and (target.precision != "float32" or target.runtime != "ort"))]  # fmt: skip


def row_of(path: Path, done: object, data: str, images: int, folder: Path | None) -> dict[str, object]:
    """The accuracy of a file, and what its export told."""
    told = done.to_dict()  # type: ignore[attr-defined]
    seen = validate(load(path), data, data_dir=folder, limit=images)
    parity = told.get("parity") or {}
    return {"target": told["target"], "precision": told["precision"], "computes_in": told.get("computes_in"),
            "bytes": sum(file.stat().st_size for file in path.parent.iterdir() if not file.name.endswith(".json")),
            "top1_percent": seen.top1, "top1_interval": list(seen.top1_interval), "images": seen.images,
            "photographs_sqnr_db": parity.get("sqnr_db"), "judged_sqnr_db": told.get("sqnr_db")}  # fmt: skip


def main() -> None:
    """Export for every target that works here, judge the files, and time them interleaved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="scarlet_mini_s", help="a network's name")
    parser.add_argument("--weights", default="auto", help="its weights")
    parser.add_argument("--data", default="fashion-mnist", help="data set to judge on, see scarlet-zoo validate")
    parser.add_argument("--data-dir", type=Path, help="folder of the data set")
    parser.add_argument("--calibration", required=True, help="images to calibrate int8 on")
    parser.add_argument("--images", type=int, default=1000, help="validation images to judge on")
    parser.add_argument("--targets", nargs="+", default=WANTED, help="targets, of which the first is ort")
    asked = parser.parse_args()
    network, absent = load_network(asked.network, asked.weights), left_out_here(asked.targets)
    calibration = any_calibration_images(asked.calibration, network.preprocessing, 128)
    rows, files = [], []
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for target in [name for name in asked.targets if name not in absent]:
            try:
                images = (lambda: calibration) if TARGETS[target].precision == "int8" else None
                done = export_network(network, Path(temporary) / target, target, Recipe(batch=1), images)
            except ScarletError as error:
                absent[target] = str(error).replace(temporary, "")
                continue
            rows.append(row_of(done.path, done, asked.data, asked.images, asked.data_dir))
            files.append(done.path)
            print(json.dumps(rows[-1]), flush=True)
        with silence():
            settings = Settings(openings=4)
            timings = measure(files, settings, open_runner=open_runner, cold_start=cold_start)
    for row, timing in zip(rows, timings, strict=True):
        row |= {"p50_ms": timing.p50_ms, "of_ort_float32": timing.p50_ms / timings[0].p50_ms, "cv": timing.cv,
                "stable": timing.stable, "runtime_version": timing.conditions["runtime_version"]}  # fmt: skip
    kept = read_json(RESULT) if RESULT.is_file() else {}
    kept[asked.network] = {"weights": network.weights, "calibration_images": len(calibration), "left_out": absent,
                           "conditions": timings[0].conditions, "numpy": np.__version__, "rows": rows}  # fmt: skip
    write_text(RESULT, json_text(kept, indent=1) + "\n")


if __name__ == "__main__":
    with one_line_errors():
        main()
