"""Train a MobileNetV3 and an EfficientNet at the cost of a zoo network, by its recipe; run again to continue."""

import argparse
import json
from pathlib import Path

import torch

from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.zoo import ZOO, get_arch
from scarlet_zoo.data.augment import Augment
from scarlet_zoo.evidence.beside_rivals import measured_together, row_of
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.evidence.same_cost import side_of
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.training.train_network import train
from scarlet_zoo.utils.files import write_text

HERE, DATA = Path(__file__).parent, "fashion-mnist"
# TinyNet is EfficientNet, scaled down; EfficientNet-B0 has too many multiply-adds even at 28 pixels.
BASELINES = ("mobilenetv3_small_075", "tinynet_e")


if __name__ == "__main__":
    with one_line_errors():
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("run", type=Path, help="Folder of the training whose recipe and cost are matched.")
        parser.add_argument("--work", type=Path, required=True, help="Folder of the trainings and files.")
        given = parser.parse_args()
        run = read_json(given.run / "run.json")
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
            row = row_of(name, name, out / "model.safetensors", DATA, out, log)
            rows.append({**row, "validation_top1": trained.top1[-1]})
        for name, entry in ZOO.items():
            if (weights := networks / f"{name}.fashion_mnist.safetensors").is_file():
                log = HERE.parent / "weights" / "test_reads.jsonl"
                rows.append(row_of(name, entry.arch, weights, DATA, given.work, log))
        write_text(HERE / "results" / "baselines.json", json.dumps(measured_together(rows)) + "\n")
