"""Refuse ONNX graphs whose values would exhaust memory, before a tensor of them is made.

A graph of a few bytes can ask for values of any size (ConstantOfShape, Expand, Tile, Range, Pad, Resize, or a sum of a
row and a column), and a runtime computes those that no input changes when it loads the file. Here each node's shapes
are inferred from those before it, with sizes that the graph computes from constants; a dynamic side of an input is 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import onnx
import onnx.inliner

from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.inferred import Inferred, Sized, tensor_bytes, with_inner

MOST_FILE_BYTES = 2 * 1024**3 - 1  # largest size of a protobuf message
MOST_BYTES = 2**30  # of one value, and of all values together that are computed from constants
MOST_ALIVE = 2**31  # bytes of the values that are needed at one time
_MOST_REACH = 2**16  # pixels that a kernel reaches, steps or pads
_MOST_STEPS = 10**6  # of a loop whose number of steps is known
_MOST_NODES, _MOST_CALLS = 200_000, 50  # of functions
# Attributes of convolutions and pools, and the least that their numbers may be.
_LEAST = {"dilations": 1, "strides": 1, "kernel_shape": 1, "group": 1, "pads": -_MOST_REACH, "output_padding": 0}
_WINDOWED = {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "MaxPool", "AveragePool", "LpPool", "MaxUnpool"}


def check_budget(model: onnx.ModelProto, path: Path) -> None:
    """Check what a graph asks for.

    Args:
        model: the model; it is not changed.
        path: its file, for the error.

    Raises:
        ArtifactError: a negative side; a kernel, dilation, stride, pad or group that is out of bounds; a loop of too
            many steps; or values of too many bytes. The message names the node or the value.
    """
    model = _without_functions(model, path)
    sizes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    for node in with_inner(model.graph.node):
        _check_attributes(node, sizes, path)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if any(side.dim_value < 0 for side in value.type.tensor_type.shape.dim):
            sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
            raise ArtifactError(f"{path}: {value.name!r} has the shape {_shown(sides)}, wanted sides of 0 or more")
        _check_value(Sized(value.name, tensor_bytes(value.type), value.type), "input", path)
    inferred = Inferred(model)
    for node, made in inferred.walk():
        where = f"{node.op_type} {node.name!r}"
        for value in made:
            _check_value(value, where, path)
        steps = inferred.number(node.input[0]) if node.op_type == "Loop" and node.input else None
        if steps is not None and steps > _MOST_STEPS:
            raise ArtifactError(f"{path}: {where}: got {steps:.0f} steps, wanted at most {_MOST_STEPS:,}")
        for what, got, most in (("constants that are computed", inferred.constant_bytes, MOST_BYTES),
                                ("values at one time", inferred.alive_bytes, MOST_ALIVE)):  # fmt: skip
            if got > most:
                raise ArtifactError(f"{path}: {where}: got {got / 2**20:,.0f} MiB of {what}, wanted at most "
                                    f"{most // 2**20:,} MiB")  # fmt: skip


def _check_value(value: Sized, where: str, path: Path) -> None:
    if value.bytes > MOST_BYTES:
        sides = [side.dim_value for side in value.kind.tensor_type.shape.dim]
        raise ArtifactError(f"{path}: {where}: {value.name!r} has the shape {_shown(sides)}, wanted at most "
                            f"{MOST_BYTES // 2**20:,} MiB")  # fmt: skip


def _shown(sides: Sequence[int]) -> str:
    return "x".join(str(side or 1) for side in sides[:8]) + ("x..." if len(sides) > 8 else "")


def _without_functions(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model with the nodes of its functions in place of their calls.

    Raises:
        ArtifactError: functions that call each other in a circle, or more than :data:`_MOST_NODES` nodes.
    """
    if not model.functions:
        return model
    functions = {(function.domain, function.name): function for function in model.functions}
    counts: dict[tuple[str, str], int] = {}

    def count(nodes: Iterable[onnx.NodeProto], above: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in with_inner(nodes):
            key = (node.domain, node.op_type)
            if key in above or len(above) > _MOST_CALLS:
                raise ArtifactError(f"{path}: function {key[1]!r} calls itself, or calls are nested more than "
                                    f"{_MOST_CALLS} deep")  # fmt: skip
            if key in functions and key not in counts:
                counts[key] = count(functions[key].node, (*above, key))
            total += counts.get(key, 1)
        return total

    total = count(model.graph.node, ())
    if total > _MOST_NODES:
        raise ArtifactError(f"{path}: its functions stand for {total:,} nodes, wanted at most {_MOST_NODES:,}")
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception:  # a runtime will say what is wrong with the functions
        return model


def _check_attributes(node: onnx.NodeProto, sizes: Mapping[str, Sequence[int]], path: Path) -> None:
    if node.op_type not in _WINDOWED:
        return
    where = f"{path}: {node.op_type} {node.name or ' '.join(node.output)!r}"
    for attribute in node.attribute:
        if attribute.name not in _LEAST:
            continue
        least, most = _LEAST[attribute.name], _MOST_REACH
        numbers = list(attribute.ints) if attribute.type == onnx.AttributeProto.INTS else [attribute.i]
        bad = [number for number in numbers if not least <= number <= most]
        if bad:
            raise ArtifactError(f"{where}: {attribute.name}: got {bad[0]}, wanted {least} to {most:,}")
        if attribute.name == "group" and node.op_type == "Conv":
            outputs = next(iter(sizes.get(node.input[1], ())), attribute.i) if len(node.input) > 1 else attribute.i
            if outputs % attribute.i:
                raise ArtifactError(f"{where}: group: got {attribute.i}, wanted a divisor of its {outputs} channels")
