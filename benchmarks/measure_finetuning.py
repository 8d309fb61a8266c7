"""Fine-tune EfficientNet-Lite0 on 5,000 JPEG images of CIFAR-10, and train it from scratch for the same time.

Run it again to continue: a finished row is not made again. A row that was interrupted continues from its checkpoint.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.folders import evenly
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.inference.accuracy import count_right
from scarlet_zoo.latency import cpu_model
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.training.train_network import TrainedNetwork, train
from scarlet_zoo.utils.files import file_sha256, write_text

NETWORK, SIDE, HELD = "tf_efficientnet_lite0", 96, 50
FILE = Path(__file__).parent / "results" / "finetuning.json"
# Both see the same images in the same order; each has a method that suits its start.
SHARED: dict[str, Any] = {"batch_size": 64, "ema": 0.99, "augment": Augment(shift_px=0, crop=0.35), "patience": 0,
                          "checkpoint_every": 200}  # fmt: skip
METHODS: dict[str, dict[str, Any]] = {
    "fine-tuned": {"opt": "adamw", "lr": 5e-4, "head_lr": 2e-3, "weight_decay": 0.05},
    "scratch": {"opt": "sgd", "lr": 0.1, "weight_decay": 5e-4},
}


def pick(data: Path, work: Path, each: int) -> DataPlan:
    """Copy a fixed choice of images: ``each`` a class to train on, 50 others a class to validate on, and the test part.

    Images are chosen evenly from the files of a class in the order of their names.
    """
    images = work / f"images_{each}"
    if not (images / "complete").is_file():
        shutil.rmtree(images, ignore_errors=True)
        for source in sorted(path for path in (data / "train").iterdir() if path.is_dir()):
            files = sorted(source.iterdir())
            train_on = [files[place] for place in evenly(len(files), each)]
            others = [file for file in files if file not in set(train_on)]
            held = [others[place] for place in evenly(len(others), HELD)]
            for part, chosen in (("data/train", train_on), ("validation", held)):
                (images / part / source.name).mkdir(parents=True)
                for file in chosen:
                    shutil.copyfile(file, images / part / source.name / file.name)
        shutil.copytree(data / "test", images / "data" / "test")
        (images / "complete").touch()
    return DataPlan(name=str(images / "data"), validation_data=images / "validation")


def epochs_in(minutes: float, plan: DataPlan, images: int, threads: int) -> int:
    """The number of epochs that fit into so many minutes on this machine, by the median of a few steps."""
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        how = TrainSettings(**SHARED, **METHODS["scratch"], max_steps=12, threads=threads)
        train(NETWORK, data=plan, out=folder, settings=how, input_size=SIDE,
              watch=lambda _: times.append(time.monotonic()))  # fmt: skip
    # Without the first steps, which are slower, and the last one, which validates.
    step = statistics.median(after - before for before, after in pairwise(times[2:-1]))
    # An epoch also validates, which takes a tenth of the images through a third of the work.
    return max(1, int(60 * minutes / (1.05 * step * max(1, images // SHARED["batch_size"]))))


def row_of(name: str, done: TrainedNetwork, plan: DataPlan) -> dict[str, Any]:
    """What a training has given; the test images are read here, once."""
    network = load_network(NETWORK, str(done.path))
    test = count_right(network.model, plan.open(network.preprocessing).part("test"), batch=250)
    kept = ("from", "start", "params", "steps", "seconds", "core_seconds", "loss", "settings")
    return {"name": name, **{key: done.report[key] for key in kept}, "validation": done.accuracy.to_dict(),
            "test": test.to_dict(), "machine": cpu_model(), "threads": torch.get_num_threads(),
            "torch": torch.__version__}  # fmt: skip


def main() -> None:
    """Make the rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train and test of CIFAR-10 as JPEG files")
    for name, what in (("weights", "file that imagenet_weights.py has written"), ("work", "folder of the trainings")):
        parser.add_argument(f"--{name}", type=Path, required=True, help=what)
    parser.add_argument("--minutes", type=float, default=60.0, help="time of each training")
    parser.add_argument("--each", type=int, default=500, help="training images of each class")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save", type=Path, default=FILE, help="file of the results")
    given = parser.parse_args()
    plan = pick(given.data, given.work, given.each)
    images = given.each * len(list((Path(plan.name) / "train").iterdir()))
    asked = {"data": "CIFAR-10, JPEG", "network": NETWORK, "side": SIDE, "images": images, "minutes": given.minutes,
             "weights_sha256": file_sha256(given.weights)}  # fmt: skip
    found: dict[str, Any] = read_json(given.save) if given.save.is_file() else {"asked": asked, "rows": []}
    if found["asked"] != asked:
        raise SystemExit(f"{given.save}: holds results of {found['asked']}, not of {asked}")
    # Both trainings have the same length, wherever they are run.
    found["epochs"] = found.get("epochs") or epochs_in(given.minutes, plan, images, given.threads)
    write_text(given.save, json.dumps(found) + "\n")
    for name, method in METHODS.items():
        if any(row["name"] == name for row in found["rows"]):
            continue
        how = TrainSettings(**SHARED, **method, epochs=found["epochs"], threads=given.threads)
        weights = given.weights if name == "fine-tuned" else None
        done = train(NETWORK, data=plan, out=given.work / f"{name}_{images}_{found['epochs']}", settings=how,
                     weights=weights, input_size=SIDE)  # fmt: skip
        found["rows"].append(row_of(name, done, plan))
        write_text(given.save, json.dumps(found) + "\n")
        print(name, found["rows"][-1]["test"])


if __name__ == "__main__":
    with one_line_errors():
        main()
