"""Golden outputs: the outputs a file must give, stored in it, so that any machine can check them.

The input is made by a linear congruential generator that is four lines in any language:

    state = seed; for each value: state = (1664525 * state + 1013904223) mod 2**32; value = state >> 24

in the order (image, row, column, channel), as uint8 pixels. They are normalised in float32 with the file's own
mean and deviation: (pixel / 255 - mean) / std. Integer kernels are exact, and sums have grids without ties
(:mod:`.rounding`). So the integer logits are the same to the last bit on every processor of the classes in ``isas``,
and a hash of them is enough. They are computed in exact integer arithmetic (:mod:`.exact`), whatever processor makes
the file. ``isas`` is empty for a file with operators in float, whose last bits differ from processor to processor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.artifact import Artifact
from scarlet_zoo.graph.provider import ON_CPU
from scarlet_zoo.graph.quantization.exact import exact_network, runs_exactly, warn_if_inexact
from scarlet_zoo.graph.quantization.isa import this_isa
from scarlet_zoo.graph.session import OnnxNetwork
from scarlet_zoo.graph.strange import of_strange_file
from scarlet_zoo.latency import CPU, Provider
from scarlet_zoo.utils.reading import parse_json

GENERATOR = "lcg 1664525 1013904223 mod 2^32, value = state >> 24, order NHWC"
KEY = "golden"
_SEED, _IMAGES, _TOP = 20190816, 2, 5


@dataclass(frozen=True)
class Golden:
    """The golden outputs of a file.

    Attributes:
        generator: description of the generator of the input.
        seed, images: seed and number of images of the input.
        scale, zero: grid of the integer logits: a logit is scale * (q - zero).
        sha256: digest of the integer logits, uint8 (images, classes).
        isas: processor classes on which the digest must match.
        logits: float32 logits (images, classes), to compare on other processors.
        top5: classes of the five largest integer logits of each image; among equals the lower index comes first.
    """

    generator: str
    seed: int
    images: int
    scale: float
    zero: int
    sha256: str
    isas: tuple[str, ...]
    logits: tuple[tuple[float, ...], ...]
    top5: tuple[tuple[int, ...], ...]

    def to_json(self) -> str:
        """The fields as one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def of(cls, artifact: Artifact) -> Golden:
        """Read the golden outputs of a file.

        Raises:
            ArtifactError: the file has none, or they cannot be read.
        """
        try:
            fields = parse_json(artifact.metadata[KEY])
            rows = {name: tuple(map(tuple, fields.pop(name))) for name in ("logits", "top5")}
            return cls(**{**fields, **rows, "isas": tuple(fields["isas"])})
        except KeyError as error:
            raise ArtifactError(
                f"{artifact.path}: carries no golden outputs, wanted an int8 file of scarlet-zoo"
            ) from error
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"{artifact.path}: its golden outputs cannot be read: {error}") from error


