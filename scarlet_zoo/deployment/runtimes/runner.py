"""Files of other runtimes, run: described by a small JSON file beside them, verified and measured like ONNX ones."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.deployment.runtimes.registry import Array, get_runtime, runtime_of, versions
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.session import run_in_batches
from scarlet_zoo.latency import (
    MeasurementError,
    Runner,
    Settings,
    in_fresh_process,
    measure_cold,
    ort_cold_start,
    runtime_conditions,
)


def description_path(path: Path) -> Path:
    """Where a file's description is: beside it."""
    return path.with_suffix(f"{path.suffix}.json")


@dataclass(frozen=True)
class Described:
    """What is said of a file of another runtime.

    Attributes:
        runtime: its name.
        shape: of the input, (N, C, H, W).
        outputs: names of the outputs.
        preprocessing: what the network wants to be fed.
        metadata: the rest: arch, weights, versions.
    """

    runtime: str
    shape: tuple[int, int, int, int]
    outputs: tuple[str, ...]
    preprocessing: Preprocessing
    metadata: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "runtime": self.runtime,
            "input_shape": list(self.shape),
            "outputs": list(self.outputs),
            "preprocessing": self.preprocessing.to_json(),
            "metadata": dict(self.metadata),
        }


def read_description(path: Path) -> Described:
    """The description of a file.

    Raises:
        ArtifactError: no such file, none beside it, or one that cannot be read.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: no such file, wanted one of scarlet-zoo export")
    beside = description_path(path)
    if not beside.is_file():
        raise ArtifactError(f"{path}: {beside.name} is not beside it, wanted both files of scarlet-zoo export")
    try:
        told = json.loads(beside.read_text(encoding="utf-8"))
        batch, channels, height, width = (int(side) for side in told["input_shape"])
        return Described(
            str(told["runtime"]),
            (batch, channels, height, width),
            tuple(map(str, told["outputs"])),
            Preprocessing.from_json(told["preprocessing"]),
            {str(key): str(value) for key, value in told["metadata"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{beside}: cannot be read as a file's description: {error}") from error


class OtherNetwork:
    """A file of another runtime on images, with the attributes of :class:`scarlet_zoo.graph.session.OnnxNetwork`."""

    takes_pixels = False
    dynamic_batch = False

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.path, self.described = path, read_description(path)
        self.batch, self.channels = self.described.shape[:2]
        self.size: tuple[int, int] | None = self.described.shape[2:]
        self.outputs = list(self.described.outputs)
        with silence():
            self.once = get_runtime(self.described.runtime).open(path, threads)

    def feed(self, preprocessing: Preprocessing, pictures: Sequence[Image.Image]) -> Array:
        """Pictures as this network's input."""
        return preprocessing.batch(pictures)

    def run(self, images: NDArray[Any], batch: int) -> list[NDArray[np.float64]]:
        """All outputs for N images, each (N, ...), run in batches of the one size that it takes."""
        return run_in_batches(self.once, images, batch)


class OtherRunner:
    """A loaded file with an input, ready to run again and again, as :class:`scarlet_zoo.latency.Runner` is."""

    def __init__(self, path: Path, settings: Settings) -> None:
        try:
            self._network = OtherNetwork(path, settings.threads)
        except ArtifactError as error:
            raise MeasurementError(str(error)) from error
        shape = self._network.described.shape
        images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        self.feeds = {"input": images}
        self._images, self._once = images, self._network.once
        name = self._network.described.runtime
        metadata = self._network.described.metadata
        self.network = metadata.get("model", "")
        version = " ".join(f"{package} {number}" for package, number in versions(name).items())
        self.conditions = runtime_conditions(
            name, version, provider="CPU", graph_optimization="the runtime's own", metadata=metadata
        )

    def time_ms(self) -> float:
        """Run once; milliseconds."""
        start = time.perf_counter_ns()
        self._once(self._images)
        return (time.perf_counter_ns() - start) / 1e6


def open_runner(path: Path, settings: Settings) -> Runner | OtherRunner:
    """A runner for a file of any runtime."""
    return OtherRunner(path, settings) if runtime_of(path) else Runner(path, settings)


def cold_start(path: Path, settings: Settings) -> dict[str, float]:
    """Load and first run of a file of any runtime, in a process of their own."""
    if not runtime_of(path):
        return ort_cold_start(path, settings)
    command = [sys.executable, "-m", __name__, str(path), str(settings.threads)]
    return in_fresh_process(command, path)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing on stdout and stderr, not even from the C++ of a converter that prints its progress there."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, old in zip((1, 2), saved, strict=True):
            os.dup2(old, descriptor)
            os.close(old)
        os.close(nowhere)


@contextmanager
def quiet_runtimes(files: Sequence[Path]) -> Iterator[None]:
    """Silence while files of other runtimes are opened and run; nothing is changed where there are none."""
    if any(runtime_of(file) for file in files):
        with silence():
            yield
    else:
        yield


if __name__ == "__main__":
    # What counts is the file, not the import of a package that a phone does not have.
    get_runtime(str(runtime_of(Path(sys.argv[1]))))
    result = measure_cold(OtherRunner, Path(sys.argv[1]), Settings(threads=int(sys.argv[2])))
    sys.stdout.write(json.dumps(result) + "\n")
