"""Every rewrite of a graph is exact: in float64, on graphs of every exporter, and a wrong one is seen."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import timm
import torch
from conftest import TINY, images_for, randomized
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes import common

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.deployment.trace import Recipe, trace
from scarlet_zoo.errors import ExportError
from scarlet_zoo.graph.passes import sizes
from scarlet_zoo.graph.passes.lower import FORMS, lower
from scarlet_zoo.models.scarlet import create_model

SIXTH = 1 / 6


def counts(model):
    ops = [node.op_type for node in model.graph]
    return {op: ops.count(op) for op in ops}


def in_float64(model):
    """The same graph with every float32 constant, and the input, in float64."""
    proto = ir.serde.serialize_model(model)
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return ir.serde.deserialize_model(proto)


def run64(model, images):
    # numpy's own arithmetic, node by node: nothing is fused, nothing is float32 but the attributes.
    return ReferenceEvaluator(ir.serde.serialize_model(model)).run(None, {model.graph.inputs[0].name: images})[0]


@pytest.fixture(scope="module")
def traced():
    """A network with gates (one of 6 squeezed channels), residuals and a stride, as torch spells it, in float64."""
    network = randomized(
        Arch.of(TINY, ["e3k3se", "e6k5", "e3k3", "e3k5se", "e3k3", "e6k3se", "id", "e3k3"]), dtype=torch.float32
    )
    model = trace(network, images_for(network, dtype=torch.float32), Recipe(), ["logits"])
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.ShapeInferencePass()(model)
    return in_float64(model), images_for(network, 2).numpy()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_exact_in_float64(traced, form):
    model, images = traced[0].clone(), traced[1]
    truth = run64(model, images)
    done = lower(model, form)
    assert sum(done.applied.values())
    # HardSigmoid's 1/6 is a float32 attribute by the format: 5e-9 off, and the only thing that is.
    assert np.abs(run64(model, images) - truth).max() < 1e-6 * np.abs(truth).max()


def test_two_names_of_one_constant_are_no_size_that_the_graph_is_run_for(monkeypatch):
    network, asked = create_model(Arch.of(TINY, ["e3k3"] * 8)).eval(), []
    model = trace(network, images_for(network, dtype=torch.float32), Recipe(), ["logits"])
    assert counts(model)["Identity"], "torch writes one for each constant that equals another"
    monkeypatch.setattr(sizes, "_run", lambda model, values, shape: asked.append(values))
    lower(model, "native")
    assert not asked
    assert "Identity" not in counts(model)


def test_forms_lead_back_to_native(traced):
    for form in ("released", "native"):
        model, images = traced[0].clone(), traced[1]
        lower(model, form)
        lower(model, "native")
        found = counts(model)
        assert found["HardSwish"] == 14
        assert found["HardSigmoid"] == 3
        assert not {"Div", "ReduceMean"} & found.keys()
        assert np.abs(run64(model, images) - run64(traced[0], images)).max() < 1e-6


def test_friendly_leaves_nothing_but_clips_between_convolutions(traced):
    model = traced[0].clone()
    done = lower(model, "friendly")
    assert counts(model).keys() == {"Conv", "Clip", "Relu", "Add", "Mul", "GlobalAveragePool", "Flatten", "Gemm"}
    # 14 shifts of hard-swish and the residuals; those of the gates are in biases, all factors are in weights.
    residuals = 5
    assert counts(model)["Add"] == 14 + residuals
    assert counts(model)["Mul"] == 14 + 3
    assert not done.refused
    assert not [node for node in model.graph if node.op_type == "Mul" and any(v.const_value for v in node.inputs)]


def test_a_wrong_constant_is_seen(traced, monkeypatch):
    from scarlet_zoo.graph.passes import quantizable, rewrite

    def off(owner, name, value, dtype):
        return real(owner, name, np.asarray(value) * (1.001 if name == "scaled" else 1), dtype)

    real = rewrite.constant
    monkeypatch.setattr(quantizable, "constant", off)
    model, images = traced[0].clone(), traced[1]
    lower(model, "friendly")
    truth = run64(traced[0], images)
    assert np.abs(run64(model, images) - truth).max() > 1e-5 * np.abs(truth).max()


def small(nodes, constants, opset=17, shape=("n", 4, 5, 5), outputs=("y",)):
    """A graph of a few nodes on an input x, in float32, with inferred shapes."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs], tensors,
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto))


