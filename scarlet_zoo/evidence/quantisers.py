"""The same network quantised by several tools, judged on the same labelled images: accuracy, SQNR and latency."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime.quantization as ort_quantization
from numpy.typing import NDArray
from onnxruntime.quantization.shape_inference import quant_pre_process

from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.graph.quantization.quantize import Int8, quantize_int8
from scarlet_zoo.graph.quantization.trial import compare_outputs
from scarlet_zoo.graph.session import OnnxClassifier
from scarlet_zoo.inference.accuracy import validate
from scarlet_zoo.inference.load import load

METHODS = ("MinMax", "Entropy", "Percentile")
# The program that NNCF's own interpreter runs: it quantises a file with images from an array.
_NNCF = """
import sys, numpy as np, onnx, nncf
source, images, out = sys.argv[1:]
data = nncf.Dataset(list(np.load(images)), lambda image: {"input": image[None]})
onnx.save(nncf.quantize(onnx.load(source), data, subset_size=len(np.load(images))), out)
"""


class Reader(ort_quantization.CalibrationDataReader):  # type: ignore[misc]
    """Calibration images for ONNX Runtime's quantiser, one at a time."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._left = iter(images)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next image as an input; None after the last."""
        image = next(self._left, None)
        return None if image is None else {"input": image[None]}


def quantised_files(
    source: Path, images: NDArray[np.float32], folder: Path, nncf_python: str | None, isa: str | None = None
) -> Mapping[str, Path]:
    """Quantise a file with every tool, and return the files by the tool's name.

    Args:
        source: a float ONNX file with the input ``input``.
        images: calibration images, (N, C, H, W).
        folder: folder for the files.
        nncf_python: an interpreter that has NNCF; None to leave it out.
        isa: instruction set for ours; that of this machine when left out.

    Raises:
        ScarletError: NNCF fails.
    """
    files = {"ours": folder / "ours.onnx"}
    quantize_int8(source, files["ours"], images, Int8(isa=isa))
    prepared = folder / "prepared.onnx"
    quant_pre_process(str(source), str(prepared))
    for method in METHODS:
        files[f"quantize_static {method}"] = folder / f"ort_{method}.onnx"
        ort_quantization.quantize_static(
            str(prepared), str(files[f"quantize_static {method}"]), Reader(images), per_channel=True,
            quant_format=ort_quantization.QuantFormat.QDQ,
            calibrate_method=getattr(ort_quantization.CalibrationMethod, method),
        )  # fmt: skip
    if nncf_python is not None:
        files["nncf"] = folder / "nncf.onnx"
        np.save(folder / "images.npy", images)
        command = [nncf_python, "-c", _NNCF, str(source), str(folder / "images.npy"), str(files["nncf"])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ScarletError(f"nncf: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return files


def judge(
    files: Mapping[str, Path],
    folder: Path,
    truth: NDArray[np.float64],
    images: NDArray[np.float32],
    feed: Preprocessing,
) -> list[dict[str, Any]]:
    """Top-1 with its 95 % interval on a folder of labelled images, and the SQNR against the float network's logits.

    Args:
        files: files by the name of the tool that wrote them.
        folder: images in folders of classes.
        truth: the float network's logits for the images, (N, classes).
        images: prepared images, (N, C, H, W).
        feed: how they were prepared.
    """
    rows = []
    for name, path in files.items():
        seen = validate(load(path, preprocessing=feed), str(folder))
        network = OnnxClassifier(path)
        score = compare_outputs([truth], [network.logits(images, network.batch)])
        rows.append({"tool": name, "top1_percent": seen.top1, "top1_interval": list(seen.top1_interval),
                     "images": seen.images, "sqnr_db": score["sqnr_db"], "same_class_as_float": score["top1_agreement"],
                     "bytes": path.stat().st_size})  # fmt: skip
    return rows
