"""Measure images a second of the loader alone and with a network in training, for one data set in three forms."""

import argparse
import datetime
import json
import os
import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor

from scarlet_zoo.data.augmentations import augment_plan
from scarlet_zoo.data.batches import Batches
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.mixing import Mixed, Mixing
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.splits import ArraySplit, Split
from scarlet_zoo.latency import cpu_features, cpu_model
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.utils.files import write_text

RESULTS = Path(__file__).parent / "results" / "loader.json"
NETWORK, BATCH, THREADS = "scarlet_mini_s", 128, 2
FEED = Preprocessing((32, 32), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "bilinear", 1.0)
FORMS = ("folder", "torchvision", "array")
# What each augmentation costs, on the folder.
AUGMENTS = {"none": ["none"], "small (the default)": ["small"], "photo": ["photo"], "erase": ["small,erase=0.25"],
            "color-jitter": ["small,color-jitter=0.4"], "randaugment": ["small,randaugment"],
            "trivialaugment": ["small,trivialaugment"]}  # fmt: skip


class JpegCIFAR10(torchvision.datasets.CIFAR10):
    """torchvision's own reader of its own files, without the digests of the original ones: the images were JPEG."""

    train_list: ClassVar[list[list[Any]]] = [["data_batch_1", None]]
    test_list: ClassVar[list[list[Any]]] = [["test_batch", None]]
    meta: ClassVar[dict[str, Any]] = {"filename": "batches.meta", "key": "label_names", "md5": None}


def write_as_torchvision_does(images: Path, root: Path) -> None:
    """Write the images of a folder as ``cifar-10-batches-py``."""
    classes = sorted(place.name for place in (images / "train").iterdir())
    base = root / JpegCIFAR10.base_folder
    base.mkdir(parents=True, exist_ok=True)
    for part, name in (("train", "data_batch_1"), ("test", "test_batch")):
        files = [
            (file, label) for label, kind in enumerate(classes) for file in sorted((images / part / kind).iterdir())
        ]
        pixels = np.stack([np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1).ravel() for file, _ in files])
        (base / name).write_bytes(pickle.dumps({"data": pixels, "labels": [label for _, label in files]}))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": classes}))


def batches(split: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Read a split for ever, as a training does: in one process, by batches that depend on seed and step."""
    sampler: Any = Batches(len(split), BATCH, 0, 10**9, seed=0)
    yield from torch.utils.data.DataLoader(split, batch_sampler=sampler, collate_fn=lambda batch: batch)


def rate(run: Callable[[], object], times: int) -> float:
    """Images a second of something that takes a batch."""
    begun = time.perf_counter()
    for _ in range(times):
        run()
    return times * BATCH / (time.perf_counter() - begun)


def training_step() -> Callable[[tuple[Tensor, Tensor]], None]:
    """A step of the network's training, as the training loop does it."""
    model = create_model(NETWORK, in_chans=3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, nesterov=True, weight_decay=5e-4)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)

    def step(batch: tuple[Tensor, Tensor]) -> None:
        optimizer.zero_grad(set_to_none=True)
        criterion(model(batch[0]), batch[1]).backward()
        optimizer.step()

    return step


def measured(forms: dict[str, Split], altered: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Measure everything once in each round, in alternating order; returns images a second by name."""
    step = training_step()
    readers = {name: batches(split) for name, split in {**forms, **altered}.items()}
    fixed = next(readers["array"])
    jobs: dict[str, tuple[Callable[[], object], int]] = {"network": (lambda: step(fixed), 4)}
    for name, reader in readers.items():
        jobs[f"loader {name}"] = (lambda reader=reader: next(reader), 40 if name in forms else 10)  # type: ignore[misc]
    for name in forms:
        jobs[f"both {name}"] = (lambda reader=readers[name]: step(next(reader)), 4)  # type: ignore[misc]
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(-1, rounds):  # the first one warms up
        for name in sorted(jobs, reverse=bool(number % 2)):
            result = rate(*jobs[name])
            if number >= 0:
                found[name].append(result)
    return found


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="CIFAR-10, JPEG: train and test with class folders.")
    parser.add_argument("--work", type=Path, required=True, help="Folder for the pixel cache and torchvision's files.")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    os.environ["XDG_CACHE_HOME"] = str(arguments.work / "cache")
    shutil.rmtree(arguments.work / "cache", ignore_errors=True)
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    write_as_torchvision_does(arguments.images, arguments.work / "torchvision")
    torchvision.datasets.JpegCIFAR10 = JpegCIFAR10
    usual = augment_plan([]).for_data("folder", FEED.size)
    folder = open_data(str(arguments.images), FEED, validation=5000, cache_gb=1)
    named = open_data("torchvision:JpegCIFAR10", FEED, arguments.work / "torchvision", 5000, cache_gb=1)
    forms: dict[str, Split] = {"folder": folder.part("train", usual), "torchvision": named.part("train", usual)}
    begun = time.perf_counter()
    forms["folder"].prepare()
    first = len(forms["folder"]) / (time.perf_counter() - begun)
    forms["torchvision"].prepare()
    held = JpegCIFAR10(str(arguments.work / "torchvision"))
    forms["array"] = ArraySplit(held.data, np.asarray(held.targets), FEED, usual)
    altered: dict[str, Any] = {
        name: folder.part("train", augment_plan(texts).for_data("folder", FEED.size))
        for name, texts in AUGMENTS.items()
    }
    for part in altered.values():
        part.prepare()
    altered["mixup and cutmix"] = Mixed(forms["folder"], Mixing(0.2, 1.0), 10)
    altered["opened each time"] = open_data(str(arguments.images), FEED, validation=5000).part("train", usual)
    found = measured(forms, altered, arguments.rounds)
    base = np.array(found["network"])
    rows = [{"what": name, "images_a_second": float(np.median(own)), "p10": float(np.percentile(own, 10)),
             "p90": float(np.percentile(own, 90)), "over_training": float(np.median(np.array(own) / base))}
            for name, own in found.items()]  # fmt: skip
    conditions = {"data": "CIFAR-10, JPEG", "network": NETWORK, "input": list(FEED.size), "batch": BATCH,
                  "threads": THREADS, "loading_processes": 0, "memory_format": "channels_last",
                  "rounds": arguments.rounds, "device": cpu_model(), "instruction_sets": cpu_features(),
                  "cores": os.cpu_count(), "load_average": os.getloadavg(), "torch": torch.__version__,
                  "date": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds")}  # fmt: skip
    record = {"conditions": conditions, "decoding_once_images_a_second": first, "rows": rows}
    write_text(RESULTS, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
