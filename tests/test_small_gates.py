"""Gates and pools in the spellings for x64's blocked layout and of the released code, on the smallest graphs."""

import pytest
from small_graphs import graph_of, last, random, same_after

from scarlet_zoo.graph.passes.blocked import pad_squeeze, spread_gate
from scarlet_zoo.graph.passes.released import spell_hard_sigmoid, spell_hard_swish, spell_head_pool
from scarlet_zoo.graph.passes.rewrite import RefusedError

SHAPE = (2, 8, 6, 4)


def gate(inner, first="", second="", head="(float[n,8,1,1] x) => (float[n,8,a,b] y)", opset=17, group=1):
    weights = {"k": random(inner, 8 // group, 1, 1), "b": random(inner, seed=1), "w": random(8, inner, 1, 1, seed=2),
               "e": random(8, seed=3)}  # fmt: skip
    body = f"c = Conv {first} (x, k, b) r = Relu (c) y = Conv {second} (r, w, e)"
    return graph_of(f"{head} {{ {body} }}", opset, **weights)


@pytest.mark.parametrize(("inner", "wider"), [(1, 4), (2, 4), (3, 4), (5, 8), (30, 32)])
def test_inner_channels_are_filled_up_to_fours(inner, wider):
    model = gate(inner)
    same_after(pad_squeeze, model, ["Conv", "Relu", "Conv"], (2, 8, 1, 1))
    assert [model.graph.node(at).inputs[1].shape.dims[:2] for at in (0, 2)] == [(wider, 8), (8, wider)]
    assert model.graph.node(0).inputs[1].dtype == model.graph.node(0).inputs[2].dtype
    assert pad_squeeze(last(model)) == ()


@pytest.mark.parametrize(("first", "second"), [
    ("<strides = [2, 2]>", ""), ("", "<strides = [2, 1]>"), ("<pads = [1, 1, 0, 0]>", ""),
    ("", "<pads = [0, 0, 2, 1]>"),
    ("<auto_pad = \"VALID\">", "<dilations = [1, 1]>")])  # fmt: skip
def test_strides_and_padding_of_other_networks_stay(first, second):
    model = gate(6, first, second, "(float[n,8,6,4] x) => (float[n,8,a,b] y)")
    same_after(pad_squeeze, model, ["Conv", "Relu", "Conv"], SHAPE)


def test_what_is_no_squeeze_is_left():
    assert pad_squeeze(last(gate(8))) == ()
    assert pad_squeeze(last(gate(6, "<group = 2>", group=2))) == ()
    other = "(float[n,8,6,4] x) => (float[n,8,a,b] y) { c = Conv (x, k, b) r = Sigmoid (c) y = Conv (r, w, e) }"
    arrays = {"k": random(6, 8, 1, 1), "b": random(6), "w": random(8, 6, 1, 1), "e": random(8)}
    assert pad_squeeze(last(graph_of(other, **arrays))) == ()
    assert pad_squeeze(last(graph_of(other.replace("Sigmoid", "Relu").replace("c = Conv (x, k, b)", "c = Sin (x)"),
                                     **(arrays | {"w": random(8, 8, 1, 1)})))) == ()  # fmt: skip
    relu = other.replace("Sigmoid", "Relu")
    assert pad_squeeze(graph_of(relu, **arrays).graph.node(1)) == ()
    assert len(pad_squeeze(last(graph_of(relu, **arrays)))) == 3
    for name, shape in (("k", (6, 8, 3, 1)), ("w", (8, 6, 1, 3))):
        assert pad_squeeze(last(graph_of(relu, **(arrays | {name: random(*shape)})))) == ()
    without = {name: arrays[name] for name in ("k", "w", "e")}
    assert pad_squeeze(last(graph_of(relu.replace(", b)", ")"), **without))) == ()
    twice = relu.replace("y = Conv (r, w, e)", "s = Conv (r, w, e) m = ReduceMean (r) y = Add (s, m)")
    assert pad_squeeze(graph_of(twice, **arrays).graph.node(2)) == ()


GATED = "(float[n,8,6,4] x) => (float[n,8,6,4] y) {{ g = GlobalAveragePool (x) y = Mul ({order}) }}"


@pytest.mark.parametrize("order", ["x, g", "g, x"])
@pytest.mark.parametrize("opset", [10, 11, 12, 13, 17, 18])
def test_a_gate_is_repeated_in_the_words_of_each_opset(order, opset):
    model = graph_of(GATED.format(order=order), opset)
    same_after(spread_gate, model, ["GlobalAveragePool", "Resize", "Mul"], SHAPE)
    resize = model.graph.node(1)
    assert resize.outputs[0].name == "y_gate"
    assert list(resize.outputs[0].shape) == ["n", 8, 6, 4]
    assert len(resize.inputs) == (2 if opset == 10 else 3)
    assert (len(resize.inputs) > 2 and resize.inputs[1] is None) == (opset >= 13)
    assert resize.attributes["mode"].as_string() == "nearest"
    if opset > 10:
        assert resize.attributes["coordinate_transformation_mode"].as_string() == "asymmetric"
        assert resize.attributes["nearest_mode"].as_string() == "floor"


def test_before_resize_a_gate_stays():
    with pytest.raises(RefusedError, match=r"^opset 9 has no Resize, wanted 10 or later$"):
        spread_gate(last(graph_of(GATED.format(order="x, g"), 9)))


@pytest.mark.parametrize("text", [
    "(float[n,8,6,4] x) => (float[n,8,6,4] y) { y = Mul (x, x) }",
    "(float[n,8,1,1] x) => (float[n,8,1,1] y) { y = Mul (x, x) }",
    "(float[n,8,6,4] x) => (float[n,8,6,4] y) { g = GlobalAveragePool (x) y = Add (x, g) }",
    "(float[n,8,6,4] x) => (float[n,8,6,4] y) { g = ReduceMean <axes = [1, 2, 3]> (x) y = Mul (x, g) }",
    "(float[n,8,6,4] x) => (float[n,8,6,4] y) { g = ReduceMean <axes = [3]> (x) y = Mul (x, g) }",
    "(float[n,8,h,4] x) => (float[n,8,h,4] y) { g = GlobalAveragePool (x) y = Mul (x, g) }",
    "(float[8,6,4] x) => (float[8,6,4] y) { g = ReduceMean <axes = [1, 2]> (x) y = Mul (x, g) }"])  # fmt: skip
def test_what_is_no_gate_of_channels_is_left(text):
    assert spread_gate(last(graph_of(text))) == ()


# The released code's spelling.
@pytest.mark.parametrize("opset", [9, 10, 11, 13, 17])
def test_a_hard_sigmoid_is_spelt_out(opset):
    model = graph_of("(float[n,8,6,4] x) => (float[n,8,6,4] y) { y = HardSigmoid <alpha = 0.16666667> (x) }", opset)
    same_after(spell_hard_sigmoid, model, ["Add", "Clip", "Div"], SHAPE)
    assert len(model.graph.node(1).inputs) == (1 if opset < 11 else 3)


def test_a_hard_swish_is_spelt_out_and_another_sigmoid_is_not():
    model = graph_of("(float[n,8,6,4] x) => (float[n,8,6,4] y) { y = HardSwish (x) }")
    same_after(spell_hard_swish, model, ["Add", "Clip", "Mul", "Div"], SHAPE)
    other = graph_of("(float[n,8,6,4] x) => (float[n,8,6,4] y) { y = HardSigmoid (x) }")
    assert spell_hard_sigmoid(last(other)) == spell_hard_swish(last(other)) == ()


@pytest.mark.parametrize("opset", [11, 17, 18])
def test_the_last_pool_is_a_mean_of_means(opset):
    text = "(float[n,8,6,4] x) => (float[n,8] y) { p = GlobalAveragePool (x) y = Flatten (p) }"
    model = graph_of(text, opset)
    same_after(spell_head_pool, model, ["ReduceMean", "ReduceMean"], SHAPE)
    assert all(len(node.inputs) == (1 if opset < 18 else 2) for node in model.graph)
    assert spell_head_pool(graph_of(text.replace("GlobalAveragePool", "Relu"), opset).graph.node(1)) == ()
    assert spell_head_pool(graph_of(text, opset).graph.node(0)) == ()
