"""Measure the shipped networks in int8 and float32 on validation images, then once on the test images.

Networks that the record has with the same weights are not measured again.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.data.batches import Batch
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.deployment.to_target import export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.evidence.read_once import read_test_once
from scarlet_zoo.graph.quantization.quantize import Int8
from scarlet_zoo.inference.accuracy import validate_part
from scarlet_zoo.inference.load import load
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.models.weights.cards import all_cards
from scarlet_zoo.models.weights.checkpoint import read_metadata
from scarlet_zoo.utils.files import file_sha256, write_text

HERE = Path(__file__).parent
FILE, IMAGES = HERE / "results" / "int8_accuracy.json", 512


def row_of(name: str, tag: str, source: str, folder: Path) -> dict[str, Any]:
    """Quantise one network on training images and measure it on validation images, then on the test images."""
    network, shipped = load_network(f"{name}.{tag}"), HERE.parent / "weights" / "networks" / f"{name}.{tag}.safetensors"
    # The validation images of the training, which has seen all others.
    data = open_data(source, network.preprocessing, validation=int(read_metadata(shipped)["validation"]))
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
    seen = read_test_once(f"{name} int8 {digest[:12]}", str(integers.path), integers.path, source, log)
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
    with one_line_errors():
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--cifar10", required=True, help="Folder with train and test of CIFAR-10 as JPEG files.")
        sources = {"fashion_mnist": "fashion-mnist", "cifar10_jpeg": parser.parse_args().cifar10}
        rows = read_json(FILE) if FILE.is_file() else []
        measured = {row["weights_sha256"] for row in rows}
        for card in all_cards().values():
            if not card.redistributed or load_network(f"{card.name}.{card.tag}").weights_sha256 in measured:
                continue
            with tempfile.TemporaryDirectory() as temporary:
                row = row_of(card.name, card.tag, sources[card.tag], Path(temporary))
            rows = [*(before for before in rows if before["name"] != card.name), row]
            write_text(FILE, json.dumps(rows, indent=1) + "\n")
            print(row["name"], row["validation_top1"], row["test_top1"], row["test_points_lost"])
