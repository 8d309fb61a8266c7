"""Move padding into the operator that reads the padded tensor.

A convolution pads with zeros, a maximum pool with values below all others, and an average pool that counts its padding
with zeros. An operator Pad in front of them that does the same is a copy of the whole tensor for nothing, and has no
integer kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from scarlet_zoo.graph.passes.rewrite import RefusedError, array_of, producer, scalar_of

# What a pool of float32 takes for less than everything.
_LOWEST = -1e30


def merge_pad(node: ir.Node) -> Sequence[ir.Node]:
    """Rewrite Conv, MaxPool or AveragePool of a padded tensor as the same operator with this padding of its own."""
    pad = producer(node.inputs[0], "Pad") if node.op_type in ("Conv", "MaxPool", "AveragePool") else None
    if pad is None or len(node.outputs) != 1:
        return ()
    amounts = _amounts(pad)
    value = _value(pad)
    _check(node, pad, amounts, value)
    assert amounts is not None
    rank = len(amounts) // 2
    inner = [*amounts[2:rank], *amounts[rank + 2 :]]
    own = list(node.attributes["pads"].as_ints()) if "pads" in node.attributes else [0] * len(inner)
    attributes = {name: attribute.value for name, attribute in node.attributes.items() if name != "auto_pad"}
    attributes["pads"] = [a + b for a, b in zip(own, inner, strict=True)]
    window = list(node.attributes["kernel_shape"].as_ints()) if node.op_type != "Conv" else []
    if any(amount >= side for amount, side in zip(attributes["pads"], window * 2, strict=False)):
        raise RefusedError(f"{node.op_type} cannot pad by {attributes['pads']}, as much as its window {window}")
    return (ir.node(node.op_type, [pad.inputs[0], *node.inputs[1:]], attributes, name=node.name),)


def _check(node: ir.Node, pad: ir.Node, amounts: list[int] | None, value: float | None) -> None:
    """Refuse padding that the operator cannot do itself."""
    mode = pad.attributes["mode"].as_string() if "mode" in pad.attributes else "constant"
    if mode != "constant" or amounts is None or value is None:
        raise RefusedError(f"its padding is computed, or is of the mode {mode!r}")
    rank = len(amounts) // 2
    outer = [*amounts[:2], *amounts[rank : rank + 2]]
    if any(outer) or min(amounts) < 0 or len(pad.inputs) > 3:
        raise RefusedError(f"the amounts {amounts} are not at the sides of the images alone")
    if "auto_pad" in node.attributes and node.attributes["auto_pad"].as_string() not in ("NOTSET", "VALID"):
        raise RefusedError("the operator chooses its own padding, too")
    own = "pads" in node.attributes and any(node.attributes["pads"].as_ints())
    counts = "count_include_pad" in node.attributes and node.attributes["count_include_pad"].as_int() == 1
    ceils = "ceil_mode" in node.attributes and node.attributes["ceil_mode"].as_int() == 1
    if node.op_type == "MaxPool":
        fits = value <= _LOWEST and not (ceils or own)
    elif node.op_type == "AveragePool":
        fits = value == 0 and counts and not ceils
    else:
        fits = value == 0
    if not fits:
        raise RefusedError(f"{node.op_type} pads with another value than {value:g}, or rounds its sides up")


def _amounts(pad: ir.Node) -> list[int] | None:
    """Amounts of padding, first those before and then those after each axis; None if they are computed."""
    if "pads" in pad.attributes:
        return list(pad.attributes["pads"].as_ints())
    array = array_of(pad.inputs[1]) if len(pad.inputs) > 1 else None
    return None if array is None else [int(amount) for amount in np.asarray(array).reshape(-1)]


def _value(pad: ir.Node) -> float | None:
    """The value that is padded with; None if it is computed."""
    if "value" in pad.attributes:
        return pad.attributes["value"].as_float()
    given = pad.inputs[2] if len(pad.inputs) > 2 else None
    return 0.0 if given is None else scalar_of(given)
