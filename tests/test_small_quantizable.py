"""The rewrites before quantisation on the smallest graphs: clips and factors for gates, and where a factor can go."""

import numpy as np
import pytest
from small_graphs import graph_of, last, ops, random, run, same_after

from scarlet_zoo.graph.passes.quantizable import (
    clip_hard_sigmoid,
    clip_hard_swish,
    convolve_batch_norm,
    merge_factors,
    sink_factor,
)
from scarlet_zoo.graph.passes.rewrite import RefusedError

SHAPE = (2, 4, 6, 5)
HEAD = "(float[n,4,6,5] x) => (float[n,a,b,c] y)"
CONV = {"w": random(4, 4, 1, 1), "e": random(4, seed=1)}


def of(body, head=HEAD, opset=17, **constants):
    return graph_of(f"{head} {{ {body} }}", opset, **constants)


def test_a_hard_swish_becomes_a_clip_and_a_factor():
    model = of("y = HardSwish (x)")
    same_after(clip_hard_swish, model, ["Add", "Clip", "Mul", "Mul"], SHAPE)
    assert last(model).inputs[1].name.endswith("factor")
    assert clip_hard_swish(last(of("y = HardSigmoid (x)"))) == ()


SIGMOID = "HardSigmoid <alpha = 0.16666667>"


def test_the_three_of_a_gate_goes_into_the_bias_before_it():
    model = of(f"c = Conv (x, w, e) y = {SIGMOID} (c)", **CONV)
    same_after(clip_hard_sigmoid, model, ["Conv", "Clip", "Mul"], SHAPE, 1e-5)
    np.testing.assert_allclose(model.graph.node(0).inputs[2].const_value.numpy(), CONV["e"] + 3, rtol=1e-6)


@pytest.mark.parametrize("before", ["c = Relu (x)", "c = Conv (x, w, t)"])
def test_elsewhere_the_three_is_added(before):
    constants = {"w": CONV["w"]} if "Conv" in before else {}
    head = "(float[n,4,6,5] x, float[4] t) => (float[n,4,6,5] y)" if "Conv" in before else HEAD
    model = of(f"{before} y = {SIGMOID} (c)", head, **constants)
    made = clip_hard_sigmoid(last(model))
    assert [node.op_type for node in made] == ["Add", "Clip", "Mul"]


def test_a_gate_of_what_others_read_keeps_the_convolution():
    body = f"c = Conv (x, w, e) g = {SIGMOID} (c) y = Mul (c, g)"
    model = of(body, **CONV)
    same_after(clip_hard_sigmoid, model, ["Conv", "Add", "Clip", "Mul", "Mul"], SHAPE, 1e-5)


def test_another_sigmoid_is_refused():
    with pytest.raises(RefusedError, match=r"^its alpha is not 1/6, or its beta is not 1/2$"):
        clip_hard_sigmoid(last(of("y = HardSigmoid (x)")))
    assert clip_hard_sigmoid(last(of("y = HardSwish (x)"))) == ()


NORM = {"s": np.linspace(0.5, 2, 4), "b": np.linspace(-1, 1, 4), "m": np.linspace(0.3, -0.4, 4),
        "v": np.linspace(0.1, 2, 4)}  # fmt: skip
NORM = {name: value.astype(np.float32) for name, value in NORM.items()}


def test_a_norm_alone_becomes_a_convolution_of_each_channel():
    model = of("y = BatchNormalization (x, s, b, m, v)", **NORM)
    same_after(convolve_batch_norm, model, ["Conv"], SHAPE, 1e-5)
    (node,) = model.graph
    assert node.attributes["group"].as_int() == 4
    assert [value.const_value.shape.dims for value in node.inputs[1:]] == [(4, 1, 1, 1), (4,)]
    assert {value.dtype.name for value in node.inputs[1:]} == {"FLOAT"}


def test_a_norm_of_vectors_or_in_training_is_none():
    vectors = of("y = BatchNormalization (x, s, b, m, v)", "(float[n,4] x) => (float[n,4] y)", **NORM)
    assert convolve_batch_norm(last(vectors)) == ()
    training = of("y, u, z = BatchNormalization <training_mode = 1> (x, s, b, m, v)", **NORM)
    with pytest.raises(RefusedError, match="training"):
        convolve_batch_norm(last(training))
    assert convolve_batch_norm(last(of("y = Relu (x)"))) == ()


# Factors.
FACTOR = {"f": np.float32(0.25)}


@pytest.mark.parametrize("order", ["x, f", "f, x"])
@pytest.mark.parametrize("bias", ["", ", e"])
def test_a_convolution_takes_a_factor_into_its_weights(order, bias):
    constants = {name: CONV[name] for name in ("w", *(["e"] if bias else []))}
    model = of(f"m = Mul ({order}) y = Conv <pads = [1,1,1,1], strides = [2,1]> (m, w{bias})", **FACTOR, **constants)
    same_after(sink_factor, model, ["Conv"], SHAPE, 1e-5)
    assert last(model).inputs[1].dtype.name == "FLOAT"


