"""Measure images a second of the loader alone and with a network in training, for one data set in three forms."""

import argparse
import datetime
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, as on the command line

import numpy as np
import torch
import torchvision

from scarlet_zoo.data.augmentations import augment_plan
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.mixing import Mixed, Mixing
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.splits import ArraySplit
from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.evidence.loading import JpegCIFAR10, measured_in_turns, write_as_torchvision_does
from scarlet_zoo.latency import cpu_features, cpu_model
from scarlet_zoo.utils.files import write_text

RESULTS = Path(__file__).parent / "results" / "loader.json"
NETWORK, BATCH, THREADS, HELD = "scarlet_mini_s", 128, 2, 5000
FEED = Preprocessing((32, 32), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "bilinear", 1.0)
# What each augmentation costs, on the folder.
AUGMENTS = {"none": "none", "small": "small", "photo": "photo", "small,erase=0.25": "small,erase=0.25",
            "small,color-jitter=0.4": "small,color-jitter=0.4", "small,randaugment": "small,randaugment",
            "small,trivialaugment": "small,trivialaugment"}  # fmt: skip


def splits(images: Path, work: Path) -> tuple[dict[str, Any], dict[str, Any], float]:
    """The three forms, the altered ones, and the rate at which the folder was decoded once."""
    write_as_torchvision_does(images, work / "torchvision")
    setattr(torchvision.datasets, "JpegCIFAR10", JpegCIFAR10)  # noqa: B010
    plans = {name: augment_plan([text]).for_data("folder", FEED.size) for name, text in AUGMENTS.items()}
    folder = open_data(str(images), FEED, validation=HELD, cache_gb=1)
    named = open_data("torchvision:JpegCIFAR10", FEED, work / "torchvision", HELD, cache_gb=1)
    held = JpegCIFAR10(str(work / "torchvision"))
    forms = {
        "folder": folder.part("train", plans["small"]),
        "torchvision": named.part("train", plans["small"]),
        "array": ArraySplit(held.data, np.asarray(held.targets), FEED, plans["small"]),
    }
    begun = time.perf_counter()
    forms["folder"].prepare()
    decoded = len(forms["folder"]) / (time.perf_counter() - begun)
    altered: dict[str, Any] = {f"of {name}": folder.part("train", plan) for name, plan in plans.items()}
    altered["of mixup and cutmix"] = Mixed(forms["folder"], Mixing(0.2, 1.0), 10)
    altered["opened each time"] = open_data(str(images), FEED, validation=HELD).part("train", plans["small"])
    for split in (*forms.values(), *altered.values()):
        split.prepare()
    return forms, altered, decoded


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="CIFAR-10, JPEG: train and test with class folders.")
    parser.add_argument("--work", type=Path, required=True, help="Folder for the pixel cache and torchvision's files.")
    parser.add_argument("--rounds", type=int, default=20, help="Number of measured turns of everything.")
    parser.add_argument("--remark", default="", help="What else is true of the machine during the measurement.")
    arguments = parser.parse_args()
    os.environ["XDG_CACHE_HOME"] = str(arguments.work / "cache")
    shutil.rmtree(arguments.work / "cache", ignore_errors=True)
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    forms, altered, decoded = splits(arguments.images, arguments.work)
    found = measured_in_turns(NETWORK, forms, altered, BATCH, arguments.rounds)
    rows = [{"what": name, **{f"p{share}": float(np.percentile(own, share)) for share in (10, 50, 90)},
             "over_training": float(np.median(np.array(own) / np.array(found["network"])))}
            for name, own in found.items()]  # fmt: skip
    conditions = {"data": "CIFAR-10, JPEG", "network": NETWORK, "input": list(FEED.size), "batch": BATCH,
                  "threads": THREADS, "loading_processes": 0, "memory_format": "channels_last",
                  "rounds": arguments.rounds, "device": cpu_model(), "instruction_sets": cpu_features(),
                  "cores": os.cpu_count(), "load_average": os.getloadavg(), "remark": arguments.remark,
                  "torch": torch.__version__,
                  "date": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds")}  # fmt: skip
    record = {"conditions": conditions, "decoding_once": decoded, "rows": rows}
    write_text(RESULTS, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    with one_line_errors():
        main()