@dataclass(frozen=True)
class GoldenCheck:
    """The result of comparing a file's outputs with its golden outputs.

    Attributes:
        isa: class of the processor that gave the outputs.
        exact: whether the digest of the integer logits matches; None where it need not for this class.
        top5: whether the five best classes of each image are the same.
        max_steps: largest difference of a logit, in steps of the logits' grid.
        passed: whether the digest matches where it must, else whether ``max_steps`` is at most 2.5; where this
            processor does not compute exactly, whether the file has its golden outputs in exact integer arithmetic.
        computes_exactly: whether this processor's kernels compute the file's integers exactly; if not, ``exact``,
            ``top5`` and ``max_steps`` say how far its answers are from the golden outputs.
        provider: execution provider of ONNX Runtime that gave the outputs, with its options.
        provider_nodes: number of the file's nodes that ran on each provider; empty on the CPU, which runs all.
    """

    isa: str
    exact: bool | None
    top5: bool
    max_steps: float
    passed: bool
    computes_exactly: bool = True
    provider: str = CPU
    provider_nodes: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def generate(seed: int, shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Generate the pixels of the golden input, uint8 (images, H, W, C)."""
    count = int(np.prod(shape))
    # state(n) = m**n * seed + c * (m**(n-1) + ... + 1), all modulo 2**32, which uint32 does by itself.
    powers: NDArray[np.uint32] = np.multiply.accumulate(np.full(count, 1664525, np.uint32), dtype=np.uint32)
    sums: NDArray[np.uint32] = np.add.accumulate(np.append(np.uint32(1), powers[:-1]), dtype=np.uint32)
    states: NDArray[np.uint32] = powers * np.uint32(seed % 2**32) + sums * np.uint32(1013904223)
    return (states >> np.uint32(24)).astype(np.uint8).reshape(shape)


def make_golden(path: Path, feed: Preprocessing, isas: tuple[str, ...]) -> Golden:
    """Compute a quantised file's outputs for the generated pixels exactly, and make its golden outputs of them."""
    scale, zero = logits_grid(path)
    logits = _answers(path, feed, _SEED, _IMAGES, exact=True)
    levels = _levels(logits, scale, zero)
    return Golden(
        generator=GENERATOR,
        seed=_SEED,
        images=_IMAGES,
        scale=scale,
        zero=zero,
        sha256=hashlib.sha256(levels.tobytes()).hexdigest(),
        isas=isas,
        logits=tuple(tuple(float(np.float32(value)) for value in row) for row in logits),
        top5=tuple(_best(row) for row in levels),
    )


@of_strange_file("checked")
def check_golden(artifact: Artifact, provider: Provider = ON_CPU) -> GoldenCheck:
    """Run a file on its golden input, and compare the outputs with its golden outputs.

    Where this processor's kernels do not compute the file exactly, the file is checked in exact integer arithmetic, and
    the difference of the processor's own outputs is told.

    Args:
        artifact: the file.
        provider: the execution provider that it runs on. No bits are expected of another one than the CPU.

    Raises:
        ArtifactError: the file has no golden outputs, or is not a classifier.
    """
    if not provider.is_cpu:
        network = OnnxNetwork(artifact.path, provider=provider)
        answers = network.run(golden_input(artifact), network.batch)[0]
        check = check_answers(artifact, answers, provider.name)
        return replace(check, provider=str(provider), provider_nodes=dict(network.provider_nodes))
    feed, generated = _feed(artifact), _seed_and_images(artifact)
    check = check_answers(artifact, _answers(artifact.path, feed, *generated, exact=False), this_isa())
    if runs_exactly(onnx.load(artifact.path)):
        return check
    warn_if_inexact(artifact.path)
    reference = check_answers(artifact, _answers(artifact.path, feed, *generated, exact=True), "x64-vnni")
    return replace(check, passed=reference.passed, computes_exactly=False)


def golden_input(artifact: Artifact) -> NDArray[Any]:
    """The input for a file's golden outputs, as the network takes it.

    Raises:
        ArtifactError: the file has no golden outputs.
    """
    return _input(artifact.path, _feed(artifact), *_seed_and_images(artifact))


def check_answers(artifact: Artifact, logits: NDArray[np.float64], isa: str) -> GoldenCheck:
    """Compare logits that a file has given on any machine with its golden outputs.

    Args:
        artifact: the file.
        logits: its outputs (images, classes) for :func:`golden_input`.
        isa: class of the processor that gave them.

    Raises:
        ArtifactError: the file has no golden outputs, or the shapes differ.
    """
    golden = Golden.of(artifact)
    wanted = np.asarray(golden.logits)
    if logits.shape != wanted.shape:
        raise ArtifactError(
            f"{artifact.path}: got outputs of shape {logits.shape}, wanted {wanted.shape} as its golden outputs"
        )
    levels = _levels(logits, golden.scale, golden.zero)
    same = hashlib.sha256(levels.tobytes()).hexdigest() == golden.sha256
    steps = float(np.abs(logits - wanted).max() / golden.scale)
    top5 = tuple(_best(row) for row in levels) == golden.top5
    exact = same if isa in golden.isas else None
    return GoldenCheck(isa, exact, top5, steps, same if exact is not None else steps <= 2.5)


def _feed(artifact: Artifact) -> Preprocessing:
    feed = artifact.preprocessing
    if feed is None:
        raise ArtifactError(
            f"{artifact.path}: does not describe its preprocessing, wanted a file of scarlet-zoo export"
        )
    return feed


def _seed_and_images(artifact: Artifact) -> tuple[int, int]:
    golden = Golden.of(artifact)
    return golden.seed, golden.images


def _answers(path: Path, feed: Preprocessing, seed: int, images: int, *, exact: bool) -> NDArray[np.float64]:
    """Logits for the golden input, by this machine's kernels or in exact integer arithmetic."""
    network = exact_network(path) if exact else OnnxNetwork(path)
    return network.run(_input(path, feed, seed, images), network.batch)[0]


def _input(path: Path, feed: Preprocessing, seed: int, images: int) -> NDArray[Any]:
    pixels = generate(seed, (images, *feed.size, feed.channels))
    return pixels if OnnxNetwork(path).takes_pixels else feed.normalize(pixels)


def _levels(logits: NDArray[np.float64], scale: float, zero: int) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.clip(np.rint(logits / scale) + zero, 0, 255).astype(np.uint8)
    return levels


def _best(row: NDArray[np.uint8]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.argsort(-row.astype(np.int64), kind="stable")[:_TOP])


def has_integer_logits(model: onnx.ModelProto) -> bool:
    """Whether a model has one output of integer logits (N, classes)."""
    outputs = model.graph.output
    writers = [node for node in model.graph.node if outputs[0].name in node.output]
    flat = len(outputs[0].type.tensor_type.shape.dim) == 2
    return len(outputs) == 1 and flat and [node.op_type for node in writers] == ["DequantizeLinear"]


def logits_grid(path: Path) -> tuple[float, int]:
    """Scale and zero of the integer grid of a file's logits.

    Raises:
        ArtifactError: the file's output is not quantised.
    """
    graph = onnx.load(path).graph
    (node,) = [node for node in graph.node if graph.output[0].name in node.output]
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    if node.op_type != "DequantizeLinear":
        raise ArtifactError(f"{path}: got an output of {node.op_type}, wanted integer logits")
    return float(constants[node.input[1]]), int(constants[node.input[2]])
