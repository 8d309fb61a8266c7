"""Quantise a network in one way after another, and judge each exactly on images that were set aside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from scarlet_zoo.graph.passes.lower import tidy
from scarlet_zoo.graph.quantization.bias import Means, channel_means
from scarlet_zoo.graph.quantization.calibrate import METHODS, Array, Observed
from scarlet_zoo.graph.quantization.exact import exact_model
from scarlet_zoo.graph.quantization.float_layers import guard_float_layers, layers_to_keep
from scarlet_zoo.graph.quantization.grids import choose_grids, with_aliases
from scarlet_zoo.graph.quantization.insert_qdq import insert
from scarlet_zoo.graph.quantization.isa import Preset
from scarlet_zoo.graph.quantization.plan import plan
from scarlet_zoo.graph.session import OnnxNetwork

Outputs = list[NDArray[np.float64]]
Progress = Callable[[int, int], None]
# Zero of uint8 weights, whose kernels are exact on every processor.
_EXACT_ZERO = 128
_JUDGED = 4


@dataclass(frozen=True)
class Tried:
    """An integer model as bytes, and how close its outputs are to those of its source, computed exactly."""

    content: bytes
    sqnr_db: float
    top1_agreement: float | None


@dataclass(frozen=True)
class Trial:
    """What a network can be quantised with, and what the result is judged by.

    Attributes:
        model: a float network in variant ``friendly``.
        observed: the values of its tensors on calibration images.
        images: the calibration images, as the network takes them.
        judged: images to judge on, (N, C, H, W).
        truth: the float network's outputs for them.
        weights: the integers of the weights.
        keep_float: names of nodes to leave in float.
        correct_bias: whether the biases correct the mean error of rounded weights.
    """

    model: ir.Model
    observed: Mapping[str, Observed]
    images: Array
    judged: Array
    truth: Outputs
    weights: Preset
    keep_float: tuple[str, ...] = ()
    correct_bias: bool = True

    def ranges(self, method: str) -> dict[str, tuple[float, float]]:
        """(low, high) of every tensor by a method."""
        planned = plan(self.model.graph, frozenset(self.keep_float))
        return with_aliases(planned, {name: METHODS[method](seen) for name, seen in self.observed.items()})

    def run(self, method: str, kept: Sequence[str] = ()) -> Tried:
        """Quantise with a method, these layers left in float, and judge."""
        ranges = self.ranges(method)
        kept = (*self.keep_float, *kept)
        first = inserted(self.model, ranges, kept, _exact(self.weights), {}) if self.correct_bias else None
        means = channel_means(first, self.images) if first is not None else {}
        proto = ir.serde.serialize_model(inserted(self.model, ranges, kept, self.weights, means))
        network = OnnxNetwork(Path("int8.onnx"), exact_model(proto).SerializeToString())
        score = compare_outputs(self.truth, network.run(self.judged, network.batch))
        content: bytes = proto.SerializeToString(deterministic=True)
        return Tried(content, float(score["sqnr_db"] or 0.0), score["top1_agreement"])

    def layers_to_keep(self, method: str, wanted_db: float) -> tuple[str, ...]:
        """The layers to leave in float for this SQNR."""
        ranges = self.ranges(method)
        alone = noise_alone(self.model, ranges, self.judged[:_JUDGED], self.images, self.weights,
                            frozenset(self.keep_float))  # fmt: skip
        return layers_to_keep(alone, wanted_db, lambda kept: self.run(method, kept).sqnr_db)


def noise_alone(
    model: ir.Model,
    ranges: Mapping[str, tuple[float, float]],
    judged: Array,
    images: Array,
    weights: Preset,
    skipped: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> dict[str, float]:
    """Noise over signal of the outputs with each convolution or matrix product alone in integers, by its name.

    Args:
        model: a float network in variant ``friendly``.
        ranges: (low, high) of every tensor of the plan.
        judged: images to judge on, (N, C, H, W).
        images: calibration images, for the correction of biases.
        weights: the integers of the weights.
        skipped: names of nodes that stay in float.
        progress: called with (done, expected), in layers.
    """
    truth, exact = outputs_of(model, judged), _exact(weights)
    means = channel_means(inserted(model, ranges, tuple(skipped), exact, {}), images)
    operators = plan(model.graph, skipped).operators
    layers = [str(node.name) for node in operators if node.op_type in ("Conv", "Gemm")]
    noises = {}
    for done, layer in enumerate(layers):
        others = {str(node.name) for node in operators} - {layer} | skipped
        alone = inserted(model, ranges, tuple(others), exact, means)
        noises[layer] = 10 ** (-float(compare_outputs(truth, outputs_of(alone, judged))["sqnr_db"] or 0.0) / 10)
        if progress is not None:
            progress(done + 1, len(layers))
    return noises


def _exact(weights: Preset) -> Preset:
    """The same numbers in the types that every processor computes exactly."""
    return replace(weights, weight_zero=_EXACT_ZERO)


def outputs_of(model: ir.Model, images: Array) -> Outputs:
    """All outputs of a model for images."""
    network = OnnxNetwork(Path("model.onnx"), ir.serde.serialize_model(model).SerializeToString())
    return network.run(images, network.batch)


def inserted(
    model: ir.Model,
    ranges: Mapping[str, tuple[float, float]],
    kept: Sequence[str],
    weights: Preset,
    means: Mapping[str, Means],
) -> ir.Model:
    """A copy of the model with its integer operators."""
    quantized = model.clone()
    todo = plan(quantized.graph, frozenset(kept))
    insert(quantized.graph, todo, choose_grids(todo, ranges), weights, means)
    guard_float_layers(quantized.graph)
    tidy(quantized)
    return quantized


def compare_outputs(truth: Outputs, got: Outputs) -> dict[str, float | None]:
    """SQNR in dB (the lowest of several outputs) and top-1 agreement (None without one output of logits)."""
    ratios = []
    for wanted, found in zip(truth, got, strict=True):
        noise = float(np.mean((found - wanted) ** 2))
        ratios.append(10 * np.log10(max(float(np.mean(wanted**2)), 1e-300) / noise) if noise > 0 else np.inf)
    logits = len(truth) == 1 and truth[0].ndim == 2
    agree = float(np.mean(got[0].argmax(1) == truth[0].argmax(1))) if logits else None
    # Digits beyond these are the rounding of the float network, which differs from processor to processor.
    return {"sqnr_db": round(float(min(ratios)), 3), "top1_agreement": agree}


def spread_of(output: NDArray[np.float64]) -> float:
    """Standard deviation between images over the root mean square."""
    whole = float(np.mean(output**2))
    return float((np.mean(output.var(axis=0)) / whole) ** 0.5) if whole > 0 else 0.0
