"""Measure the shipped networks in int8 and float32 on validation images, then once on the test images."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.data.batches import Batch
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.deployment.to_target import export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.evidence.read_once import read_test_once
from scarlet_zoo.graph.quantization.quantize import Int8
from scarlet_zoo.inference.accuracy import validate_part
from scarlet_zoo.inference.load import load
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.utils.files import file_sha256, write_text

HERE = Path(__file__).parent
DATA, IMAGES = "fashion-mnist", 512


def row_of(name: str, folder: Path) -> dict[str, Any]:
    """Quantise one network on training images and measure it on validation images, then on the test images."""
    network = load_network(name)
    data = open_data(DATA, network.preprocessing)
    train = data.part("train")
    picked = tuple(place * len(train) // IMAGES for place in range(IMAGES))

    def calibration() -> NDArray[np.float32]:
        images: NDArray[np.float32] = train.__getitems__(Batch(picked, 0))[0].contiguous().numpy()
        return images

    exact = export_network(network, folder / "float", "ort", Recipe())
    integers = export_network(network, folder / "int8", "ort-int8", Recipe(), calibration, Int8())
    validation = [validate_part(load(str(exported.path), "auto"), data, "validation", batch=500).top1
            for exported in (exact, integers)]  # fmt: skip
    log = HERE / "results" / "test_reads.jsonl"
    digest = file_sha256(integers.path)
    seen = read_test_once(f"{name} int8 {digest[:12]}", str(integers.path), integers.path, DATA, log)
    shipped = HERE.parent / "weights" / "networks" / f"{name}.fashion_mnist.safetensors"
    reads = [json.loads(line) for line in (HERE.parent / "weights" / "test_reads.jsonl").read_text().splitlines()]
    floats = next(row["top1"] for row in reads if row["sha256"] == file_sha256(shipped))
    return {
        "name": name,
        "weights": network.weights,
        "weights_sha256": network.weights_sha256,
        "int8_sha256": digest,
        "calibration_images": IMAGES,
        "methods": integers.quantized.methods if integers.quantized else {},
        "validation_top1": {"float32": validation[0], "int8": validation[1]},
        "test_top1": {"float32": floats, "int8": seen["top1"]},
        "test_images": seen["images"],
        "test_points_lost": round(floats - seen["top1"], 4),
        "bytes_ratio": integers.path.stat().st_size / exact.path.stat().st_size,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        rows = [row_of(name, Path(temporary) / name) for name, entry in ZOO.items() if entry.published is None]
    write_text(HERE / "results" / "int8_accuracy.json", json.dumps(rows, indent=1) + "\n")
    for row in rows:
        print(row["name"], row["validation_top1"], row["test_top1"], row["test_points_lost"])
