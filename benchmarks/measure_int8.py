"""Measure SCARLET-A, B and C in int8 and float32, interleaved, and compare their answers on unseen photographs."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from scarlet_zoo.arch.zoo import ZOO, list_archs
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.to_target import export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.graph.fusion import inspect
from scarlet_zoo.graph.quantization.quantize import Int8
from scarlet_zoo.graph.session import OnnxClassifier
from scarlet_zoo.latency import Settings, measure
from scarlet_zoo.measurement.compare import compare
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.utils.files import write_text

HERE = Path(__file__).parent
# Calibration uses whole photographs and half of their quarters; crops of the other quarters are unseen.
CALIBRATION, UNSEEN = slice(0, 24), slice(24, 40)


def row_of(name: str, folder: Path) -> dict[str, object]:
    """Export one network in float32 (the fastest graph variant) and in int8, and measure both files interleaved."""
    network = load_network(name)
    feed, photographs = network.preprocessing, photos(40)
    images, unseen = feed.batch(photographs[CALIBRATION]), replace(feed, crop=0.7).batch(photographs[UNSEEN])
    exact = export_network(network, folder / "float", "ort", Recipe())
    integers = export_network(network, folder / "int8", "ort-int8", Recipe(), lambda: images, Int8())
    truth, got = (OnnxClassifier(exported.path).logits(unseen, 1) for exported in (exact, integers))
    timings = measure([exact.path, integers.path], Settings(runs=300, seconds=10.0))
    records = [timing.to_dict() for timing in timings]
    for record in records:
        record["file"] = "/".join(Path(record["file"]).parts[-2:])
    speed = compare(records[1], records[0])
    error = np.mean((got - truth) ** 2)
    return {
        "name": name,
        "weights": network.weights,
        "form": exact.described["form"],
        "speedup": {"ratio": speed.ratio, "low": speed.low, "high": speed.high, "confidence": speed.confidence},
        "bytes_ratio": integers.path.stat().st_size / exact.path.stat().st_size,
        "calibration_images": len(images),
        "unseen_crops": len(unseen),
        "sqnr_db": float(10 * np.log10(np.mean(truth**2) / error)),
        "sqnr_of_differences_db": float(10 * np.log10(np.var(truth, axis=0).mean() / error)),
        "top1_agreement": float(np.mean(truth.argmax(1) == got.argmax(1))),
        "methods": integers.quantized.methods if integers.quantized else {},
        "fusion": inspect(integers.path).totals,
        "records": records,
    }


if __name__ == "__main__":
    with one_line_errors():
        with tempfile.TemporaryDirectory() as temporary:
            rows = [row_of(name, Path(temporary) / name) for name in list_archs() if ZOO[name].published]
        write_text(HERE / "results" / "int8.json", json.dumps(rows) + "\n")
        for row in rows:
            print(row["name"], row["speedup"], row["bytes_ratio"], row["sqnr_db"], row["top1_agreement"])
