"""Measure what denormal weights cost on this processor, and what ONNX Runtime's own switch against them changes.

A share of a network's depthwise channels gets weights of 1e-40, as training leaves them where nobody reads a channel.
That file, the exported one, in which they are zero, and the first one with ``session.set_denormal_as_zero`` run in
turns.
"""

import argparse
import datetime
import json
import random
import statistics
import time
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

from scarlet_zoo.deployment import to_onnx
from scarlet_zoo.deployment.to_onnx import export_onnx
from scarlet_zoo.errors import ScarletWarning
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.folding.fold import fold
from scarlet_zoo.graph.denormals import denormals_of
from scarlet_zoo.latency import cpu_features, cpu_model
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.utils.files import write_text

FILE = Path(__file__).parent / "results" / "denormals.json"
NETWORKS, SHARE, VALUE = ("mobilenetv3_small_100", "scarlet_a"), 0.3, 1e-40


def files_of(name: str, folder: Path) -> dict[str, Path]:
    """A network with denormal weights, and as it is exported."""
    folded, draw = fold(load_network(name, "random").model), random.Random(0)
    with torch.no_grad():
        for module in folded.model.modules():
            if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
                module.weight[[channel for channel in range(len(module.weight)) if draw.random() < SHARE]] = VALUE
    zero = export_onnx(folded, folder / f"{name}.zero.onnx").path
    with patch.object(to_onnx, "flush_denormals"):  # as they are
        return {"denormal": export_onnx(folded, folder / f"{name}.denormal.onnx").path, "zero": zero}


def session(path: Path, *, switch: bool) -> Any:
    """A session on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if switch:
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return ort.InferenceSession(str(path), options)


def row_of(name: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Medians of all kinds, and their ratios to the file without denormal weights in the same round."""
    files = files_of(name, folder)
    weights = denormals_of(onnx.load(files["denormal"]).graph).weights
    kinds = {kind: session(path, switch=False) for kind, path in files.items()}
    kinds["denormal, set_denormal_as_zero"] = session(files["denormal"], switch=True)
    feed = {"input": np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)}
    same = {kind: bool((one.run(None, feed)[0] == kinds["zero"].run(None, feed)[0]).all())
            for kind, one in kinds.items()}  # fmt: skip
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind in random.sample(list(kinds), len(kinds)):
            kinds[kind].run(None, feed)  # the other files have emptied the caches
            begun = time.perf_counter()
            kinds[kind].run(None, feed)
            times[kind].append(1e3 * (time.perf_counter() - begun))
    ratios = {kind: statistics.median(a / b for a, b in zip(found, times["zero"], strict=True))
              for kind, found in times.items()}  # fmt: skip
    medians = {kind: statistics.median(found) for kind, found in times.items()}
    return {"name": name, "weights": weights, "rounds": rounds, "p50_ms": medians, "ratio": ratios, "same": same}


def main() -> None:
    """Measure on this processor; rows of other processors stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the files")
    parser.add_argument("--rounds", type=int, default=300, help="runs of each kind")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    rows = read_json(FILE) if FILE.is_file() else []
    where = {"device": cpu_model(), "cpu_features": cpu_features(), "onnxruntime": ort.__version__,
             "date": datetime.datetime.now(datetime.UTC).date().isoformat()}  # fmt: skip
    for name in NETWORKS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScarletWarning)
            row = {**row_of(name, given.work, given.rounds), **where}
        rows = [old for old in rows if (old["name"], old["device"]) != (name, row["device"])] + [row]
        write_text(FILE, json.dumps(rows, indent=1) + "\n")
        print(name, row["weights"], {kind: f"{ratio:.3f}" for kind, ratio in row["ratio"].items()}, row["same"])


if __name__ == "__main__":
    with one_line_errors():
        main()
