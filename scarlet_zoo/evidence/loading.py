"""What loading images and training a network take, measured in turns."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10

from scarlet_zoo.data.batches import Batches
from scarlet_zoo.models.scarlet import create_model

_STEPS, _LOADS, _SLOW_LOADS = 4, 40, 10  # batches of a turn: training, loading, loading with alteration


class JpegCIFAR10(CIFAR10):  # type: ignore[misc]
    """torchvision's own reader of its own files, without the digests of the original ones: the images were JPEG."""

    train_list: ClassVar[list[list[Any]]] = [["data_batch_1", None]]
    test_list: ClassVar[list[list[Any]]] = [["test_batch", None]]
    meta: ClassVar[dict[str, Any]] = {"filename": "batches.meta", "key": "label_names", "md5": None}


def write_as_torchvision_does(images: Path, root: Path) -> None:
    """Write images as the files of torchvision's CIFAR-10, for :class:`JpegCIFAR10`.

    Args:
        images: holds ``train`` and ``test``, with a folder of images of 32 x 32 pixels for each class.
        root: folder that gets ``cifar-10-batches-py``.
    """
    classes = sorted(place.name for place in (images / "train").iterdir())
    base = root / JpegCIFAR10.base_folder
    base.mkdir(parents=True, exist_ok=True)
    for part, name in (("train", "data_batch_1"), ("test", "test_batch")):
        folders = [(label, images / part / kind) for label, kind in enumerate(classes)]
        files = [(file, label) for label, place in folders for file in sorted(place.iterdir())]
        pixels = np.stack([np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1).ravel() for file, _ in files])
        (base / name).write_bytes(pickle.dumps({"data": pixels, "labels": [label for _, label in files]}))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": classes}))


def measured_in_turns(
    network: str, forms: Mapping[str, Any], altered: Mapping[str, Any], batch_size: int, rounds: int
) -> dict[str, list[float]]:
    """Measure everything once in each round, the order reversed from round to round; one more round warms up.

    Args:
        network: name of the network that is trained.
        forms: splits of colour images by name, which are measured alone and with the network.
        altered: splits by name that are measured alone.
        batch_size: images of a batch.
        rounds: number of rounds.

    Returns:
        Images a second in each round, by name: ``network`` on one batch in memory, ``loader NAME`` and ``both NAME``.
    """
    step = _training_step(network)
    readers = {name: _batches(split, batch_size) for name, split in {**forms, **altered}.items()}
    fixed = next(readers[next(iter(forms))])
    jobs: dict[str, tuple[Callable[[], object], int]] = {"network": (lambda: step(fixed), _STEPS)}
    for name, reader in readers.items():
        jobs[f"loader {name}"] = (partial(next, reader), _LOADS if name in forms else _SLOW_LOADS)
    for name in forms:
        jobs[f"both {name}"] = (partial(_read_and_train, readers[name], step), _STEPS)
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(-1, rounds):
        for name in sorted(jobs, reverse=bool(number % 2)):
            run, times = jobs[name]
            begun = time.perf_counter()
            for _ in range(times):
                run()
            if number >= 0:
                found[name].append(times * batch_size / (time.perf_counter() - begun))
    return found


def _batches(split: Any, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Read a split for ever, as a training does: in one process, by batches that depend on seed and step."""
    sampler: Any = Batches(len(split), batch_size, 0, 10**9, seed=0)
    yield from torch.utils.data.DataLoader(split, batch_sampler=sampler, collate_fn=lambda batch: batch)


def _read_and_train(reader: Iterator[tuple[Tensor, Tensor]], step: Callable[[tuple[Tensor, Tensor]], None]) -> None:
    step(next(reader))


def _training_step(network: str) -> Callable[[tuple[Tensor, Tensor]], None]:
    """A step of a network's training on colour images, as the training loop does it."""
    model = create_model(network, in_chans=3)
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, nesterov=True, weight_decay=5e-4)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)

    def step(batch: tuple[Tensor, Tensor]) -> None:
        optimizer.zero_grad(set_to_none=True)
        criterion(model(batch[0]), batch[1]).backward()
        optimizer.step()

    return step