@pytest.mark.parametrize(
    "product", ["Gemm <transB = 1, alpha = 0.5, beta = 2.0> (m, w, e)", "Gemm (m, w)", "MatMul (m, w)"]
)
def test_a_product_takes_a_factor_too(product):
    constants = {"w": random(4, 4), **({"e": random(4)} if "e)" in product else {})}
    model = of(f"m = Mul (x, f) y = {product}", "(float[n,4] x) => (float[n,4] y)", **FACTOR, **constants)
    same_after(sink_factor, model, [product.split()[0]], (3, 4), 1e-5)


@pytest.mark.parametrize(
    "passed",
    [
        "AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (m)",
        "Flatten <axis = 2> (m)",
        "GlobalAveragePool (m)",
        "GlobalMaxPool (m)",
        "Identity (m)",
        "LeakyRelu <alpha = 0.3> (m)",
        "MaxPool <kernel_shape = [2, 2]> (m)",
        "ReduceMax <axes = [2, 3]> (m)",
        "ReduceMean <axes = [1]> (m)",
        "Relu (m)",
        "Reshape (m, to)",
        "Slice (m, one, two)",
        "Transpose <perm = [0, 2, 3, 1]> (m)",
        "Unsqueeze (m, one)",
    ],
)
def test_a_factor_passes_what_is_homogeneous(passed):
    sizes = {"to": np.asarray([0, -1]), "one": np.asarray([1]), "two": np.asarray([2])}
    sizes = {name: value for name, value in sizes.items() if f", {name}" in passed}
    head = HEAD.replace("a,b,c", "a,b" if "Flatten" in passed or "Reshape" in passed else "a,b,c")
    head = head.replace("a,b,c", "a,b,c,d") if "Unsqueeze" in passed else head
    model = of(f"m = Mul (x, f) y = {passed}", head, **FACTOR, **sizes)
    same_after(sink_factor, model, [passed.split()[0], "Mul"], SHAPE)
    inner = model.graph.node(0).outputs[0]
    assert inner.dtype.name == "FLOAT"
    assert len(inner.shape) == len(last(model).outputs[0].shape)
    assert sink_factor(last(model)) == ()


def test_a_factor_of_one_side_of_a_product_moves_behind_it():
    for order in ("m, x", "x, m"):
        same_after(sink_factor, of(f"m = Mul (x, f) y = Mul ({order})", **FACTOR), ["Mul", "Mul"], SHAPE)
    both = of("m = Mul (x, f) y = Mul (m, m)", **FACTOR)
    same_after(sink_factor, both, ["Mul", "Mul", "Mul"], SHAPE)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("m = Mul (x, f) y = Add (m, x)", "a factor cannot pass Add"),
        ("m = Mul (x, f) y = Clip (m, f)", "cannot pass Clip"),
        ("m = Mul (x, f) y = Sigmoid (m)", "cannot pass Sigmoid"),
        ("m = Mul (x, f) y = Conv (w, m)", "cannot pass Conv"),
        ("m = Mul (x, f) y = Conv (m, t)", "the weights that should take the factor are not constants"),
    ],
)
def test_a_factor_stays_before_everything_else(body, why):
    constants = {"w": random(1, 4, 8, 8)} if "w" in body else {}
    model = of(body, "(float[2,4,6,5] x, float[4,4,1,1] t) => (float[a,b,c,d] y)", **FACTOR, **constants)
    with pytest.raises(RefusedError, match=why):
        sink_factor(last(model))


@pytest.mark.parametrize("factor", [np.float32(0), np.float32(-1), random(4, 1, 1)])
def test_what_is_no_positive_number_is_no_factor(factor):
    assert sink_factor(last(of("m = Mul (x, f) y = Relu (m)", f=factor))) == ()
    assert merge_factors(last(of("m = Mul (x, f) y = Mul (m, g)", f=factor, g=np.float32(2)))) == ()


def test_two_factors_are_one():
    for first in ("x, f", "f, x"):
        for second in ("m, g", "g, m"):
            model = of(f"m = Mul ({first}) y = Mul ({second})", **FACTOR, g=np.float32(3))
            same_after(merge_factors, model, ["Mul"], SHAPE)
            assert last(model).inputs[1].const_value.numpy() == 0.75
            assert last(model).inputs[1].dtype.name == "FLOAT"
    assert merge_factors(last(of("m = Relu (x) y = Mul (m, f)", **FACTOR))) == ()
    assert merge_factors(last(of("m = Mul (x, f) y = Relu (m)", **FACTOR))) == ()
    assert sink_factor(last(of("m = Mul (x, f) y = Mul (m, g)", **FACTOR, g=np.float32(3)))) == ()


def test_nodes_of_several_outputs_keep_their_input():
    model = of("m = Mul (x, f) y, i = MaxPool <kernel_shape = [2, 2]> (m)", **FACTOR)
    assert sink_factor(last(model)) == ()
    assert run(model, random(*SHAPE))
    assert ops(model) == ["Mul", "MaxPool"]
