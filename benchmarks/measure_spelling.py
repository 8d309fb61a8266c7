"""Measure SCARLET-A, B and C in our graph variants and in the released spelling, interleaved."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.deployment.to_onnx import export_onnx
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.folding.fold import fold
from scarlet_zoo.latency import Settings, measure
from scarlet_zoo.measurement.compare import compare
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.utils.files import json_text, write_text

HERE = Path(__file__).parent
FORMS = ("native", "blocked")


def main() -> None:
    """Measure one network after the other, the files of each interleaved in one process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "spelling.json", help="File of the results.")
    parser.add_argument("--threads", type=int, default=1, help="Intra-op threads of ONNX Runtime.")
    parser.add_argument("--seconds", type=float, default=10.0, help="Seconds of measurement for each file.")
    arguments = parser.parse_args()
    settings = Settings(threads=arguments.threads, runs=300, seconds=arguments.seconds)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        subprocess.run([sys.executable, HERE / "released_spelling.py", folder], check=True)
        for name in (name for name, entry in ZOO.items() if entry.published):
            network = load_network(name)
            folded = fold(network.model)
            files = [folder / f"{name}.released.onnx"]
            for form in FORMS:
                path = folder / f"{name}.{form}.onnx"
                files.append(export_onnx(folded, path, Recipe(form=form), weights=network.weights).path)
            for form, timing in zip(("released", *FORMS), measure(files, settings), strict=True):
                record = {**timing.to_dict(), "file": Path(timing.file).name}
                rows.append({"name": name, "form": form, "weights": network.weights, "record": record})
    baselines = {row["name"]: row["record"] for row in rows if row["form"] == "released"}
    for row in rows:
        if row["form"] != "released":
            # The baseline is compared with ours, so that the ratio says how many times faster ours is.
            against = compare(row["record"], baselines[row["name"]])
            row["speedup"] = {"ratio": against.ratio, "low": against.low, "high": against.high, "confidence": 0.99}
            print(f"{row['name']} {row['form']}: {against.ratio:.3f} ({against.low:.3f} to {against.high:.3f}) faster")
    write_text(arguments.out, json_text(rows) + "\n")


if __name__ == "__main__":
    with one_line_errors():
        main()
