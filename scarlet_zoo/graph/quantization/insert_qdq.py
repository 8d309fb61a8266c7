"""Insert quantise and dequantise operators around everything that has an integer kernel, in variant ``friendly``.

Formally the graph stays a float graph: a tensor x becomes DequantizeLinear(QuantizeLinear(x)), and a runtime
that has an integer kernel merges an operator with the conversions around it. Any other operator between two of
them stays in float. The graph variant ``friendly`` has no such operators.

A uint8 tensor has x = scale * (q - zero). An int8 weight has one scale for each output channel and zero 0. A bias is
int32, with the product of the scales of data and weight, so that sums of products need no conversion.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from scarlet_zoo.graph.passes.rewrite import array_of, producer, scalar_of
from scarlet_zoo.graph.quantization.bias import Means
from scarlet_zoo.graph.quantization.calibrate import LEVELS
from scarlet_zoo.graph.quantization.grids import Grid
from scarlet_zoo.graph.quantization.isa import Preset
from scarlet_zoo.graph.quantization.plan import Plan, Swish, bounds_of, data_of

# Largest magnitude of an int32 bias, which leaves room for the sum of products.
_MOST_BIAS = 2.0**30


def quantize_weight(
    weight: NDArray[np.float32], how: Preset, least: NDArray[np.float64] | float = 0.0
) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
    """Quantise a weight symmetrically, with one scale for each output channel, rounding to nearest.

    Args:
        weight: float32 (out, ...).
        how: gives the largest integer, and their zero: 0 gives int8, 128 gives uint8; both stand for the same numbers.
        least: lower bounds of the scales, see :func:`least_scales`.

    Returns:
        The integers, in the weight's shape, and the scales (out,).
    """
    flat = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    scales = np.maximum(np.where(flat > 0, flat / how.most, 1.0), least).astype(np.float32)
    levels = np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    levels = np.clip(levels, -how.most, how.most) + how.weight_zero
    return levels.astype(np.uint8 if how.weight_zero else np.int8), scales


def least_scales(bias: NDArray[np.float32] | None, data_scale: float) -> NDArray[np.float64] | float:
    """The smallest scales of a weight with which its bias, in steps of data scale * weight scale, fits in int32.

    It matters for channels whose weights are almost 0 after training, so that only their bias is left.
    """
    return 0.0 if bias is None else np.abs(bias.astype(np.float64)) / (data_scale * _MOST_BIAS)


def mean_error(error: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean error of each output channel of an operator whose weight has an error.

    Args:
        error: error of the weight, (out, in of the group, ...).
        means: channel means of the data, (in,). Padding is taken to have the same means; only the border differs.

    Returns:
        The mean errors, (out,).
    """
    summed = error.reshape(*error.shape[:2], -1).sum(axis=2)
    out, inner = summed.shape
    groups = len(means) // inner
    of_group = np.repeat(means.reshape(groups, inner), out // groups, axis=0)
    product: NDArray[np.float64] = (summed * of_group).sum(axis=1)
    return product


class Inserter:
    """Rewrite a graph according to a plan, in place."""

    def __init__(
        self, graph: ir.Graph, plan: Plan, grids: Mapping[str, Grid], weights: Preset, means: Mapping[str, Means]
    ) -> None:
        self.graph, self.plan, self.grids, self.weights, self.means = graph, plan, grids, weights, means
        self._clipped = {str(node.outputs[0].name): node for node in plan.clipped}
        self._dequantized: dict[str, ir.Value] = {}
        self._inner: dict[str, ir.Value] = {}

    def run(self) -> None:
        """Insert the operators, and remove clips and factors that the integers stand for."""
        for node in list(self.plan.operators):
            if any(
                str(output.name) in self.plan.factors or str(output.name) in self._clipped for output in node.outputs
            ):
                continue  # its integers are those of its input
            for position, value in enumerate(node.inputs):
                if value is not None and value in data_of(node):
                    node.replace_input_with(position, self._read(value))
            if node.op_type in ("Conv", "Gemm"):
                self._weights(node)
        for swish in self.plan.swishes.values():
            self._share(swish)
        for node in list(self.plan.operators):
            for output in node.outputs:
                bound = self.plan.bounded.get(str(output.name))
                self._write(bound.outputs[0] if bound is not None else output)

    def _read(self, value: ir.Value) -> ir.Value:
        """The dequantised tensor that a node must read instead of a tensor."""
        name = str(value.name)
        if name not in self.grids:
            return value
        if name not in self._dequantized:
            self._quantize(value)
        return self._dequantized[name]

    def _write(self, value: ir.Value) -> None:
        """Let the remaining float readers of a tensor read its dequantised values."""
        name = str(value.name)
        if name not in self.grids:
            return
        dequantized = self._read(value)
        quantizer = self._inner[name].producer()
        for use in list(value.uses()):
            if use.node is not quantizer:
                use.node.replace_input_with(use.idx, dequantized)
        for position, output in enumerate(self.graph.outputs):
            if output is value:
                value.name, dequantized.name = f"{name}_float", name
                dequantized.shape, dequantized.type = value.shape, value.type
                self.graph.outputs[position] = dequantized

    def _quantize(self, value: ir.Value) -> None:
        """Make the integers of a tensor and their dequantised values."""
        name = str(value.name)
        if name in self.plan.factors or name in self._clipped:
            self._reuse(value)
        else:
            self._pair(value)

    def _reuse(self, value: ir.Value) -> None:
        """Read a tensor from the integers of the one that it is a multiple of, or that it is clipped from."""
        name = str(value.name)
        source, grid = self.plan.aliases[name], self.grids[name]
        if source not in self._inner:
            writer = value.producer()
            assert writer is not None
            self._read(next(v for v in data_of(writer) if v.name == source))
        shared, nodes = self._inner[source], []
        clip = self._clipped.get(name)
        if clip is not None:
            limits = bounds_of(clip)
            assert limits is not None
            low, high = (int(np.clip(np.rint(v / grid.scale) + grid.zero, 0, LEVELS)) if np.isfinite(v) else LEVELS
                         for v in limits)  # fmt: skip
            bounds = [self._constant(f"{name}_low", np.uint8(low)), self._constant(f"{name}_high", np.uint8(high))]
            nodes.append(ir.node("Clip", [shared, *bounds], name=f"{name}_clip_q"))
            nodes[-1].outputs[0].name = f"{name}_q"
            shared = nodes[-1].outputs[0]
        nodes.append(ir.node("DequantizeLinear", [shared, *self._parameters(name, grid)], name=f"{name}_dequantize"))
        nodes[-1].outputs[0].name = f"{name}_dq"
        anchor = self._inner[source].producer()
        assert anchor is not None
        self.graph.insert_after(anchor, nodes)
        self._inner[name], self._dequantized[name] = shared, nodes[-1].outputs[0]

    def _pair(self, value: ir.Value) -> None:
        """Insert Q and DQ after a tensor; if a clip that becomes its range writes it, before that clip."""
        name, grid = str(value.name), self.grids[str(value.name)]
        source, writer = value, value.producer()
        if writer is not None and name in self.plan.clips_by_output and writer.inputs[0] is not None:
            source = writer.inputs[0]
        parameters = self._parameters(name, grid)
        quantize = ir.node("QuantizeLinear", [source, *parameters], name=f"{name}_quantize")
        dequantize = ir.node("DequantizeLinear", [quantize.outputs[0], *parameters], name=f"{name}_dequantize")
        quantize.outputs[0].name, dequantize.outputs[0].name = f"{name}_q", f"{name}_dq"
        anchor = source.producer()
        if anchor is None:
            self.graph.insert_before(self.graph[0], [quantize, dequantize])
        else:
            self.graph.insert_after(anchor, [quantize, dequantize])
        self._inner[name], self._dequantized[name] = quantize.outputs[0], dequantize.outputs[0]

    def _parameters(self, name: str, grid: Grid) -> list[ir.Value]:
        return [self._constant(f"{name}_scale", np.float32(grid.scale)),
                self._constant(f"{name}_zero", np.uint8(grid.zero))]  # fmt: skip

    def _constant(self, name: str, value: object) -> ir.Value:
        if name in self.graph.initializers:
            return self.graph.initializers[name]
        array = np.asarray(value)
        tensor = ir.tensor(array, name=name)
        constant = ir.Value(
            name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
        )
        self.graph.register_initializer(constant)
        return constant

    def _weights(self, node: ir.Node) -> None:
        """Quantise the weight and the bias of a node."""
        weight, data = array_of(node.inputs[1]), node.inputs[0]
        dequantize = producer(data, "DequantizeLinear")
        scale = scalar_of(dequantize.inputs[1]) if dequantize is not None else None
        if weight is None or dequantize is None or scale is None:
            return
        turned = "transB" in node.attributes and node.attributes["transB"].as_int() == 1
        transposed = node.op_type == "Gemm" and not turned
        rows = weight.T if transposed else weight
        bias = array_of(node.inputs[2]) if len(node.inputs) > 2 else None
        means = self.means.get(str(dequantize.inputs[0].name if dequantize.inputs[0] else ""))
        if bias is None and means is not None:
            bias = np.zeros(len(rows), np.float32)
        levels, scales = quantize_weight(rows, self.weights, least_scales(bias, scale))
        axis = 1 if transposed else 0
        self._dequantize_constant(node, 1, levels.T if transposed else levels, scales, axis)
        if bias is None:
            return
        product = scales.astype(np.float64) * np.float64(np.float32(scale))
        drift: NDArray[np.float64] | float = 0.0
        if means is not None:
            spread = scales.astype(np.float64).reshape(-1, *[1] * (rows.ndim - 1))
            drift = mean_error((levels.astype(np.float64) - self.weights.weight_zero) * spread - rows, means)
        whole = np.clip(np.rint((np.broadcast_to(bias, len(rows)) - drift) / product), -(2**31), 2**31 - 1)
        self._dequantize_constant(node, 2, whole.astype(np.int32), product.astype(np.float32), 0)

    def _dequantize_constant(
        self, node: ir.Node, position: int, levels: NDArray[np.generic], scales: NDArray[np.float32], axis: int
    ) -> None:
        """Replace a constant input of a node by integers with their scales."""
        stem = f"{node.outputs[0].name}_{'weight' if position == 1 else 'bias'}"
        zero = self.weights.weight_zero if position == 1 else 0
        values = [self._constant(f"{stem}_q", levels), self._constant(f"{stem}_scale", scales),
                  self._constant(f"{stem}_zero", np.full(len(scales), zero, dtype=levels.dtype))]  # fmt: skip
        dequantize = ir.node("DequantizeLinear", values, {"axis": axis}, name=f"{stem}_dequantize")
        dequantize.outputs[0].name = f"{stem}_dq"
        self.graph.insert_before(node, [dequantize])
        if len(node.inputs) <= position:
            node.resize_inputs(position + 1)
        node.replace_input_with(position, dequantize.outputs[0])

    def _share(self, swish: Swish) -> None:
        """Read both factors of x * clip(x + 3, 0, 6) from one integer tensor q with x = s (q - z) and s z = 3.

        x + 3 = s (q - z) + s z = s q is the same q with zero 0, and clip(s q, 0, 6) = s min(q, 2 z), since q is
        not negative. Where 2 z reaches 255 no clip is needed. A value below -3 becomes q = 0, which stands for -3:
        the product is 0 there in both cases.
        """
        name = str(swish.x.name)
        grid = self.grids[name]
        shared = self._inner[name]
        nodes = []
        if 2 * grid.zero < LEVELS:
            bounds = [self._constant("swish_low", np.uint8(0)),
                      self._constant(f"{name}_swish_high", np.uint8(2 * grid.zero))]  # fmt: skip
            nodes.append(ir.node("Clip", [shared, *bounds], name=f"{name}_swish_clip"))
            shared = nodes[-1].outputs[0]
            shared.name = f"{name}_swish_q"
        parameters = [self._constant(f"{name}_scale", np.float32(grid.scale)),
                      self._constant("swish_zero", np.uint8(0))]  # fmt: skip
        nodes.append(ir.node("DequantizeLinear", [shared, *parameters], name=f"{name}_swish_dequantize"))
        nodes[-1].outputs[0].name = f"{name}_swish_dq"
        self.graph.insert_before(swish.product, nodes)
        gate = swish.clip.outputs[0]
        for position, value in enumerate(swish.product.inputs):
            if value is gate or value is self._dequantized.get(str(gate.name)):
                swish.product.replace_input_with(position, nodes[-1].outputs[0])


def insert(
    graph: ir.Graph,
    plan: Plan,
    grids: Mapping[str, Grid],
    weights: Preset,
    means: Mapping[str, Means] | None = None,
) -> None:
    """Insert quantise and dequantise operators into a graph according to a plan, in place.

    Args:
        graph: a graph in variant ``friendly``.
        plan: the plan.
        grids: the grid of every tensor of the plan.
        weights: the integers of the weights.
        means: channel means of tensors of integers, by the name of the integers; where they are known, the bias
            corrects the mean error of the rounded weights.
    """
    Inserter(graph, plan, grids, weights, means or {}).run()
