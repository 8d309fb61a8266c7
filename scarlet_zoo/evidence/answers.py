"""Run networks on their inputs, and save their answers and optimised graphs; nothing is timed.

This file stands alone: it needs only numpy and onnxruntime, of any version, and is run by other interpreters
(``python answers.py MANIFEST.json``).
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort


def answer(manifest: str) -> dict[str, Any]:
    """Run the networks of a manifest on their inputs, and write answers and optimised graphs.

    Args:
        manifest: JSON with ``out`` (a folder) and ``networks``, each with ``name``, ``file`` and ``input`` (.npy).

    Returns:
        ``runtime_version``, ``machine`` and ``errors`` (by name of the network; None where it ran).
    """
    asked = json.loads(Path(manifest).read_text(encoding="utf-8"))
    errors = {row["name"]: _one(row, Path(asked["out"])) for row in asked["networks"]}
    return {"runtime_version": ort.__version__, "machine": platform.machine(), "errors": errors}


def _one(row: dict[str, str], out: Path) -> str | None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = str(out / f"{row['name']}.runs.onnx")
    try:
        session = ort.InferenceSession(row["file"], options, providers=["CPUExecutionProvider"])
        images = np.load(row["input"])
        name = session.get_inputs()[0].name
        answers = [session.run(None, {name: images[i : i + 1]})[0] for i in range(len(images))]
    except Exception as error:
        return str(error).strip().split("\n")[0]
    beside = out / f".{row['name']}.npy"
    np.save(beside, np.concatenate(answers))
    os.replace(beside, out / f"{row['name']}.npy")  # noqa: PTH105 - works in any Python
    return None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer(sys.argv[1])) + "\n")
