"""Write networks of a space as ONNX graphs and cut them into the pieces that a latency table is made of."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx.utils import Extractor
from onnx_ir.passes import common

from scarlet_zoo.arch.architecture import Arch, block_names
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.deployment.trace import Recipe, trace
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.folding.fold import fold
from scarlet_zoo.graph.passes.lower import lower
from scarlet_zoo.graph.quantization.quantize import Int8, quantize_int8
from scarlet_zoo.measurement.lut.keys import FORMS, HEAD, STEM
from scarlet_zoo.models.scarlet import create_model

_BETWEEN = ("QuantizeLinear", "DequantizeLinear")
_CALIBRATION = (2, 0)  # images and seed: latency does not depend on the ranges


def network_graph(arch: Arch, precision: str = "float32") -> onnx.ModelProto:
    """The ONNX graph of an architecture as it is deployed, with batch size 1 and random weights.

    ``float32`` gives the native graph variant, ``int8`` a graph in integers throughout. A deployed network's
    stabilizers are folded, so the graph has none. The exporter merges the batch norms, except those behind a set of
    paths, which the fold merges.

    Raises:
        ScarletError: there is no such precision.
    """
    if precision not in FORMS:
        raise ScarletError(f"precision: got {precision!r}, wanted one of {' '.join(FORMS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model(arch).eval()
    if any(choice.beside for choice in arch.choices):
        model = fold(model).model
    shape = (1, arch.space.in_chans, arch.space.input_size, arch.space.input_size)
    graph = trace(model, torch.zeros(shape), Recipe(batch=1), ["logits"])
    common.ShapeInferencePass()(graph)
    lower(graph, "native")
    exported: onnx.ModelProto = ir.serde.serialize_model(graph)
    onnx.helper.set_model_props(exported, {"form": FORMS[precision], "precision": precision, "arch": str(arch)})
    return exported if precision == "float32" else _in_integers(exported, shape)


def _in_integers(model: onnx.ModelProto, shape: tuple[int, int, int, int]) -> onnx.ModelProto:
    images, seed = _CALIBRATION
    noise = np.random.default_rng(seed).standard_normal((images, *shape[1:])).astype(np.float32)
    with tempfile.TemporaryDirectory() as temporary:
        source, path = Path(temporary) / "float.onnx", Path(temporary) / "int8.onnx"
        onnx.save(model, source)
        quantize_int8(source, path, noise, Int8(method="minmax", correct_bias=False))
        return onnx.load(path)


def holders(space: SearchSpace) -> Iterator[Arch]:
    """Architectures that together hold every block of every layer.

    Architecture number N takes choice N of every layer, cyclically. The first one has every branch of the space.
    """
    blocks = [[token for token in layer.tokens if not space.choice(token).is_skip] for layer in space.layers]
    for number in range(max(map(len, blocks))):
        tokens = tuple(tokens[number % len(tokens)] for tokens in blocks)
        yield Arch(space, tokens, space.branches if number == 0 else ())


def cut(model: onnx.ModelProto, arch: Arch) -> dict[str, onnx.ModelProto]:
    """Cut a network into its pieces, by name and in order: ``stem``, the position of each layer, branches, ``head``.

    The stem is everything before the layers. A piece begins and ends where its layer does; in an integer graph, at
    integer tensors. A branch's piece begins at the feature map that it reads and ends before the addition to the
    other feature map. That addition takes little time and is in no piece.
    """
    model = onnx.shape_inference.infer_shapes(model)
    extractor = Extractor(model)
    modules = block_names(arch, stabilized=False)
    begin, pieces = _last_tensor(model, "blocks.0.0"), {}
    pieces[STEM] = extractor.extract_model([model.graph.input[0].name], [begin])
    maps = {0: begin}
    for plan in arch.layers:
        if plan.index in modules:
            end = _last_tensor(model, modules[plan.index])
            pieces[str(plan.index)] = extractor.extract_model([begin], [end])
            begin = end
        for branch in (b for b in arch.branch_plans if b.target == plan.index + 1):
            module = f"branches.{branch.name}"
            end = _last_tensor(model, module, besides=("Add",))
            pieces[branch.name] = extractor.extract_model([maps[branch.source]], [end])
            begin = _last_tensor(model, module)
        maps[plan.index + 1] = begin
    pieces[HEAD] = extractor.extract_model([begin], [model.graph.output[0].name])
    return pieces


def _last_tensor(model: onnx.ModelProto, module: str, besides: Collection[str] = ()) -> str:
    """The last tensor that a module computes, quantised if it is; operators of kinds ``besides`` do not count."""
    computed = (node.output[0] for node in model.graph.node if node.op_type not in (*_BETWEEN, *besides))
    *_, name = (output for output in computed if f"/{module}/" in output)
    integers = {node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    return f"{name}_q" if f"{name}_q" in integers else name
