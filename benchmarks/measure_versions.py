"""Test versions of ONNX Runtime, opsets and graph variants: loading, fusion, correctness and latency."""

import argparse
import itertools
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.to_target import export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.graph.fusion import inspect
from scarlet_zoo.graph.runtime_versions import interpreter_of
from scarlet_zoo.graph.session import OnnxClassifier
from scarlet_zoo.latency import cpu_model
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.utils.files import write_text

HERE = Path(__file__).parent
VERSIONS = ("1.18.1", "1.20.1", "1.22.1", "1.24.1", "1.27.0", "1.30.0")
OPSETS, FORMS, ROUNDS, RUNS = (17, 20, 22), ("native", "released", "int8"), 5, 20
WORKER = """
import sys, time, json, numpy as np, onnxruntime as ort
options = ort.SessionOptions(); options.intra_op_num_threads = 1; options.log_severity_level = 4
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
images = np.load(sys.argv[2])
logits = np.concatenate([session.run(None, {"input": image[None]})[0] for image in images])
np.save(sys.argv[3], logits)
print("ready", flush=True)
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        begun = time.perf_counter(); session.run(None, {"input": images[:1]}); times.append(time.perf_counter() - begun)
    print(json.dumps(times), flush=True)
"""


def files_of(name: str, folder: Path) -> tuple[dict[tuple[int, str], Path], Path, np.ndarray]:
    """Export the nine files; return them, the file of the images, and the float32 logits to compare with."""
    network = load_network(name)
    images = network.preprocessing.batch(photos(28))
    files = {}
    for opset, form in itertools.product(OPSETS, FORMS):
        recipe = Recipe(opset=min(opset, 20), form=form)
        target = {"native": "native", "int8": "ort-int8"}.get(form, "native")
        out = folder / f"{form}-{opset}"
        exported = export_network(network, out, target, recipe, lambda: images[:24]).path
        if form == "released":
            from scarlet_zoo.deployment.optimize import optimize_file

            exported = optimize_file(exported, out / "released" / exported.name, "released").artifact.path
        proto = onnx.load(exported)
        if opset > 20:  # no operator of these files has changed since opset 20
            proto.opset_import[0].version, proto.ir_version = opset, 10
        files[opset, form] = out / "file.onnx"
        onnx.save(proto, files[opset, form])
    np.save(folder / "images.npy", images[24:])
    return files, folder / "images.npy", OnnxClassifier(files[17, "native"]).logits(images[24:], 1)


def cell(version: str, file: Path, images: Path, truth: np.ndarray, folder: Path) -> tuple[dict[str, Any], Any]:
    """Test a file in a version of ONNX Runtime; return the results and the process that has loaded it."""
    out = folder / "logits.npy"
    command = [str(interpreter_of(f"ort=={version}")), "-c", WORKER, str(file), str(images), str(out)]
    worker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert worker.stdout is not None
    if worker.stdout.readline() != "ready\n":
        return {"loads": False}, None
    try:
        totals = inspect(file, f"ort=={version}").totals
    except ArtifactError:
        return {"loads": False}, None
    difference = float(np.abs(np.load(out) - truth).max())
    return {"loads": True, "fused": totals["fused"], "unfused": totals["unfused"], "float": totals["float"],
            "convolutions": totals["convolutions"], "max_abs_err": difference}, worker  # fmt: skip


if __name__ == "__main__":
    with one_line_errors():
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--network", default="scarlet_c", help="Name of the network.")
        name, rows, workers = parser.parse_args().network, [], []
        with tempfile.TemporaryDirectory() as temporary:
            files, images, truth = files_of(name, Path(temporary))
            for version, ((opset, form), file) in itertools.product(VERSIONS, files.items()):
                found, worker = cell(version, file, images, truth, Path(temporary))
                rows.append({"network": name, "version": version, "opset": opset, "form": form, **found})
                workers.append(worker)
            samples: list[list[float]] = [[] for _ in workers]
            for _ in range(ROUNDS):
                for worker, times in zip(workers, samples, strict=True):
                    if worker is not None:
                        worker.stdin.write(f"{RUNS}\n")
                        worker.stdin.flush()
                        times += json.loads(worker.stdout.readline())[RUNS // 4 :]
            for worker in workers:
                if worker is not None:
                    worker.communicate()
        base = next(np.median(times) for row, times in zip(rows, samples, strict=True)
                    if (row["version"], row["opset"], row["form"]) == (VERSIONS[-1], 17, "native"))  # fmt: skip
        for row, times in zip(rows, samples, strict=True):
            row["relative_latency"] = float(np.median(times) / base) if times else None
        write_text(
            HERE / "results" / "versions.json", json.dumps({"device": cpu_model(), "rows": rows}, indent=1) + "\n"
        )
