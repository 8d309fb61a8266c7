"""Run files of other runtimes, so that they are verified and measured like ONNX files.

A JSON file beside each file describes it.
"""

from __future__ import annotations

import json
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
    Provider,
    Runner,
    Settings,
    in_fresh_process,
    measure_cold,
    ort_cold_start,
    runtime_conditions,
)
from scarlet_zoo.utils.reading import bounded_text, parse_json
from scarlet_zoo.utils.silence import silence


def description_path(path: Path) -> Path:
    """The path of a file's description, which is beside it."""
    return path.with_suffix(f"{path.suffix}.json")


@dataclass(frozen=True)
class Described:
    """The description of a file of another runtime.

    Attributes:
        runtime: name of the runtime.
        shape: shape of the input (N, C, H, W).
        outputs: names of the outputs.
        preprocessing: how the network's images are prepared.
        metadata: other facts: the network, its weights, its precision, and versions of packages.
    """

    runtime: str
    shape: tuple[int, int, int, int]
    outputs: tuple[str, ...]
    preprocessing: Preprocessing
    metadata: Mapping[str, str]

    @property
    def precision(self) -> str:
        """The file's precision; float32 where it is not said."""
        return self.metadata.get("precision", "float32")

    def to_dict(self) -> dict[str, Any]:
        """The content of the description file, as JSON values."""
        return {
            "runtime": self.runtime,
            "input_shape": list(self.shape),
            "outputs": list(self.outputs),
            "preprocessing": self.preprocessing.to_json(),
            "metadata": dict(self.metadata),
        }


def read_description(path: Path) -> Described:
    """Read the description of a file.

    Raises:
        ArtifactError: the file or its description does not exist, or the description cannot be read.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: no such file, wanted a file of scarlet-zoo export")
    beside = description_path(path)
    if not beside.is_file():
        raise ArtifactError(f"{path}: {beside.name} is not beside it, wanted both files of scarlet-zoo export")
    try:
        fields = parse_json(bounded_text(beside))
        batch, channels, height, width = (int(side) for side in fields["input_shape"])
        return Described(
            str(fields["runtime"]),
            (batch, channels, height, width),
            tuple(map(str, fields["outputs"])),
            Preprocessing.from_json(fields["preprocessing"]),
            {str(key): str(value) for key, value in fields["metadata"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{beside}: cannot be read as a file's description: {error}") from error


class OtherNetwork:
    """A loaded file of another runtime, with the attributes of :class:`scarlet_zoo.graph.session.OnnxNetwork`."""

    takes_pixels = False
    dynamic_batch = False

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.path, self.described = path, read_description(path)
        self.batch, self.channels = self.described.shape[:2]
        self.size: tuple[int, int] | None = self.described.shape[2:]
        self.outputs = list(self.described.outputs)
        with silence():
            self.once = get_runtime(self.described.runtime).open(path, threads, self.described.precision)

    def feed(self, preprocessing: Preprocessing, images: Sequence[Image.Image], /) -> Array:
        """Prepare images as an input of this network, float32 (N, C, H, W)."""
        return preprocessing.batch(images)

    def run(self, images: NDArray[Any], batch: int) -> list[NDArray[np.float64]]:
        """All outputs for N images, each (N, ...), computed in batches of the size that the file takes."""
        return run_in_batches(self.once, images, batch)


class OtherRunner:
    """A loaded file of another runtime with a random input, to be timed like a :class:`scarlet_zoo.latency.Runner`."""

    def __init__(self, path: Path, settings: Settings) -> None:
        if settings.shapes:
            got = " ".join(settings.shapes)
            raise MeasurementError(f"{path}: got the shape {got}, wanted none: files of other runtimes have fixed ones")
        provider = Provider.parse(settings.provider)
        if not provider.is_cpu:
            raise MeasurementError(f"{path}: got the provider {provider.short}, which only applies to ONNX files")
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
        """Run once, and return the time in milliseconds."""
        start = time.perf_counter_ns()
        self._once(self._images)
        return (time.perf_counter_ns() - start) / 1e6


def open_runner(path: Path, settings: Settings) -> Runner | OtherRunner:
    """Load a file of any runtime and return its runner."""
    return OtherRunner(path, settings) if runtime_of(path) else Runner(path, settings)


def cold_start(path: Path, settings: Settings) -> dict[str, float]:
    """Measure loading and the first run of a file of any runtime, in a fresh process."""
    if not runtime_of(path):
        return ort_cold_start(path, settings)
    command = [sys.executable, "-m", __name__, str(path), str(settings.threads)]
    return in_fresh_process(command, path)


@contextmanager
def quiet_runtimes(files: Sequence[Path]) -> Iterator[None]:
    """Suppress stdout and stderr if any of the files is of another runtime than ONNX Runtime."""
    if any(runtime_of(file) for file in files):
        with silence():
            yield
    else:
        yield


if __name__ == "__main__":
    # Imported before the measurement, since a phone does not import Python packages to load the file.
    get_runtime(str(runtime_of(Path(sys.argv[1]))))
    result = measure_cold(OtherRunner, Path(sys.argv[1]), Settings(threads=int(sys.argv[2])))
    sys.stdout.write(json.dumps(result) + "\n")