F32 = {name: np.float32(value) for name, value in {"three": 3, "zero": 0, "six": 6, "sixth": SIXTH}.items()}


def shifted_and_clipped(how):
    """clip(x + 3, 0, 6) as exporters write it; its value is called c."""
    add = [helper.make_node("Add", ["x", "three"] if how != "min" else ["three", "x"], ["a"])]
    if how == "min":
        return [*add, helper.make_node("Relu", ["a"], ["r"]), helper.make_node("Min", ["r", "six"], ["c"])]
    return [*add, helper.make_node("Clip", ["a", "zero", "six"], ["c"])]


SWISHES = {
    "product, then divided": [("Mul", "x", "c", "p"), ("Div", "p", "six", "y")],
    "product the other way round": [("Mul", "c", "x", "p"), ("Mul", "sixth", "p", "y")],
    "gate divided first": [("Div", "c", "six", "g"), ("Mul", "g", "x", "y")],
    "gate multiplied first": [("Mul", "c", "sixth", "g"), ("Mul", "x", "g", "y")],
}


@pytest.mark.parametrize("clip", ["clip", "min"])
@pytest.mark.parametrize("spelling", SWISHES)
def test_every_spelling_of_hard_swish_is_recognised(spelling, clip):
    tail = [helper.make_node(op, [a, b], [y]) for op, a, b, y in SWISHES[spelling]]
    model = small([*shifted_and_clipped(clip), *tail], F32)
    images = np.linspace(-7, 7, 100, dtype=np.float32).reshape(1, 4, 5, 5)
    truth = run64(model, images)
    lower(model, "native")
    assert counts(model) == {"HardSwish": 1}
    assert np.allclose(run64(model, images), truth, atol=1e-6)


def test_what_is_nearly_a_hard_swish_is_left():
    for constants in ({**F32, "three": np.float32(2)}, {**F32, "six": np.float32(5)}, {**F32, "zero": np.float32(-1)}):
        tail = [helper.make_node(op, [a, b], [y]) for op, a, b, y in SWISHES["product, then divided"]]
        model = small([*shifted_and_clipped("clip"), *tail], constants)
        assert lower(model, "native").applied["raise_hard_swish"] == 0
    other = [helper.make_node("HardSigmoid", ["x"], ["g"]), helper.make_node("Mul", ["x", "g"], ["y"])]
    assert lower(small(other, {}), "native").applied["raise_hard_swish"] == 0


def test_refusals_name_the_site_and_the_reason():
    weight = np.ones((4, 4, 1, 1), np.float32)
    conv = helper.make_node("Conv", ["x", "w"], ["v"])
    twice = [
        conv,
        helper.make_node("Add", ["v", "three"], ["s"], name="shift"),
        helper.make_node("Mul", ["v", "s"], ["y"]),
    ]
    (refusal,) = lower(small(twice, {"w": weight, **F32}), "native").refused
    assert (refusal.rewrite, refusal.node) == ("absorb_shift", "shift")
    assert "another node" in refusal.reason
    old = [
        helper.make_node("HardSigmoid", ["x"], ["g"], alpha=SIXTH, beta=0.5),
        helper.make_node("Mul", ["x", "g"], ["y"]),
    ]
    (refusal,) = lower(small(old, {}, opset=13), "native").refused
    assert "opset 13 has no HardSwish" in refusal.reason
    gate = [helper.make_node("HardSigmoid", ["x"], ["y"])]
    (refusal,) = lower(small(gate, {}), "friendly").refused
    assert "alpha" in refusal.reason
    residual = [
        helper.make_node("HardSwish", ["x"], ["h"], name="act"),
        helper.make_node("Add", ["h", "x"], ["y"], name="sum"),
    ]
    (refusal,) = lower(small(residual, {}), "friendly").refused
    assert refusal.node == "sum"
    assert "cannot pass Add" in refusal.reason
    with pytest.raises(ExportError, match="unknown, wanted one of native"):
        lower(small(gate, {}), "fastest")


