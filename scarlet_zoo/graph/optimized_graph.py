"""Write the graph that ONNX Runtime really runs to a file.

This file stands alone: it needs onnxruntime only, of any version, and can be run by another interpreter
(``python optimized_graph.py FILE OUT`` prints the runtime's version and the processor architecture as JSON).
"""

from __future__ import annotations

import json
import platform
import sys

import onnxruntime as ort


def write_optimized(path: str, out: str) -> dict[str, str]:
    """Load a model with all optimisations of this runtime, and write the optimised graph as ONNX.

    Args:
        path: an ``.onnx`` or ``.ort`` file.
        out: path of the optimised graph.

    Returns:
        ``runtime_version`` and ``machine`` (processor architecture), for which alone the graph is valid.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    options.optimized_model_filepath = out
    # By default the format follows the file's ending, which a temporary file may not have.
    options.add_session_config_entry("session.save_model_format", "ONNX")
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return {"runtime_version": ort.__version__, "machine": platform.machine()}


if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(write_optimized(*sys.argv[1:3])) + "\n")
    except Exception as failure:  # the runtime's exceptions have no common base but Exception
        sys.exit(" ".join(str(failure).split()))
