"""Compare int8 files of several quantisers, and the float network: accuracy on ImageNet images, SQNR and latency.

The weights come from benchmarks/imagenet_weights.py. Every fifth class calibrates, the others are judged on.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from scarlet_zoo.data.folders import list_images
from scarlet_zoo.data.image_io import open_image
from scarlet_zoo.deployment.to_onnx import export_onnx
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.evidence.quantisers import judge, quantised_files
from scarlet_zoo.graph.quantization.isa import this_isa
from scarlet_zoo.graph.session import OnnxClassifier
from scarlet_zoo.inference.accuracy import validate
from scarlet_zoo.inference.load import load
from scarlet_zoo.latency import Settings, measure
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.utils.files import file_sha256, json_text, write_text

RESULT = Path(__file__).parent / "results" / "quantisers.json"
CALIBRATES = 5


def split(images: Path, folder: Path) -> tuple[Path, Path]:
    """Link every fifth class folder for calibration, and the others to judge on."""
    parts = folder / "calibrate", folder / "judge"
    for part in parts:
        part.mkdir()
    for index, source in enumerate(sorted(path for path in images.iterdir() if path.is_dir())):
        (parts[0 if index % CALIBRATES == 0 else 1] / source.name).symlink_to(source.resolve())
    return parts


def main() -> None:
    """Quantise with every tool, judge, and time all files interleaved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="tf_efficientnet_lite0", help="name in timm")
    parser.add_argument("--weights", required=True, help="its weights, a safetensors file")
    parser.add_argument("--images", required=True, type=Path, help="ImageNet images in folders of classes")
    parser.add_argument("--nncf", help="a Python that has NNCF")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        calibrate, judged = split(asked.images, folder)
        network = load_network(asked.network, asked.weights)
        feed, source = network.preprocessing, folder / "float.onnx"
        export_onnx(network.model, source, weights=network.weights, preprocessing=feed)
        calibration, images = (feed.batch([open_image(file) for file in list_images(part)[0]])
                               for part in (calibrate, judged))  # fmt: skip
        truth = OnnxClassifier(source).logits(images, 8)
        files = {"float32": source, **quantised_files(source, calibration, folder, asked.nncf)}
        torch_seen = validate(load(asked.network, asked.weights), str(judged))
        rows = judge(files, judged, truth, images, feed)
        timings = measure(list(files.values()), Settings(openings=6))
        for row, timing in zip(rows, timings, strict=True):
            row |= {"p50_ms": timing.p50_ms, "cv": timing.cv, "stable": timing.stable}
    kept = read_json(RESULT) if RESULT.is_file() else {}
    kept[asked.network] = {
        "weights_sha256": file_sha256(Path(asked.weights)), "calibration_images": len(calibration), "isa": this_isa(),
        "onnxruntime": onnxruntime.__version__, "numpy": np.__version__,
        "torch": {"top1_percent": torch_seen.top1, "top1_interval": list(torch_seen.top1_interval)},
        "conditions": timings[0].conditions, "rows": rows,
    }  # fmt: skip
    write_text(RESULT, json_text(kept, indent=1) + "\n")


if __name__ == "__main__":
    with one_line_errors():
        main()