def test_batch_norm_goes_into_the_convolution_unless_both_are_read():
    rng = np.random.default_rng(0)
    made = {name: rng.uniform(0.5, 2, 4).astype(np.float32) for name in ("g", "b", "m", "v")}
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("BatchNormalization", ["c", *"gbmv"], ["y"])]
    constants = {"w": rng.standard_normal((4, 4, 1, 1)).astype(np.float32), **made}
    images = rng.standard_normal((2, 4, 5, 5)).astype(np.float32)
    model = small(nodes, constants)
    truth = run64(model, images)
    lower(model, "native")
    assert counts(model) == {"Conv": 1}
    assert np.allclose(run64(model, images), truth, atol=1e-5)
    both = small(nodes, constants, outputs=("y", "c"))
    assert lower(both, "native").refused
    assert counts(both)["BatchNormalization"] == 1


WEIGHTS = {"Conv": (4, 4, 1, 1), "DW": (4, 1, 3, 3), "Gate": (4, 4, 1, 1)}
PLAIN: dict[str, dict[str, Any]] = {
    "HardSigmoid": {"alpha": SIXTH, "beta": 0.5},
    "MaxPool": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    "HardSwish": {},
    "Relu": {},
}


def link(name, x, shortcut, out):
    """The nodes of one link of a chain, from x to out."""
    if name == "Conv":
        return [helper.make_node("Conv", [x, f"w{out}", f"b{out}"], [out])]
    if name == "DW":
        return [helper.make_node("Conv", [x, f"w{out}"], [out], group=4, pads=[1, 1, 1, 1])]
    if name == "Gate":
        return [
            helper.make_node("GlobalAveragePool", [x], [f"{out}p"]),
            helper.make_node("Conv", [f"{out}p", f"w{out}"], [f"{out}c"]),
            helper.make_node("HardSigmoid", [f"{out}c"], [f"{out}g"], alpha=SIXTH, beta=0.5),
            helper.make_node("Mul", [x, f"{out}g"], [out]),
        ]
    if name == "Clip":
        return [helper.make_node("Clip", [x, "zero", "six"], [out])]
    if name == "Add":
        return [helper.make_node("Add", [x, shortcut], [out])]
    return [helper.make_node(name, [x], [out], **PLAIN[name])]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([*WEIGHTS, *PLAIN, "Clip", "Add"]), min_size=1, max_size=9), st.integers(0, 2**31))
def test_any_chain_keeps_its_function_in_every_form(names, seed):
    rng = np.random.default_rng(seed)
    constants = {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
    nodes, last, shortcut = [], "x", "x"
    for index, name in enumerate(names):
        out = f"v{index}"
        if name in WEIGHTS:
            constants |= {f"w{out}": rng.standard_normal(WEIGHTS[name]).astype(np.float32),
                          f"b{out}": rng.standard_normal(4).astype(np.float32)}  # fmt: skip
        nodes += link(name, last, shortcut, out)
        last, shortcut = out, (out if rng.random() < 0.5 else shortcut)
    images = rng.standard_normal((2, 4, 5, 5)) * 3
    source = in_float64(small(nodes, constants, outputs=(last,)))
    truth = run64(source, images)
    for form in FORMS:
        model = source.clone()
        lower(model, form)
        assert np.allclose(run64(model, images), truth, atol=1e-5 * max(1.0, np.abs(truth).max())), form


# By dynamo: test_onnx_files.py.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("exporter", "name"),
    [("torchscript", "mobilenetv3_small_050"), ("torchscript", "lcnet_035")],
)
def test_what_torch_writes_of_timms_hard_swish_networks_becomes_native(name, exporter):
    network = timm.create_model(name, num_classes=10).eval()
    images = torch.randn(2, 3, 64, 64)
    model = trace(network, images, Recipe(opset=18, exporter=exporter), ["logits"])
    common.ShapeInferencePass()(model)
    done = lower(model, "native")
    assert counts(model)["HardSwish"] >= 10
    assert "BatchNormalization" not in counts(model)
    assert not done.refused
