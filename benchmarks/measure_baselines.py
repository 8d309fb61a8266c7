"""Train a MobileNetV3 and an EfficientNet at the cost of a zoo network, by its recipe; run again to continue."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.zoo import ZOO, get_arch
from scarlet_zoo.data.augment import Augment
from scarlet_zoo.deployment.to_onnx import export_onnx
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.evidence.read_once import read_test_once
from scarlet_zoo.evidence.same_cost import side_of
from scarlet_zoo.latency import measure
from scarlet_zoo.models.cost import model_cost
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.training.train_network import train
from scarlet_zoo.utils.files import file_sha256, write_text

HERE = Path(__file__).parent
# TinyNet is EfficientNet, scaled down; EfficientNet-B0 has too many multiply-adds even at 28 pixels.
BASELINES = ("mobilenetv3_small_075", "tinynet_e")


def row_of(name: str, source: str, weights: Path, out: Path, log: Path) -> dict[str, Any]:
    """Cost, test accuracy and exported file of one network."""
    network = load_network(source, str(weights))
    size = network.preprocessing.size
    artifact = export_onnx(network.model, out / f"{name}.onnx", Recipe(input_size=size), weights=network.weights,
                           preprocessing=network.preprocessing)  # fmt: skip
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    seen = next((row for row in lines if row["sha256"] == file_sha256(weights)), None)
    seen = seen or read_test_once(name, source, weights, "fashion-mnist", log)
    macs = model_cost(network.model, (network.preprocessing.channels, *size)).macs
    return {"name": name, "side": size[0], "macs": macs, "test_top1": seen["top1"], "file": str(artifact.path),
            "params": sum(parameter.numel() for parameter in network.model.parameters())}  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="Folder of the training whose recipe and cost are matched.")
    parser.add_argument("--work", type=Path, required=True, help="Folder of the trainings and files.")
    given = parser.parse_args()
    run = json.loads((given.run / "run.json").read_text())
    recipe = run["settings"]
    settings = TrainSettings(**{**recipe, "augment": Augment(**recipe["augment"])})
    target = next(name for name, entry in ZOO.items() if entry.arch == run["arch"])
    rows, networks = [], HERE.parent / "weights" / "networks"
    for name in BASELINES:
        side, out = side_of(name, arch_cost(get_arch(target)).macs, 1), given.work / name
        torch.manual_seed(settings.seed)
        model = create_model(name, in_chans=1, num_classes=run["classes"])
        trained = train(model, name=name, data=run["data"], settings=settings, out=out, input_size=side)
        log = HERE / "results" / "test_reads.jsonl"
        rows.append({**row_of(name, name, out / "model.safetensors", out, log), "validation_top1": trained.top1[-1]})
    for name, entry in ZOO.items():
        if entry.published is None:
            weights = networks / f"{name}.fashion_mnist.safetensors"
            rows.append(row_of(name, entry.arch, weights, given.work, HERE.parent / "weights" / "test_reads.jsonl"))
    for row, timing in zip(rows, measure([row.pop("file") for row in rows]), strict=True):
        row["record"] = {**timing.to_dict(), "file": Path(timing.file).name}
    write_text(HERE / "results" / "baselines.json", json.dumps(rows) + "\n")
