"""Keep in float the layers whose error in integers a network cannot bear.

The errors of layers add up nearly as independent noise does. So each layer's own noise, measured with this layer alone
in integers, tells which few layers must go back to float for the rest to keep within what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from scarlet_zoo.graph.passes.rewrite import array_of, constant, producer

# The share of a network's layers that may go back to float.
_MOST = 0.6


def guard_float_layers(graph: ir.Graph) -> None:
    """Let layers that stay in float between integers stay so in the runtime, too, in place.

    ONNX Runtime takes a float convolution between a DequantizeLinear and a QuantizeLinear for one whose weights were
    forgotten, and rounds them itself, with one scale for all channels. A change of sign after the layer, whose weights
    have the opposite sign, is exact and is no part of that pattern.
    """
    for node in list(graph):
        weight = array_of(node.inputs[1]) if node.op_type in ("Conv", "Gemm") else None
        if weight is None or producer(node.inputs[0], "DequantizeLinear") is None:
            continue
        output = node.outputs[0]
        for position in range(1, len(node.inputs)):
            array = array_of(node.inputs[position])
            if array is not None:
                negated = constant(node, f"negated_{position}", -array, array.dtype)
                graph.register_initializer(negated)
                node.replace_input_with(position, negated)
        negation = ir.node("Neg", [output], name=f"{node.name}_negation")
        negation.outputs[0].name = f"{output.name}_negated"
        negation.outputs[0].shape, negation.outputs[0].type = output.shape, output.type
        graph.insert_after(node, negation)
        ir.convenience.replace_all_uses_with(output, negation.outputs[0], replace_graph_outputs=True)
        negation.replace_input_with(0, output)


def layers_to_keep(
    noises: Mapping[str, float], wanted_db: float, judge: Callable[[Sequence[str]], float]
) -> tuple[str, ...]:
    """Names of the layers to keep in float so that the rest has the wanted SQNR; the noisiest first.

    Args:
        noises: noise of each layer alone in integers, over the signal, by name.
        wanted_db: the wanted SQNR in dB.
        judge: gives the SQNR of the network with these layers in float.

    Returns:
        The fewest layers with which the SQNR is reached, or those with the best one if none of up to 60 % of the
        layers is enough.
    """
    ordered = sorted(noises, key=lambda name: noises[name], reverse=True)
    powers = np.array([noises[name] for name in ordered])
    rest = powers.sum() - np.cumsum(powers)
    most = max(1, int(len(ordered) * _MOST))
    count = 1 + int(np.argmax(rest <= 10 ** (-wanted_db / 10))) if (rest <= 10 ** (-wanted_db / 10)).any() else most
    count, best = min(count, most), (-np.inf, 0)
    while True:
        got = judge(ordered[:count])
        best = max(best, (got, -count))
        if got >= wanted_db or count == most:
            return tuple(ordered[: -best[1]])
        count = min(most, count + max(1, count // 2))
